//! delayq over brokers that want TLS and a login: SCRAM, a client's certificate, IAM as MSK wants it.

use std::time::Duration;

use delayq::role::Role;
use delayq::{app, settings};
use delayq_aws::{AwsSettings, IamSigner};
use delayq_core::clock::{Clock as _, SystemClock};
use delayq_core::ports::RecordSink as _;
use delayq_core::record::Outgoing;
use delayq_e2e::produce::record;
use delayq_e2e::{Deployment, Producer, read_until};
use delayq_kafka::{KafkaSettings, KafkaSink, SinkSettings, Token, Tokens};
use delayq_security_test::Guarded;
use delayq_security_test::guarded::{ACCESS_KEY, PASSWORD, REAUTHENTICATE_MS, REGION, SECRET_KEY};
use tokio::sync::{OnceCell, oneshot};
use tokio::time::{Instant, sleep};

const PATIENCE: Duration = Duration::from_secs(60);

async fn guarded() -> &'static Guarded {
    static STACK: OnceCell<Guarded> = OnceCell::const_new();
    STACK
        .get_or_init(|| async { Guarded::start().await.expect("the stack starts") })
        .await
}

fn deployment(guarded: &Guarded, login: &[String]) -> Deployment {
    let settings: Vec<&str> = login.iter().map(String::as_str).collect();
    Deployment::on(guarded.endpoints(), &settings)
}

/// Creates all topics, runs all roles and sends records for as long as told, all with this login. Those who send and read do it at
/// the open listener.
async fn runs_with(login: &[String], records: usize, apart: Duration) {
    let guarded = guarded().await;
    let deployment = deployment(guarded, login);
    deployment.init(&["orders"]).await;
    let replica = deployment.start(&Role::ALL);
    let open = &guarded.endpoints().kafka;
    let producer = Producer::new(open, &format!("{}.delay", deployment.prefix));
    let target = deployment.target("orders");
    for n in 0..records {
        let headers = [("delay-ms", "1500"), ("delay-target", target.as_str())];
        producer
            .send(record(None, Some(&format!("order {n}")), &headers))
            .await;
        sleep(apart).await;
    }
    let output = [format!("{target}.standard")];
    let arrived = read_until(open, &output, PATIENCE, |arrived| arrived.len() >= records).await;
    assert_eq!(arrived.len(), records);
    let readiness = replica.health.readiness();
    assert!(readiness.ready, "{readiness:?}");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scram_over_tls() {
    runs_with(&guarded().await.scram(PASSWORD), 3, Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clients_certificate() {
    runs_with(&guarded().await.mtls(), 3, Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn iam_and_again_whenever_the_broker_asks() {
    let apart = Duration::from_millis(u64::from(REAUTHENTICATE_MS));
    runs_with(&guarded().await.iam(SECRET_KEY), 4, apart).await;
}

/// What a newcomer's first command says.
async fn refusal(login: &[String]) -> String {
    let guarded = guarded().await;
    let refused = app::init(&deployment(guarded, login).config, &[]).await;
    format!("{:#}", refused.expect_err("nobody gets in so"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_is_refused_says_why_and_where_to_look() {
    let guarded = guarded().await;
    let mut distrustful = guarded.scram(PASSWORD);
    distrustful.pop();
    distrustful.push(guarded.wrong_trust().expect("an authority"));
    // Each is given its time: all at once.
    let asked = [
        (guarded.scram("guessed"), "SASL"),
        (guarded.iam("guessed"), "signature does not fit"),
        (guarded.mtls_without_certificate(), "SSL"),
        (distrustful, "certificate verify failed"),
    ]
    .map(|(login, why)| (why, tokio::spawn(async move { refusal(&login).await })));
    for (why, said) in asked {
        let said = said.await.expect("no panic");
        assert!(said.contains(why), "{why} in {said}");
        assert!(
            said.contains("check kafka.auth and kafka.properties"),
            "{said}"
        );
        for secret in ["guessed", PASSWORD, SECRET_KEY] {
            assert!(!said.contains(secret), "{said}");
        }
    }
}

/// A token as the broker takes it for `secret_key`, which clients think ends after `life`.
async fn token(secret_key: &str, life: Duration) -> Token {
    let settings = AwsSettings {
        region: REGION.to_owned(),
        access_key_id: Some(ACCESS_KEY.to_owned()),
        secret_access_key: Some(secret_key.to_owned()),
        ..AwsSettings::local("http://localhost", "http://localhost")
    };
    let signer = IamSigner::new(&settings).await.expect("a signer");
    let now_ms = SystemClock.now_ms();
    let life_ms = i64::try_from(life.as_millis()).expect("a short life");
    Token {
        value: signer.token(now_ms).await.expect("a token").value,
        expires_ms: now_ms + life_ms,
    }
}

async fn until_healthy(sink: &KafkaSink, wanted: bool) {
    let until = Instant::now() + PATIENCE;
    while sink.health().is_ok() != wanted {
        assert!(Instant::now() < until, "still {:?}", sink.health());
        sleep(Duration::from_millis(50)).await;
    }
}

/// Clients ask for a new token before theirs ends, and get the latest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_client_takes_later_tokens() {
    let guarded = guarded().await;
    let deployment = deployment(guarded, &guarded.iam(SECRET_KEY));
    deployment.init(&["orders"]).await;
    let life = Duration::from_secs(5);
    let (sender, tokens) = Tokens::starting_with(token(SECRET_KEY, life).await);
    let kafka = KafkaSettings {
        tokens: Some(tokens),
        ..settings::kafka(&deployment.config)
    };
    let sink = KafkaSink::new(&kafka, SinkSettings::default()).expect("a sink");
    publish(&sink, &deployment).await;
    assert_eq!(sink.health(), Ok(()));
    sender.send_replace(token("guessed", life).await);
    until_healthy(&sink, false).await;
    sender.send_replace(token(SECRET_KEY, Duration::from_secs(600)).await);
    publish(&sink, &deployment).await;
    until_healthy(&sink, true).await;
}

async fn publish(sink: &KafkaSink, deployment: &Deployment) {
    let topic = format!("{}.standard", deployment.target("orders")).into();
    let record = Outgoing::standard(topic, record(None, Some("an order"), &[]));
    let (acknowledge, acknowledged) = oneshot::channel();
    let answer = Box::new(move |answer| drop(acknowledge.send(answer)));
    assert!(sink.publish(&record, answer).is_ok(), "the queue has room");
    acknowledged.await.expect("an answer").expect("published");
}
