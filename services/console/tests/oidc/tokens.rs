//! Bearer tokens.

use std::io::Write;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tracing_subscriber::fmt::MakeWriter;

use crate::bench::{Bench, NOW_S, STATIC, claims, settings};
use crate::issuer::{Issuer, Mood};
use crate::keys::{Signer, unsigned};

fn with(issuer: &Issuer, claim: &str, value: Value) -> Value {
    let mut changed = claims(issuer);
    changed[claim] = value;
    changed
}

#[tokio::test]
async fn the_claim_says_what_one_may_do() {
    let (rsa, p256) = (Signer::Rsa("r"), Signer::p256("e"));
    let issuer = Issuer::new(&[&rsa, &p256]).await;
    let bench = Bench::new(settings(&issuer.url));
    for signer in [&rsa, &p256] {
        let operator = signer.token(&claims(&issuer));
        assert_eq!(bench.look(&operator).await.status, 200);
        assert_eq!(bench.change(&operator).await.status, 201);
        let viewer = signer.token(&with(&issuer, "groups", json!("staff dev")));
        assert_eq!(bench.look(&viewer).await.status, 200);
        let refused = bench.change(&viewer).await;
        refused.refuses(403, "signed in as a viewer");
        assert_eq!(refused.code(), "forbidden");
        let bearer = format!("Bearer {viewer}");
        let letter = bench
            .ask("GET", "/v1/dead-letters/0/1", &[("authorization", &bearer)])
            .await;
        letter.refuses(403, "role of an operator");
    }
    let several = rsa.token(&with(&issuer, "aud", json!(["other", "delayq"])));
    assert_eq!(bench.look(&several).await.status, 200);
}

#[tokio::test]
async fn without_a_role_one_is_told_which_claim_and_values_are_needed() {
    let key = Signer::p256("e");
    let issuer = Issuer::new(&[&key]).await;
    let bench = Bench::new(settings(&issuer.url));
    for groups in [
        json!(null),
        json!([]),
        json!("operators"),
        json!({"ops": true}),
    ] {
        let told = bench
            .look(&key.token(&with(&issuer, "groups", groups)))
            .await;
        told.refuses(
            403,
            "\"groups\" would have to hold one of ops (operators), or one of dev (viewers)",
        );
        assert_eq!(told.code(), "no-role");
    }
    let mut open = settings(&issuer.url);
    open.viewers = vec!["*".to_owned()];
    let bench = Bench::new(open);
    let nobody = key.token(&with(&issuer, "groups", json!(null)));
    assert_eq!(bench.look(&nobody).await.status, 200);
    assert_eq!(bench.change(&nobody).await.status, 403);
}

#[tokio::test]
async fn a_token_that_is_not_for_us_or_not_now_is_refused() {
    let key = Signer::p256("e");
    let issuer = Issuer::new(&[&key]).await;
    let bench = Bench::new(settings(&issuer.url));
    for (claim, value, words) in [
        ("aud", json!("another"), "audience delayq"),
        ("aud", json!(null), "audience delayq"),
        (
            "iss",
            json!("https://elsewhere.example"),
            "not by the issuer",
        ),
        (
            "iss",
            json!(format!("{}/", issuer.url)),
            "not by the issuer",
        ),
        ("exp", json!(NOW_S - 60), "expired"),
        ("exp", json!(null), "(exp)"),
        ("exp", json!("9999999999"), "(exp)"),
        ("nbf", json!(NOW_S + 61), "not valid yet"),
        ("nbf", json!("0"), "(nbf)"),
        ("sub", json!(null), "names nobody"),
    ] {
        let told = bench.look(&key.token(&with(&issuer, claim, value))).await;
        told.refuses(401, words);
        assert_eq!(told.code(), "unauthorized");
    }
    for (claim, value) in [("exp", json!(NOW_S - 59)), ("nbf", json!(NOW_S + 60))] {
        let told = bench.look(&key.token(&with(&issuer, claim, value))).await;
        assert_eq!(told.status, 200, "a minute of leeway: {told:?}");
    }
    let token = key.token(&claims(&issuer));
    assert_eq!(bench.look(&token).await.status, 200);
    bench.clock.advance(360_000);
    bench.look(&token).await.refuses(401, "expired");
}

#[tokio::test]
async fn a_token_that_the_issuer_has_not_signed_is_refused() {
    let (rsa, p256, foreign) = (Signer::Rsa("r"), Signer::p256("e"), Signer::p256("e"));
    let issuer = Issuer::new(&[&rsa, &p256]).await;
    let bench = Bench::new(settings(&issuer.url));
    let good = claims(&issuer);
    bench
        .look(&foreign.token(&good))
        .await
        .refuses(401, "signature");
    // A key is good for its own algorithm only, whatever the token says.
    let crossed = json!({"alg": "RS256", "kid": "e"});
    bench
        .look(&unsigned(&crossed, &good, &[1; 64]))
        .await
        .refuses(401, "key");
    for alg in ["none", "HS256", "RS512", "PS256", ""] {
        // With a public key for a shared secret, a naive verifier takes HS256.
        let header = json!({"alg": alg, "kid": "r"});
        let told = bench.look(&unsigned(&header, &good, &[0; 32])).await;
        told.refuses(401, "RS256 or ES256");
    }
    let token = p256.token(&good);
    let (signed, signature) = token.rsplit_once('.').expect("parts");
    bench
        .look(&format!("{signed}."))
        .await
        .refuses(401, "signature");
    let other = rsa.token(&with(&issuer, "groups", json!(["none"])));
    let (other, _) = other.rsplit_once('.').expect("parts");
    bench
        .look(&format!("{other}.{signature}"))
        .await
        .refuses(401, "signature");
    for text in ["x", "a.b.c", "..", "ey.ey.ey"] {
        bench.look(text).await.refuses(401, "not the issuer's");
    }
    bench
        .ask("GET", "/v1/messages", &[])
        .await
        .refuses(401, "sign in with the issuer");
    // A load balancer's word counts only where one is expected.
    let data = [("x-amzn-oidc-data", token.as_str())];
    assert_eq!(bench.ask("GET", "/v1/messages", &data).await.status, 401);
}

#[tokio::test]
async fn new_keys_are_found_and_bad_tokens_make_no_flood_of_fetches() {
    let (old, new) = (Signer::p256("old"), Signer::p256("new"));
    let issuer = Issuer::new(&[&old]).await;
    let bench = Bench::new(settings(&issuer.url));
    let [by_old, by_new] = [&old, &new].map(|key| key.token(&claims(&issuer)));
    assert_eq!(bench.look(&by_old).await.status, 200);
    issuer.publish(&[&new]);
    for _ in 0..100 {
        bench
            .look(&by_new)
            .await
            .refuses(401, "key is not the issuer's");
    }
    assert_eq!(issuer.asked("keys"), 1, "just fetched");
    bench.clock.advance(60_000);
    let many = (0..50).map(|_| bench.look(&by_new));
    for told in futures::future::join_all(many).await {
        assert_eq!(told.status, 200);
    }
    assert_eq!(issuer.asked("keys"), 2, "one fetch for all");
    bench
        .look(&by_old)
        .await
        .refuses(401, "key is not the issuer's");
    bench.clock.advance(60_000);
    for _ in 0..100 {
        bench
            .look(&Signer::p256("guessed").token(&claims(&issuer)))
            .await
            .refuses(401, "key");
    }
    assert_eq!(issuer.asked("keys"), 3);
    assert_eq!(issuer.asked("discovery"), 1);
}

#[tokio::test]
async fn while_the_issuer_is_away_its_tokens_are_503_and_static_ones_work() {
    let key = Signer::p256("e");
    let issuer = Issuer::new(&[&key]).await;
    let bench = Bench::new(settings(&issuer.url));
    let token = key.token(&claims(&issuer));
    issuer.mood(Mood::Away);
    for _ in 0..20 {
        let told = bench.look(&token).await;
        told.refuses(503, "issuer does not answer");
        assert!(told.message().contains("500"), "{told:?}");
        assert_eq!(told.code(), "issuer-unavailable");
        assert_eq!(bench.change(STATIC).await.status, 201);
    }
    assert_eq!(issuer.asked("discovery"), 1, "not for each request");
    issuer.mood(Mood::Well);
    bench.clock.advance(5_000);
    assert_eq!(bench.look(&token).await.status, 200);
    issuer.mood(Mood::Away);
    bench.clock.advance(120_000);
    assert_eq!(bench.look(&token).await.status, 200, "its keys are known");
    let other = Signer::p256("other").token(&claims(&issuer));
    bench.look(&other).await.refuses(503, "500");
}

#[tokio::test]
async fn an_issuer_that_says_what_cannot_be_is_not_believed() {
    let key = Signer::p256("e");
    let issuer = Issuer::new(&[&key]).await;
    let token = key.token(&claims(&issuer));
    issuer.inside().name = "https://elsewhere.example".to_owned();
    let told = Bench::new(settings(&issuer.url)).look(&token).await;
    told.refuses(503, "calls itself \"https://elsewhere.example\"");
    issuer.inside().name.clone_from(&issuer.url);
    issuer.mood(Mood::Endless);
    let told = Bench::new(settings(&issuer.url)).look(&token).await;
    told.refuses(503, "length limit exceeded");
    issuer.mood(Mood::Well);
    issuer.publish(&[]);
    let told = Bench::new(settings(&issuer.url)).look(&token).await;
    told.refuses(503, "without a key");
    let nobody = Bench::new(settings("http://127.0.0.1:1"));
    nobody.look(&token).await.refuses(503, "refused");
    assert_eq!(nobody.look(STATIC).await.status, 200);
}

#[tokio::test]
async fn an_issuer_that_never_answers_is_not_waited_for_long() {
    let key = Signer::p256("e");
    let issuer = Issuer::new(&[&key]).await;
    let bench = Bench::new(settings(&issuer.url));
    issuer.mood(Mood::Silent);
    let token = key.token(&claims(&issuer));
    let both = futures::future::join(bench.look(&token), bench.look(&token));
    let (one, other) = both.await;
    one.refuses(503, "no answer within 5s");
    other.refuses(503, "no answer within 5s");
    assert_eq!(issuer.asked("discovery"), 1);
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("unpoisoned").extend_from_slice(text);
        Ok(text.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn the_audit_log_names_who_it_was_and_no_log_holds_a_token() {
    let key = Signer::p256("e");
    let issuer = Issuer::new(&[&key]).await;
    let bench = Bench::new(settings(&issuer.url));
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .finish();
    let token = key.token(&claims(&issuer));
    let refused = Signer::p256("e").token(&claims(&issuer));
    {
        let _guard = tracing::subscriber::set_default(subscriber);
        assert_eq!(bench.change(&token).await.status, 201);
        assert_eq!(bench.change(&refused).await.status, 401);
        assert_eq!(bench.change(STATIC).await.status, 201);
    }
    let text = String::from_utf8(log.0.lock().expect("unpoisoned").clone()).expect("text");
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let audit: Vec<Value> = lines
        .filter(|line| line["target"] == "delayq_audit")
        .map(|mut line| line["fields"].take())
        .collect();
    assert_eq!(audit.len(), 2, "{text}");
    assert_eq!(audit[0]["who"], "operator");
    assert_eq!(audit[0]["sub"], "u-17");
    assert_eq!(audit[0]["name"], "ann@example.com");
    assert_eq!(audit[0]["action"], "send");
    assert_eq!(
        audit[1]["sub"],
        Value::Null,
        "a static token's holder is not known"
    );
    for secret in [token.as_str(), refused.as_str(), STATIC] {
        let (_, signature) = secret.rsplit_once('.').unwrap_or(("", secret));
        assert!(!text.contains(signature), "{text}");
    }
}
