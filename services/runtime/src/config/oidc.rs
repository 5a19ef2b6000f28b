//! `[console.oidc]`: single sign-on of the console.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::check::not_blank;
use super::fault::ConfigErrors;

/// Whoever signed in, in `viewers`.
const EVERYONE: &str = "*";

/// `[console.oidc]`: people sign in with an issuer of OpenID Connect. Tokens go on working beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OidcConfig {
    /// Address of the issuer, exactly as it calls itself in its tokens; below it lies `/.well-known/openid-configuration`. `https://`, or
    /// `http://` of this machine. Default none: it must be set.
    pub issuer: String,
    /// What the issuer calls this console: a public client (authorization code with PKCE) whose redirect address is the console's own. With
    /// `alb` the client of the load balancer. Default none: it must be set.
    pub client_id: String,
    /// For whom tokens must be issued (claim `aud`). Default `client_id`: the page then sends the ID token; with another audience, the
    /// access token.
    pub audience: Option<String>,
    /// The claim that holds a person's roles: a text, several parted by spaces, or a list. Such as `groups` or `cognito:groups`. Default
    /// `roles`.
    pub roles_claim: String,
    /// Values of the claim that make an operator. Default none.
    #[serde(deserialize_with = "super::values::list")]
    pub operators: Vec<String>,
    /// Values of the claim that make a viewer; `*` is everyone who signed in. Default none.
    #[serde(deserialize_with = "super::values::list")]
    pub viewers: Vec<String>,
    /// What the page asks the issuer for; `openid` must be among it. Default `openid`.
    #[serde(deserialize_with = "super::values::list")]
    pub scopes: Vec<String>,
    /// ARN of the Application Load Balancer that signs people in: its header `x-amzn-oidc-data` is accepted, and the page needs no token.
    /// Nothing but this load balancer may reach the console then. Default none.
    pub alb: Option<String>,
    /// Where the load balancer's public keys are, without the key's name. Default that of its region,
    /// `https://public-keys.auth.elb.REGION.amazonaws.com`; GovCloud and China have others.
    pub alb_keys_url: Option<String>,
}

impl Default for OidcConfig {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            client_id: String::new(),
            audience: None,
            roles_claim: "roles".to_owned(),
            operators: Vec::new(),
            viewers: Vec::new(),
            scopes: vec!["openid".to_owned()],
            alb: None,
            alb_keys_url: None,
        }
    }
}

impl OidcConfig {
    /// For whom tokens must be issued.
    #[must_use]
    pub fn audience(&self) -> &str {
        self.audience.as_deref().unwrap_or(&self.client_id)
    }

    /// Where the load balancer's public keys are; `None` without `alb`, or where its ARN names no region whose address is known.
    ///
    /// The address is that of AWS's documentation ("Authenticate users using an Application Load Balancer", signature verification).
    #[must_use]
    pub fn alb_keys_url(&self) -> Option<String> {
        let arn = self.alb.as_ref()?;
        self.alb_keys_url.clone().or_else(|| {
            let (partition, region) = region(arn)?;
            let known = partition == "aws";
            known.then(|| format!("https://public-keys.auth.elb.{region}.amazonaws.com"))
        })
    }

    pub(super) fn check(&self, faults: &mut ConfigErrors) {
        if self.issuer.is_empty() {
            faults.add(
                &["console.oidc.issuer"],
                "is missing",
                "set the issuer's address, such as https://login.example.com/realms/main, or remove [console.oidc]",
            );
        } else {
            url(faults, "console.oidc.issuer", &self.issuer);
        }
        not_blank(faults, "console.oidc.client_id", &self.client_id);
        not_blank(faults, "console.oidc.roles_claim", &self.roles_claim);
        if let Some(audience) = &self.audience {
            not_blank(faults, "console.oidc.audience", audience);
        }
        self.check_roles(faults);
        self.check_scopes(faults);
        self.check_alb(faults);
    }

    fn check_roles(&self, faults: &mut ConfigErrors) {
        if self.operators.is_empty() && self.viewers.is_empty() {
            faults.add(
                &["console.oidc.operators", "console.oidc.viewers"],
                "both are empty: whoever signs in could do nothing",
                format!("list the values of the claim {:?} that make an operator, or a viewer (\"*\": everyone)", self.roles_claim),
            );
        }
        if self.operators.iter().any(|value| value == EVERYONE) {
            faults.add(
                &["console.oidc.operators"],
                "\"*\" would make everyone who can sign in an operator",
                "list the values that make one; viewers may be \"*\"",
            );
        }
        let lists = [
            ("console.oidc.operators", &self.operators),
            ("console.oidc.viewers", &self.viewers),
        ];
        for (key, values) in lists {
            if values.iter().any(|value| value.trim().is_empty()) {
                faults.add(&[key], "has an empty value", "remove it");
            }
        }
    }

    fn check_scopes(&self, faults: &mut ConfigErrors) {
        let key = "console.oidc.scopes";
        if !self.scopes.iter().any(|scope| scope == "openid") {
            faults.add(
                &[key],
                "\"openid\" is not among them: the issuer would give no ID token",
                "add it",
            );
        }
        // RFC 6749, 3.3: printable ASCII without space, quote and backslash.
        let is_scope = |scope: &String| {
            let fits = |char: char| char.is_ascii_graphic() && !matches!(char, '"' | '\\');
            !scope.is_empty() && scope.chars().all(fits)
        };
        if let Some(wrong) = self.scopes.iter().find(|scope| !is_scope(scope)) {
            faults.add(
                &[key],
                format!("{wrong:?} is not a scope"),
                "list them one by one, such as [\"openid\", \"email\"]",
            );
        }
    }

    fn check_alb(&self, faults: &mut ConfigErrors) {
        if let Some(keys) = &self.alb_keys_url {
            url(faults, "console.oidc.alb_keys_url", keys);
        }
        match &self.alb {
            None if self.alb_keys_url.is_some() => faults.add(
                &["console.oidc.alb", "console.oidc.alb_keys_url"],
                "there are keys of a load balancer, and no load balancer",
                "set alb to its ARN, or remove alb_keys_url",
            ),
            Some(arn) if region(arn).is_none() => faults.add(
                &["console.oidc.alb"],
                format!("\"{arn}\" is not the ARN of an Application Load Balancer"),
                "write it as arn:aws:elasticloadbalancing:REGION:ACCOUNT:loadbalancer/app/NAME/ID",
            ),
            Some(arn) if self.alb_keys_url().is_none() => faults.add(
                &["console.oidc.alb", "console.oidc.alb_keys_url"],
                format!("where the public keys of \"{arn}\" are is not known"),
                "set alb_keys_url to the address that AWS names for this partition",
            ),
            _ => {}
        }
    }
}

/// Partition and region of an Application Load Balancer's ARN.
fn region(arn: &str) -> Option<(&str, &str)> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let [
        "arn",
        partition,
        "elasticloadbalancing",
        region,
        account,
        resource,
    ] = parts.as_slice()
    else {
        return None;
    };
    let is_region = !region.is_empty()
        && region
            .chars()
            .all(|char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-');
    let is_account = !account.is_empty() && account.chars().all(|char| char.is_ascii_digit());
    let fits = is_region && is_account && resource.starts_with("loadbalancer/app/");
    (fits && !partition.is_empty()).then_some((partition, region))
}

/// An address that may be trusted with who somebody is: https, or this machine's.
fn url(faults: &mut ConfigErrors, key: &str, url: &str) {
    let (secure, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (_, Some(rest)) => (false, rest),
        _ => (false, ""),
    };
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.is_empty() || url.contains(|char: char| char.is_whitespace() || char.is_control())
    {
        faults.add(
            &[key],
            format!("{url:?} is not an https:// address"),
            "write it as https://login.example.com/realms/main",
        );
    } else if authority.contains('@') || url.contains(['?', '#']) {
        // Not echoed: it may carry a password.
        faults.add(
            &[key],
            "carries a user name, a question mark or a fragment",
            "write scheme, host and path only",
        );
    } else if !secure && !is_loopback(authority) {
        faults.add(
            &[key],
            format!("\"{url}\" goes over the network without TLS: whoever is on the way could sign in as anybody"),
            "use https://; http:// is for this machine only",
        );
    }
}

/// Whether `host` or `host:port` is this machine.
fn is_loopback(authority: &str) -> bool {
    let host = match authority
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        Some((host, _)) => host,
        None => authority
            .rsplit_once(':')
            .map_or(authority, |(host, _)| host),
    };
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}
