//! `[console.oidc]`: read like a section, from every layer; what nobody could sign in with is refused.

use super::*;

const OIDC: &str = r#"
[topics]
allow = ["orders"]
[console]
listen = "0.0.0.0:8081"
[console.oidc]
issuer = "https://login.example.com/realms/main"
client_id = "delayq"
operators = ["delayq-operators"]
"#;

const ARN: &str = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:loadbalancer/app/console/50dc6c495c0c9188";

/// The settings of [`OIDC`], changed.
fn with(change: impl FnOnce(&mut OidcConfig)) -> impl FnOnce(&mut Config) {
    let mut oidc = load_from(OIDC, &[], &[]).unwrap().console.oidc.unwrap();
    change(&mut oidc);
    move |config| config.console.oidc = Some(oidc)
}

#[test]
fn off_loopback_single_sign_on_is_enough() {
    let config = load_from(OIDC, &[], &[]).unwrap();
    let oidc = config.console.oidc.unwrap();
    assert_eq!(oidc.audience(), "delayq");
    assert_eq!(oidc.roles_claim, "roles");
    assert_eq!(oidc.scopes, ["openid"]);
    assert_eq!(oidc.operators, ["delayq-operators"]);
    one_fault(
        &["console.listen", "console.operator_token", "console.oidc"],
        "nobody is asked",
        |config| config.console.listen = "0.0.0.0:8081".to_owned(),
    );
}

#[test]
fn every_layer_sets_its_fields_one_by_one() {
    let env = [
        ("DELAYQ_CONSOLE__OIDC__CLIENT_ID", "of the environment"),
        ("DELAYQ_CONSOLE__OIDC__VIEWERS", "*"),
    ];
    let set = [
        "console.oidc.scopes=openid,email",
        "console.oidc.roles_claim=cognito:groups",
    ];
    let oidc = load_from(OIDC, &env, &set).unwrap().console.oidc.unwrap();
    assert_eq!(oidc.client_id, "of the environment");
    assert_eq!(oidc.viewers, ["*"]);
    assert_eq!(oidc.scopes, ["openid", "email"]);
    assert_eq!(oidc.roles_claim, "cognito:groups");
    assert_eq!(oidc.issuer, "https://login.example.com/realms/main");
    let only = [
        "console.oidc.issuer=https://login.example.com",
        "console.oidc.client_id=c",
        "console.oidc.viewers=*",
    ];
    let oidc = load_from(MINIMAL, &[], &only).unwrap().console.oidc;
    assert_eq!(oidc.unwrap().viewers, ["*"]);
    assert_eq!(minimal().console.oidc, None);
}

#[test]
fn what_is_printed_loads_back_with_its_origins() {
    let (_folder, path) = file(OIDC);
    let sources = Sources {
        file: Some(path),
        set: vec!["console.oidc.viewers=*".to_owned()],
        ..Sources::default()
    };
    let (config, origins) = load_with_origins(&sources).unwrap();
    let printed = origins.annotate(&config).unwrap();
    let line = |key: &str| printed.lines().find(|line| line.starts_with(key)).unwrap();
    assert!(line("viewers = ").ends_with("# --set"), "{printed}");
    assert!(line("issuer = ").ends_with("delayq.toml"), "{printed}");
    assert!(line("roles_claim = ").ends_with("# default"), "{printed}");
    assert_eq!(load_from(&printed, &[], &[]).unwrap(), config);
}

#[test]
fn all_faults_are_told_at_once() {
    let text = "[topics]\nallow = [\"orders\"]\n[console.oidc]\nisuer = \"x\"\nclient_id = 7\nscopes = []\n";
    let errors = load_from(text, &[("DELAYQ_CONSOLE_OIDC_ALB", "x")], &[]).unwrap_err();
    let told = errors.to_string();
    for part in [
        "console.oidc.isuer",
        "oidc.issuer",
        "console.oidc.client_id",
        "console.oidc.scopes",
        "console.oidc.issuer: is missing",
        "console.oidc.operators (default), console.oidc.viewers (default)",
        "name it DELAYQ_CONSOLE__OIDC__ALB",
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
    let empty = load_from(&format!("{MINIMAL}[console.oidc]\n"), &[], &[]).unwrap_err();
    assert_eq!(
        keys(&empty),
        [
            "console.oidc.issuer",
            "console.oidc.client_id",
            "console.oidc.operators"
        ]
    );
    let text = load_from(&format!("{MINIMAL}[console]\noidc = \"x\"\n"), &[], &[]).unwrap_err();
    assert_eq!(keys(&text), ["console.oidc"]);
    assert!(text.to_string().contains("set its fields"), "{text}");
}

#[test]
fn an_issuer_is_https_or_this_machine() {
    for issuer in [
        "login.example.com",
        "https://",
        "https:///realms",
        "https://a b",
        "ftp://login.example.com",
    ] {
        one_fault(
            &["console.oidc.issuer"],
            "not an https",
            with(|oidc| oidc.issuer = issuer.to_owned()),
        );
    }
    for issuer in [
        "http://login.example.com",
        "http://10.0.0.1:80",
        "http://localhost.example.com",
    ] {
        one_fault(
            &["console.oidc.issuer"],
            "without TLS",
            with(|oidc| oidc.issuer = issuer.to_owned()),
        );
    }
    for issuer in [
        "https://me:secret@login",
        "https://login/?a=b",
        "https://login#x",
    ] {
        let wrong = with(|oidc| oidc.issuer = issuer.to_owned());
        one_fault(&["console.oidc.issuer"], "a user name", wrong);
        let faults = broken(with(|oidc| oidc.issuer = issuer.to_owned()));
        assert!(!format!("{faults:?}").contains("secret"), "{faults:?}");
    }
    for issuer in [
        "http://127.0.0.1:9000/realm",
        "http://localhost",
        "http://[::1]:80",
        "https://a/",
    ] {
        let right = with(|oidc| oidc.issuer = issuer.to_owned());
        assert_eq!(broken(right), [], "{issuer}");
    }
}

#[test]
fn somebody_has_a_role_and_not_everybody_operates() {
    one_fault(
        &["console.oidc.operators", "console.oidc.viewers"],
        "could do nothing",
        with(|oidc| oidc.operators.clear()),
    );
    one_fault(
        &["console.oidc.operators"],
        "everyone",
        with(|oidc| oidc.operators.push("*".to_owned())),
    );
    one_fault(
        &["console.oidc.viewers"],
        "empty value",
        with(|oidc| oidc.viewers.push(String::new())),
    );
    one_fault(
        &["console.oidc.roles_claim"],
        "is empty",
        with(|oidc| oidc.roles_claim.clear()),
    );
    one_fault(
        &["console.oidc.audience"],
        "is empty",
        with(|oidc| oidc.audience = Some(String::new())),
    );
}

#[test]
fn scopes_are_scopes() {
    one_fault(
        &["console.oidc.scopes"],
        "openid",
        with(|oidc| oidc.scopes = vec!["email".to_owned()]),
    );
    one_fault(
        &["console.oidc.scopes"],
        "is not a scope",
        with(|oidc| oidc.scopes.push("email profile".to_owned())),
    );
}

#[test]
fn a_load_balancer_is_named_by_its_arn() {
    let config = with(|oidc| oidc.alb = Some(ARN.to_owned()));
    assert_eq!(broken(config), []);
    let keys = |arn: &str, keys: Option<&str>| {
        let oidc = OidcConfig {
            alb: Some(arn.to_owned()),
            alb_keys_url: keys.map(str::to_owned),
            ..OidcConfig::default()
        };
        oidc.alb_keys_url()
    };
    let own = "https://public-keys.auth.elb.eu-central-1.amazonaws.com";
    assert_eq!(keys(ARN, None).as_deref(), Some(own));
    assert_eq!(
        keys(ARN, Some("http://127.0.0.1:1")).as_deref(),
        Some("http://127.0.0.1:1")
    );
    for arn in [
        "console",
        "arn:aws:elasticloadbalancing:eu-central-1:1:loadbalancer/net/console/5",
        "arn:aws:elasticloadbalancing::1:loadbalancer/app/console/5",
        "arn:aws:elasticloadbalancing:a.example/x:1:loadbalancer/app/console/5",
        "arn:aws:s3:eu-central-1:1:loadbalancer/app/console/5",
    ] {
        one_fault(
            &["console.oidc.alb"],
            "is not the ARN",
            with(|oidc| oidc.alb = Some(arn.to_owned())),
        );
    }
    let china = ARN.replace("arn:aws:", "arn:aws-cn:");
    one_fault(
        &["console.oidc.alb", "console.oidc.alb_keys_url"],
        "is not known",
        with(|oidc| oidc.alb = Some(china)),
    );
    one_fault(
        &["console.oidc.alb", "console.oidc.alb_keys_url"],
        "no load balancer",
        with(|oidc| oidc.alb_keys_url = Some("https://keys".to_owned())),
    );
    one_fault(
        &["console.oidc.alb_keys_url"],
        "without TLS",
        with(|oidc| {
            oidc.alb = Some(ARN.to_owned());
            oidc.alb_keys_url = Some("http://keys.example.com".to_owned());
        }),
    );
}
