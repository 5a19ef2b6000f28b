//! `status`, `cancel`, `reschedule` and `upcoming`: definite answers, with exit codes that a script can go by.

use std::collections::BTreeMap;
use std::time::Duration;

use delayq_stack::signal;
use rdkafka::message::Message as _;
use serde_json::Value;
use tokio::time::{Instant, timeout};

use crate::support::{Installation, Ran, header, read_until};

const LIMIT: Duration = Duration::from_secs(60);

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("JSON: {ran:#?}"))
}

async fn send(own: &Installation, id: &str, delay: &str) {
    let target = own.target();
    let args = [
        "send", "--target", &target, "--id", id, "--delay", delay, "--value", id,
    ];
    let sent = own.run(&args).await;
    assert_eq!(sent.code, Some(0), "{sent:#?}");
}

/// The status once it is this.
async fn status(own: &Installation, id: &str, state: &str) -> Value {
    let until = Instant::now() + LIMIT;
    loop {
        let ran = own.run(&["status", id, "--json"]).await;
        let found = json(&ran);
        if found.get("state").is_some_and(|found| found == state) {
            assert_eq!(ran.code, Some(0), "{ran:#?}");
            return found;
        }
        assert!(Instant::now() < until, "{found}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_looked_up_cancelled_and_rescheduled_by_their_ids() {
    let mut own = Installation::new().await;
    own.init().await;
    let _roles = own.roles();
    for (id, delay) in [
        ("kept", "3s"),
        ("cancelled", "1h"),
        ("sooner", "1h"),
        ("later", "1h"),
    ] {
        send(&own, id, delay).await;
    }
    for id in ["cancelled", "sooner", "later"] {
        let found = status(&own, id, "scheduled").await;
        assert_eq!(found["output_topic"], format!("{}.standard", own.target()));
    }

    let unknown = own.run(&["status", "nobody", "later"]).await;
    assert_eq!(unknown.code, Some(4), "{unknown:#?}");
    unknown.line(&[
        "nobody",
        "unknown: no record with this id has been read from",
    ]);
    unknown.line(&["later", "scheduled, due ", "long path"]);
    assert_eq!(own.run(&["cancel", "nobody"]).await.code, Some(4));
    assert_eq!(
        own.run(&["reschedule", "nobody", "--delay", "5s"])
            .await
            .code,
        Some(4)
    );

    let cancelled = own.run(&["cancel", "cancelled"]).await;
    assert_eq!(cancelled.code, Some(0), "{cancelled:#?}");
    cancelled.line(&["cancelled: it will never be published"]);
    let again = own.run(&["cancel", "cancelled", "--json"]).await;
    assert_eq!(
        (again.code, &json(&again)["answer"]),
        (Some(0), &"cancelled".into())
    );
    let dead = own.run(&["reschedule", "cancelled", "--delay", "1s"]).await;
    assert_eq!(dead.code, Some(3), "{dead:#?}");
    dead.line(&["not rescheduled: ", "cancelled"]);

    let sooner = own
        .run(&["reschedule", "sooner", "--delay", "2s", "--json"])
        .await;
    assert_eq!(sooner.code, Some(0), "{sooner:#?}");
    let sooner = json(&sooner);
    assert_eq!(
        (&sooner["answer"], &sooner["state"]),
        (&"rescheduled".into(), &"scheduled".into())
    );
    let later = own
        .run(&["reschedule", "later", "--at", "2030-01-01T00:00:00Z"])
        .await;
    assert_eq!(later.code, Some(1), "{later:#?}");
    assert!(later.err.contains("due-too-far"), "{later:#?}");
    let nothing = own.run(&["reschedule", "later"]).await;
    assert_eq!(nothing.code, Some(2), "{nothing:#?}");

    for id in ["kept", "sooner"] {
        let found = status(&own, id, "published").await;
        assert!(found["late_ms"].as_i64() >= Some(0), "{found}");
        let late = own.run(&["cancel", id, "--json"]).await;
        assert_eq!(
            (late.code, &json(&late)["answer"]),
            (Some(3), &"published".into())
        );
    }
    let topics = [format!("{}.standard", own.target())];
    let read = read_until(&topics, |read| read.len() >= 2).await;
    let ids: Vec<_> = read
        .iter()
        .map(|one| header(one, "delayed-id").unwrap())
        .collect();
    assert_eq!(ids, ["kept", "sooner"]);
    // Keyed by its id, and as it was sent.
    assert!(read.iter().zip(&ids).all(|(one, id)| {
        one.key() == Some(id.as_bytes()) && one.payload() == Some(id.as_bytes())
    }));
    assert!(
        read.iter()
            .all(|one| header(one, "delay-replaces").is_none())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_no_router_reads_is_not_said_to_be_rescheduled() {
    let mut own = Installation::new().await;
    own.init().await;
    let mut roles = own.roles();
    send(&own, "o-1", "1h").await;
    status(&own, "o-1", "scheduled").await;
    roles.kill().await.unwrap();
    let waiting = own
        .run(&["reschedule", "o-1", "--delay", "2h", "--wait", "1s"])
        .await;
    assert_eq!(waiting.code, Some(1), "{waiting:#?}");
    assert!(
        waiting.err.contains("no router has read it within 1s"),
        "{waiting:#?}"
    );
    let found = own.run(&["status", "o-1", "--topic", "elsewhere"]).await;
    assert_eq!(found.code, Some(1), "{found:#?}");
    assert!(
        found.err.contains("elsewhere is no delay topic"),
        "{found:#?}"
    );
}

/// Records that come due, by priority.
fn due(upcoming: &Value) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    let buckets = upcoming["buckets"].as_array().expect("buckets");
    for count in buckets
        .iter()
        .flat_map(|b| b["counts"].as_array().expect("counts"))
    {
        let priority = count["priority"].as_str().expect("a priority").to_owned();
        *counts.entry(priority).or_default() += count["count"].as_u64().expect("a number");
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_due_is_counted_tracked_or_not_until_it_is_taken_back() {
    let mut own = Installation::new().await;
    own.init().await;
    let mut roles = own.roles();
    let target = own.target();
    for (delay, priority) in [("10m", "high"), ("2h", "low"), ("2h", "low"), ("3d", "low")] {
        let args = [
            "send",
            "--target",
            &target,
            "--delay",
            delay,
            "--priority",
            priority,
            "--value",
            "v",
        ];
        let sent = own.run(&args).await;
        assert_eq!(sent.code, Some(0), "{sent:#?}");
    }
    send(&own, "kept", "30m").await;
    send(&own, "moved", "30m").await;
    status(&own, "moved", "scheduled").await;
    let moved = own.run(&["reschedule", "moved", "--delay", "4d"]).await;
    assert_eq!(moved.code, Some(0), "{moved:#?}");
    // What a router took in last is counted when it stops.
    let pid = roles.id().expect("it runs");
    signal(pid, "INT").await.unwrap();
    let ended = timeout(LIMIT, roles.wait()).await.expect("it ends");
    assert!(ended.unwrap().success());

    let hour = own.run(&["upcoming", "--json"]).await;
    assert_eq!(hour.code, Some(0), "{hour:#?}");
    let hour = json(&hour);
    let expected = [("high", 1), ("standard", 1)].map(|(p, n)| (p.to_owned(), n));
    assert_eq!(due(&hour), BTreeMap::from(expected), "{hour}");
    assert_eq!(
        (&hour["bucket_ms"], &hour["exact"]),
        (&60_000.into(), &true.into())
    );
    let week = json(
        &own.run(&["upcoming", "--for", "7d", "--bucket", "1h", "--json"])
            .await,
    );
    let expected = [("high", 1), ("standard", 2), ("low", 3)].map(|(p, n)| (p.to_owned(), n));
    assert_eq!(due(&week), BTreeMap::from(expected), "{week}");

    let people = own.run(&["upcoming"]).await;
    people.line(&["1", "high", &format!("{target}.high")]);
    let fine = own
        .run(&["upcoming", "--for", "7d", "--bucket", "1m"])
        .await;
    assert_eq!(fine.code, Some(1), "{fine:#?}");
    assert!(fine.err.contains("make them longer"), "{fine:#?}");
}
