//! People whom a load balancer has signed in.

use serde_json::{Value, json};

use crate::bench::{ARN, Bench, HOST, NOW_S, behind_alb, claims};
use crate::issuer::{Issuer, Mood};
use crate::keys::Signer;

const KID: &str = "4ed35ae8-bd4e-4ba2-8d47-b1a7d4b1d2d9";
const DATA: &str = "x-amzn-oidc-data";

struct Behind {
    issuer: Issuer,
    bench: Bench,
    key: Signer,
}

impl Behind {
    async fn new() -> Self {
        let key = Signer::p256(KID);
        let issuer = Issuer::new(&[&Signer::p256("e")]).await;
        issuer.inside().alb_keys.insert(KID.to_owned(), key.pem());
        let bench = Bench::new(behind_alb(&issuer));
        Self { issuer, bench, key }
    }

    fn header(&self) -> Value {
        json!({
            "typ": "JWT", "alg": "ES256", "kid": KID, "signer": ARN, "client": "delayq",
            "iss": self.issuer.url, "exp": NOW_S + 120,
        })
    }

    /// As the load balancer tells it: what the issuer's userinfo says, with an end.
    fn claims(&self) -> Value {
        json!({
            "sub": "u-17", "email": "ann@example.com", "groups": ["ops"],
            "exp": NOW_S + 120, "iss": self.issuer.url,
        })
    }

    fn data(&self) -> String {
        self.key.padded(&self.header(), &self.claims())
    }

    async fn get(&self, data: &str) -> crate::bench::Told {
        self.bench.ask("GET", "/v1/messages", &[(DATA, data)]).await
    }
}

#[tokio::test]
async fn whom_the_load_balancer_has_signed_in_needs_no_token() {
    let behind = Behind::new().await;
    let data = behind.data();
    assert!(data.contains('='), "padded: {data}");
    for _ in 0..10 {
        assert_eq!(behind.get(&data).await.status, 200);
    }
    assert_eq!(behind.issuer.asked("alb"), 1);
    assert_eq!(behind.issuer.asked("discovery"), 0);
    let own = format!("https://{HOST}");
    let told = behind
        .bench
        .ask("POST", "/v1/messages", &[(DATA, &data), ("origin", &own)])
        .await;
    assert_eq!(told.status, 201, "{told:?}");
    let mut viewer = behind.claims();
    viewer["groups"] = json!("dev");
    let data = behind.key.padded(&behind.header(), &viewer);
    assert_eq!(behind.get(&data).await.status, 200);
    let told = behind
        .bench
        .ask("POST", "/v1/messages", &[(DATA, &data), ("origin", &own)])
        .await;
    told.refuses(403, "signed in as a viewer");
    viewer["groups"] = json!(null);
    let told = behind
        .get(&behind.key.padded(&behind.header(), &viewer))
        .await;
    told.refuses(403, "\"groups\"");
    assert_eq!(told.code(), "no-role");
    // Programs send the issuer's tokens as before.
    let key = Signer::p256("again");
    behind.issuer.publish(&[&key]);
    assert_eq!(
        behind
            .bench
            .look(&key.token(&claims(&behind.issuer)))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn what_a_browser_sends_by_itself_does_not_serve_foreign_pages() {
    let behind = Behind::new().await;
    let data = behind.data();
    let ask = |method: &'static str, headers: Vec<(&'static str, String)>| {
        let (bench, data) = (&behind.bench, data.clone());
        async move {
            let mut all = vec![(DATA, data.as_str())];
            all.extend(headers.iter().map(|(name, value)| (*name, value.as_str())));
            bench.ask(method, "/v1/messages", &all).await
        }
    };
    let from = |origin: &str| vec![("origin", origin.to_owned())];
    for method in ["GET", "POST"] {
        for origin in [
            "https://evil.example",
            "null",
            "https://console.example.com.evil.example",
            "",
        ] {
            let told = ask(method, from(origin)).await;
            told.refuses(403, "another origin");
        }
    }
    // A form of an old browser says nothing of where it comes from.
    ask("POST", vec![]).await.refuses(403, "Origin");
    ask("DELETE", vec![]).await.refuses(403, "Origin");
    ask("GET", vec![("upgrade", "websocket".to_owned())])
        .await
        .refuses(403, "Origin");
    assert_eq!(ask("GET", vec![]).await.status, 200);
    assert_eq!(
        ask("POST", from(&format!("https://{HOST}"))).await.status,
        201
    );
}

#[tokio::test]
async fn what_another_has_signed_or_is_too_old_is_refused() {
    let behind = Behind::new().await;
    for (field, value, words) in [
        (
            "signer",
            json!(ARN.replace("console", "other")),
            "not signed by arn:",
        ),
        ("signer", json!(null), "not signed by arn:"),
        ("client", json!("other"), "not for the client delayq"),
        (
            "iss",
            json!("https://elsewhere.example"),
            "not by the issuer",
        ),
        ("exp", json!(NOW_S - 60), "expired"),
        ("exp", json!(null), "(exp)"),
        ("alg", json!("RS256"), "ES256"),
        ("alg", json!("none"), "RS256 or ES256"),
        ("kid", json!(null), "names no key"),
        ("kid", json!("../alb/x"), "names no key"),
    ] {
        let mut header = behind.header();
        header[field] = value;
        let told = behind
            .get(&behind.key.padded(&header, &behind.claims()))
            .await;
        told.refuses(401, words);
    }
    assert_eq!(
        behind.issuer.asked("alb"),
        0,
        "what is told costs nothing to check"
    );
    for (claim, value, words) in [
        ("exp", json!(NOW_S - 60), "expired"),
        (
            "iss",
            json!("https://elsewhere.example"),
            "not by the issuer",
        ),
        ("sub", json!(null), "names nobody"),
    ] {
        let mut claims = behind.claims();
        claims[claim] = value;
        let told = behind
            .get(&behind.key.padded(&behind.header(), &claims))
            .await;
        told.refuses(401, words);
    }
    let foreign = Signer::p256(KID).padded(&behind.header(), &behind.claims());
    behind.get(&foreign).await.refuses(401, "signature");
    let data = behind.data();
    let twice = [(DATA, data.as_str()), (DATA, data.as_str())];
    let told = behind.bench.ask("GET", "/v1/messages", &twice).await;
    told.refuses(401, "twice");
    // Of the issuer's, not of the load balancer's key.
    let token = Signer::p256("e").token(&claims(&behind.issuer));
    behind.get(&token).await.refuses(401, "not signed by arn:");
    assert_eq!(behind.get(&data).await.status, 200);
    behind.bench.clock.advance(180_000);
    behind.get(&data).await.refuses(401, "expired");
}

#[tokio::test]
async fn unknown_keys_are_looked_for_but_not_often() {
    let behind = Behind::new().await;
    let named = |kid: String| {
        let mut header = behind.header();
        header["kid"] = json!(kid);
        behind.key.padded(&header, &behind.claims())
    };
    assert_eq!(behind.get(&behind.data()).await.status, 200);
    for _ in 0..20 {
        behind
            .get(&named("missing".to_owned()))
            .await
            .refuses(401, "key is not known");
    }
    assert_eq!(behind.issuer.asked("alb"), 2);
    for number in 0..100 {
        let told = behind.get(&named(format!("guessed-{number}"))).await;
        assert!(matches!(told.status, 401 | 503), "{told:?}");
    }
    assert_eq!(behind.issuer.asked("alb"), 10, "ten names a minute");
    assert_eq!(
        behind.get(&behind.data()).await.status,
        200,
        "the known one stays"
    );
    behind.issuer.mood(Mood::Away);
    behind.bench.clock.advance(60_000);
    let told = behind.get(&named("new".to_owned())).await;
    told.refuses(503, "keys cannot be fetched");
    assert_eq!(told.code(), "issuer-unavailable");
    let known = behind.get(&behind.data()).await;
    assert_eq!(known.status, 200, "{known:?}");
}
