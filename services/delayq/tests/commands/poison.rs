//! `bench poison`, small: one record that cannot be published ends as a dead letter after its tries, and delays nobody.

use serde_json::Value;

use crate::support::{endpoints, finish, program};

#[tokio::test(flavor = "multi_thread")]
async fn one_poison_record_delays_nobody() {
    let endpoints = endpoints().await;
    let mut command = program();
    command
        .args([
            "bench",
            "poison",
            "--records",
            "3000",
            "--rate",
            "600",
            "--delay-min",
            "3",
        ])
        .args(["--delay-max", "4", "--json"])
        .env("DELAYQ_STACK_KAFKA", &endpoints.kafka)
        .env("DELAYQ_STACK_SQS", &endpoints.sqs)
        .env("DELAYQ_STACK_DYNAMODB", &endpoints.dynamodb);
    let ran = finish(command, b"").await;
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let result: Value = serde_json::from_str(&ran.out).expect("JSON");
    for round in ["without", "with"] {
        let round = &result[round];
        assert_eq!(round["published"], 3000, "{result:#}");
        assert_eq!(
            (&round["lost"], &round["early"]),
            (&0.into(), &0.into()),
            "{result:#}"
        );
    }
    assert_eq!(result["with"]["dead_letters"], 1, "{result:#}");
    assert_eq!(
        result["with"]["dead_lettered_after_its_tries"], true,
        "{result:#}"
    );
    // The first try on a missing topic alone takes 6 s: who had to wait for it would be late by about as much.
    let (poison_ms, p99_ms) = (
        result["with"]["dead_letter_after_ms"]
            .as_i64()
            .expect("a time"),
        result["lateness_p99_ms"]["with"].as_i64().expect("a time"),
    );
    assert!(
        poison_ms > 5_000 && p99_ms < poison_ms - 2_000,
        "{result:#}"
    );
}
