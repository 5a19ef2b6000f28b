//! Tracked records on all paths: cancelled, rescheduled, sent twice, looked up. The answers agree with what comes out.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use delayq::app::Backends;
use delayq::role::Role;
use delayq_core::clock::{Clock as _, SystemClock};
use delayq_core::ports::MessageRegistry;
use delayq_core::tracked::{CancelAnswer, MessageKey, MessageRow, State, cancel as cancelled};
use delayq_delivery::registry::change;
use delayq_e2e::produce::record;
use delayq_e2e::{Arrived, Deployment, Producer, settled, stack};
use futures::future::join_all;

/// Delays of each path, with the compressed times of the tests but for [`DIRECT`].
const PATHS: [(&str, i64); 3] = [("direct", 1_700), ("short", 6_000), ("long", 30_000)];
/// As by default: what comes later than the claim, 300 ms ahead, comes too late.
const DIRECT: &str = "delays.direct=2s";

fn now_ms() -> i64 {
    SystemClock.now_ms()
}

struct Bench {
    deployment: Deployment,
    producer: Producer,
    registry: Arc<dyn MessageRegistry>,
}

impl Bench {
    async fn new() -> Self {
        let deployment = Deployment::new(&[DIRECT]).await;
        deployment.init(&["a"]).await;
        let producer = Producer::new(
            &stack().await.endpoints().kafka,
            &format!("{}.delay", deployment.prefix),
        );
        let backends = Backends::aws(&deployment.config).await.expect("clients");
        Self {
            deployment,
            producer,
            registry: backends.registry,
        }
    }

    /// Keyed by the id, as producers of tracked records do.
    async fn send(&self, id: &str, value: &str, headers: &[(&str, &str)]) {
        let target = self.deployment.target("a");
        let mut all = vec![("delay-id", id), ("delay-target", &target)];
        all.extend(headers);
        self.producer
            .send(record(Some(id), Some(value), &all))
            .await;
    }

    /// Waits until the roles read and publish: what is overdue when it is read first is claimed at once.
    async fn until_it_works(&self) {
        self.send("first", "1", &[]).await;
        self.row_once("first", |row| row.state.as_str() == "published")
            .await;
    }

    async fn send_cancel(&self, id: &str) {
        let headers = [("delay-id", id), ("delay-action", "cancel")];
        self.producer.send(record(Some(id), None, &headers)).await;
    }

    fn key(&self, id: &str) -> MessageKey {
        MessageKey {
            topic: format!("{}.delay", self.deployment.prefix).into(),
            id: id.into(),
        }
    }

    async fn row(&self, id: &str) -> Option<MessageRow> {
        self.registry.read(&self.key(id)).await.unwrap_or_default()
    }

    /// The row once it is as `wanted`.
    async fn row_once(&self, id: &str, wanted: impl Fn(&MessageRow) -> bool) -> MessageRow {
        for _ in 0..600 {
            if let Some(row) = self.row(id).await.filter(&wanted) {
                return row;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{id} is still {:?}", self.row(id).await);
    }

    /// A cancel from outside.
    async fn cancel(&self, id: &str) -> CancelAnswer {
        let decide = |row: Option<&MessageRow>| cancelled(row, now_ms());
        for _ in 0..20 {
            // What is not answered is asked again, as anybody would.
            if let Ok(answered) = change(self.registry.as_ref(), &self.key(id), decide).await {
                return answered.answer;
            }
        }
        panic!("no answer to the cancel of {id}")
    }

    /// Everything that comes out, by id, once nothing more does.
    async fn arrived(&self, count: usize) -> HashMap<String, Vec<Arrived>> {
        let topics = ["high", "standard", "low"]
            .map(|priority| format!("{}.{priority}", self.deployment.target("a")));
        let all = settled(
            &stack().await.endpoints().kafka,
            &topics,
            count,
            Duration::from_secs(90),
            Duration::from_secs(6),
        )
        .await;
        let mut by_id: HashMap<String, Vec<Arrived>> = HashMap::new();
        for one in all {
            let id = one.text("delayed-id").expect("an id").to_owned();
            by_id.entry(id).or_default().push(one);
        }
        by_id
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_every_path_one_of_each_id_comes_out_and_the_registry_says_where() {
    let bench = Bench::new().await;
    let roles = bench.deployment.start(&Role::ALL);
    bench.until_it_works().await;
    for (path, delay_ms) in PATHS {
        let delay = delay_ms.to_string();
        bench
            .send(&format!("once-{path}"), "1", &[("delay-ms", &delay)])
            .await;
        // Twice, as a producer does that retries without idempotence.
        for _ in 0..2 {
            bench
                .send(&format!("twice-{path}"), "1", &[("delay-ms", &delay)])
                .await;
        }
        // Debounced: the last one wins.
        for value in ["1", "2", "3"] {
            let id = format!("debounced-{path}");
            bench.send(&id, value, &[("delay-ms", "9000")]).await;
        }
        let id = format!("sooner-{path}");
        bench.send(&id, "1", &[("delay-ms", "60000")]).await;
        bench.send(&id, "2", &[("delay-ms", &delay)]).await;
    }
    let arrived = bench.arrived(13).await;
    assert_eq!(arrived.len(), 13);
    for (path, _) in PATHS {
        for (name, value) in [
            ("once", "1"),
            ("twice", "1"),
            ("debounced", "3"),
            ("sooner", "2"),
        ] {
            let id = format!("{name}-{path}");
            let [one] = &arrived[&id][..] else {
                panic!("{id} came out {} times", arrived[&id].len())
            };
            assert_eq!(one.record.value.as_deref(), Some(value.as_bytes()), "{id}");
            let row = bench
                .row_once(&id, |row| row.state.as_str() == "published")
                .await;
            let State::Published(publication) = row.state else {
                panic!("{:?}", row.state)
            };
            assert_eq!(publication.partition, one.partition, "{id}");
            assert_eq!(
                row.version.source(&row.key.topic).to_string(),
                one.text("delayed-source").expect("a source"),
                "{id}"
            );
            if name != "debounced" {
                assert_eq!(one.text("delayed-path"), Some(path), "{id}");
            }
            assert_eq!(
                bench.cancel(&id).await,
                CancelAnswer::Published(publication)
            );
        }
    }
    roles.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_cancelled_never_comes_out_and_what_comes_too_late_always_does() {
    let bench = Bench::new().await;
    let roles = bench.deployment.start(&Role::ALL);
    bench.until_it_works().await;
    for (path, delay_ms) in PATHS {
        // Not so soon that the cancel could not be in time, however slow the machine.
        let delay = delay_ms.max(12_000).to_string();
        bench
            .send(&format!("by-record-{path}"), "1", &[("delay-ms", &delay)])
            .await;
        bench.send_cancel(&format!("by-record-{path}")).await;
        bench
            .send(&format!("outside-{path}"), "1", &[("delay-ms", &delay)])
            .await;
        let id = format!("again-{path}");
        bench.send(&id, "1", &[("delay-ms", &delay)]).await;
        bench.send_cancel(&id).await;
        bench.send(&id, "2", &[("delay-ms", &delay)]).await;
    }
    for (path, _) in PATHS {
        let id = format!("outside-{path}");
        bench.row_once(&id, |_| true).await;
        assert_eq!(bench.cancel(&id).await, CancelAnswer::Cancelled);
        assert_eq!(
            bench.cancel(&id).await,
            CancelAnswer::Cancelled,
            "asked again"
        );
        let by_record = format!("by-record-{path}");
        bench
            .row_once(&by_record, |row| row.state.as_str() == "cancelled")
            .await;
    }
    assert_eq!(bench.cancel("nobody").await, CancelAnswer::Unknown);
    // A burst that is cancelled while it comes out: each answer must be true.
    let due_ms = (now_ms() + 10_000).to_string();
    let ids: Vec<_> = (0..300).map(|n| format!("race-{n}")).collect();
    let headers = [("deliver-at-ms", due_ms.as_str())];
    join_all(ids.iter().map(|id| bench.send(id, "1", &headers))).await;
    let mut answers = HashMap::new();
    for (n, id) in ids.iter().enumerate() {
        let at_ms = due_ms.parse::<i64>().expect("a number") - 700 + 3 * n as i64;
        let wait_ms = at_ms - now_ms();
        tokio::time::sleep(Duration::from_millis(wait_ms.max(0).unsigned_abs())).await;
        answers.insert(id.clone(), bench.cancel(id).await);
    }
    let in_time = answers
        .values()
        .filter(|a| **a == CancelAnswer::Cancelled)
        .count();
    assert!((1..300).contains(&in_time), "{in_time} in time");
    let arrived = bench.arrived(1 + PATHS.len() + 300 - in_time).await;
    for (id, answer) in &answers {
        let came_out = arrived.get(id).map_or(0, Vec::len);
        let expected = usize::from(*answer != CancelAnswer::Cancelled);
        assert_eq!(came_out, expected, "{id}: {answer:?}");
    }
    for (path, _) in PATHS {
        for name in ["by-record", "outside"] {
            assert!(
                !arrived.contains_key(&format!("{name}-{path}")),
                "{name}-{path}"
            );
        }
        let again = &arrived[&format!("again-{path}")];
        assert_eq!(again.len(), 1);
        assert_eq!(again[0].record.value.as_deref(), Some(&b"2"[..]));
    }
    roles.stop().await;
}
