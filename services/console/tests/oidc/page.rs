//! What the page learns before anybody is signed in, and what its policy allows it.

use delayq_console::oidc::OidcSettings;

use crate::bench::{Bench, behind_alb, settings};
use crate::issuer::{Issuer, Mood};
use crate::keys::Signer;

#[tokio::test]
async fn everybody_is_told_where_people_sign_in() {
    let issuer = Issuer::new(&[&Signer::p256("e")]).await;
    let told = Bench::new(settings(&issuer.url))
        .ask("GET", "/v1/access", &[])
        .await;
    assert_eq!(told.status, 200);
    assert_eq!(told.headers["cache-control"], "no-store");
    let expected = serde_json::json!({
        "asks": true, "tokens": true, "load_balancer": false,
        "oidc": {
            "issuer": issuer.url, "client_id": "delayq", "scopes": ["openid", "email"], "token": "id_token",
            "authorization_endpoint": format!("{}/authorize", issuer.url),
            "token_endpoint": format!("{}/token", issuer.url),
            "end_session_endpoint": format!("{}/logout", issuer.url),
        },
    });
    assert_eq!(told.body, expected);
    let api = OidcSettings {
        audience: "https://api.example.com".to_owned(),
        ..behind_alb(&issuer)
    };
    let told = Bench::new(api).ask("GET", "/v1/access", &[]).await;
    assert_eq!(told.body["load_balancer"], true);
    assert_eq!(told.body["oidc"]["token"], "access_token");
}

#[tokio::test]
async fn an_issuer_that_is_away_is_told_so_and_not_asked_for_each() {
    let issuer = Issuer::new(&[&Signer::p256("e")]).await;
    issuer.mood(Mood::Away);
    let bench = Bench::new(settings(&issuer.url));
    for _ in 0..20 {
        let told = bench.ask("GET", "/v1/access", &[]).await;
        let problem = told.body["oidc"]["problem"].as_str().unwrap_or_default();
        assert!(problem.contains("500"), "{told:?}");
        assert_eq!(
            bench.ask("GET", "/", &[]).await.status,
            200,
            "the page comes all the same"
        );
    }
    assert_eq!(issuer.asked("discovery"), 1);
    issuer.mood(Mood::Well);
    bench.clock.advance(5_000);
    let told = bench.ask("GET", "/v1/access", &[]).await;
    assert_eq!(told.body["oidc"].get("problem"), None, "{told:?}");
}

#[tokio::test]
async fn the_page_may_speak_to_the_issuer_and_nothing_else_may() {
    let issuer = Issuer::new(&[&Signer::p256("e")]).await;
    let bench = Bench::new(settings(&issuer.url));
    let policy = async |path: &str| {
        let told = bench.ask("GET", path, &[]).await;
        let policy = told.headers["content-security-policy"].to_str();
        policy.expect("text").to_owned()
    };
    let connect = format!("connect-src 'self' ws: wss: {};", issuer.url);
    for path in ["/", "/index.html", "/?code=1&state=2"] {
        let policy = policy(path).await;
        assert!(policy.contains(&connect), "{policy}");
        assert!(policy.contains("default-src 'self';"), "{policy}");
    }
    assert!(
        policy("/icon.svg")
            .await
            .contains("connect-src 'self' ws: wss:;")
    );
    let api = bench.ask("GET", "/openapi.json", &[]).await;
    assert!(
        api.body["paths"]["/v1/access"]["get"].is_object(),
        "{api:?}"
    );
    assert!(api.body["paths"]["/v1/messages"].is_object());
}
