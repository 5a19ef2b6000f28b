//! Every record arrives exactly as sent, once, never early: all paths, priorities and payloads, replicas coming and going.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use delayq::role::Role;
use delayq_core::record::{Header, Record};
use delayq_e2e::produce::record;
use delayq_e2e::{Arrived, Deployment, Producer, Stalls, read_until, settled, stack};

const RECORDS: usize = 50_000;
const PRIORITIES: [&str; 3] = ["high", "standard", "low"];

/// Bytes without pattern.
fn noise(bytes: usize, seed: u64) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..bytes)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

/// The `n`th record: of every shape, and where it should come out.
fn sample(deployment: &Deployment, n: usize) -> (Record, String) {
    let target = deployment.target(if n.is_multiple_of(2) { "a" } else { "b" });
    let priority = PRIORITIES[n % 3];
    // A third each: direct (at once), short (within 14 s), long.
    let delay_ms = match n / 3 % 3 {
        0 => n % 400,
        1 => 500 + n * 7 % 12_000,
        _ => 17_000 + n * 13 % 8_000,
    };
    let value = match n % 1_000 {
        1 => None,
        2 => Some(Bytes::new()),
        3 => Some(noise(256 * 1024, n as u64)),
        4 => Some(noise(20_000, n as u64)),
        m if m < 100 => Some(noise(m * 7, n as u64)),
        _ => Some(Bytes::from(format!(
            r#"{{"order":{n},"state":"awaiting payment"}}"#
        ))),
    };
    let key = match n % 5 {
        0 => None,
        1 => Some(Bytes::new()),
        2 => Some(noise(16, n as u64)),
        _ => Some(Bytes::from(format!("key-{}", n % 97))),
    };
    let mut headers = vec![
        Header::text("n", n.to_string()),
        Header::text("delay-ms", delay_ms.to_string()),
        Header::text("delay-target", target.clone()),
        Header::text("delay-priority", priority),
    ];
    match n % 11 {
        0 => headers.insert(
            0,
            Header {
                name: "null".into(),
                value: None,
            },
        ),
        1 => headers.extend([
            Header::text("twice", "1"),
            Header::text("twice", "2"),
            Header::text("empty", ""),
        ]),
        2 => headers.insert(
            1,
            Header {
                name: "binary".into(),
                value: Some(noise(40, n as u64)),
            },
        ),
        3 => headers.push(Header::text(
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        )),
        _ => {}
    }
    (
        Record {
            key,
            value,
            headers,
        },
        format!("{target}.{priority}"),
    )
}

fn control(header: &Header) -> bool {
    header.name.starts_with("delay-")
}

/// Received = sent: nothing lost, nothing changed, nothing early; and nothing twice, which a machine that stands still excuses.
fn verify(sent: &HashMap<usize, (Record, String)>, arrived: &[Arrived]) -> Result<(), String> {
    let mut times: HashMap<usize, usize> = HashMap::new();
    for one in arrived {
        let n = one.number("n").expect("the number of the record") as usize;
        *times.entry(n).or_default() += 1;
        let (record, output) = &sent[&n];
        assert_eq!(&one.topic, output, "record {n}");
        assert_eq!(one.record.key, record.key, "key of {n}");
        assert_eq!(one.record.value, record.value, "value of {n}");
        let expected: Vec<_> = record
            .headers
            .iter()
            .filter(|h| !control(h))
            .cloned()
            .collect();
        assert_eq!(one.original_headers(), expected, "headers of {n}");
        let due_ms = one.number("delayed-due-ms").expect("due time");
        assert!(
            one.timestamp_ms >= due_ms,
            "record {n} is {} ms early",
            due_ms - one.timestamp_ms
        );
        let delay_ms: i64 = record
            .header_text("delay-ms")
            .expect("a delay")
            .parse()
            .expect("a number");
        assert_eq!(
            due_ms,
            one.number("delayed-timestamp-ms").expect("timestamp") + delay_ms,
            "due time of {n}"
        );
    }
    let lost: Vec<_> = sent
        .keys()
        .filter(|n| !times.contains_key(n))
        .take(10)
        .collect();
    assert!(
        lost.is_empty(),
        "lost: {lost:?}, {} of {}",
        sent.len() - times.len(),
        sent.len()
    );
    let twice: Vec<_> = arrived
        .iter()
        .filter(|one| times[&(one.number("n").expect("a number") as usize)] > 1)
        .map(|one| {
            let texts = ["n", "delayed-source", "delayed-path", "delayed-due-ms"]
                .map(|name| one.text(name).unwrap_or_default());
            (texts, one.partition, one.timestamp_ms)
        })
        .take(20)
        .collect();
    match times.values().filter(|times| **times > 1).count() {
        0 => Ok(()),
        count => Err(format!("{count} more than once: {twice:#?}")),
    }
}

/// Runs it, and runs it again, twice at most, if it went wrong in a way that says nothing of delayq: because the machine
/// stood still meanwhile for seconds.
async fn without_stalls(run: impl AsyncFn() -> Result<(), String>) {
    const RUNS: usize = 3;
    const STOOD_STILL: Duration = Duration::from_secs(2);
    for left in (0..RUNS).rev() {
        let stalls = Stalls::watch();
        let Err(wrong) = run().await else { return };
        let stalled = stalls.longest();
        assert!(
            left > 0 && stalled >= STOOD_STILL,
            "the machine stood still for {stalled:?}; {wrong}"
        );
        eprintln!("the machine stood still for {stalled:?}: once more");
    }
}

fn paths(arrived: &[Arrived]) -> HashMap<String, usize> {
    let mut paths = HashMap::new();
    for one in arrived {
        *paths
            .entry(one.text("delayed-path").expect("a path").to_owned())
            .or_default() += 1;
    }
    paths
}

fn outputs(deployment: &Deployment, targets: &[&str]) -> Vec<String> {
    targets
        .iter()
        .flat_map(|t| PRIORITIES.map(|p| format!("{}.{p}", deployment.target(t))))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_thousand_records_arrive_as_sent_while_replicas_come_and_go() {
    without_stalls(replicas_come_and_go).await;
}

async fn replicas_come_and_go() -> Result<(), String> {
    let kafka = &stack().await.endpoints().kafka;
    let deployment = Deployment::new(&[]).await;
    deployment.init(&["a", "b"]).await;
    let first = deployment.start(&Role::ALL);
    let second = deployment.start(&Role::ALL);
    let producer = Arc::new(Producer::new(
        kafka,
        &format!("{}.delay", deployment.prefix),
    ));
    let sent: HashMap<_, _> = (0..RECORDS).map(|n| (n, sample(&deployment, n))).collect();
    let produce = |range: std::ops::Range<usize>| {
        let records = range.map(|n| sent[&n].0.clone()).collect();
        let producer = producer.clone();
        async move { producer.send_all(records).await }
    };
    produce(0..RECORDS / 3).await;
    let third = deployment.start(&Role::ALL);
    produce(RECORDS / 3..RECORDS * 2 / 3).await;
    first.stop().await;
    produce(RECORDS * 2 / 3..RECORDS).await;
    let arrived = settled(
        kafka,
        &outputs(&deployment, &["a", "b"]),
        RECORDS,
        Duration::from_secs(240),
        Duration::from_secs(8),
    )
    .await;
    let right = verify(&sent, &arrived);
    second.stop().await;
    third.stop().await;
    right?;
    // What a router reads late, on a machine that stood still, has less far to go.
    let paths = paths(&arrived);
    match ["direct", "short", "long"]
        .iter()
        .all(|path| paths.get(*path).is_some_and(|count| *count > 10_000))
    {
        true => Ok(()),
        false => Err(format!("{paths:?}")),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_clean_stop_and_start_in_the_middle_makes_no_duplicate() {
    without_stalls(stopped_in_the_middle).await;
}

async fn stopped_in_the_middle() -> Result<(), String> {
    const COUNT: usize = 4_000;
    let kafka = &stack().await.endpoints().kafka;
    let deployment = Deployment::new(&[]).await;
    deployment.init(&["a", "b"]).await;
    let producer = Arc::new(Producer::new(
        kafka,
        &format!("{}.delay", deployment.prefix),
    ));
    let sent: HashMap<_, _> = (0..COUNT).map(|n| (n, sample(&deployment, n))).collect();
    let first = deployment.start(&Role::ALL);
    producer
        .send_all((0..COUNT / 2).map(|n| sent[&n].0.clone()).collect())
        .await;
    first.stop().await;
    producer
        .send_all((COUNT / 2..COUNT).map(|n| sent[&n].0.clone()).collect())
        .await;
    let second = deployment.start(&Role::ALL);
    read_until(
        kafka,
        &outputs(&deployment, &["a", "b"]),
        Duration::from_secs(5),
        |_| false,
    )
    .await;
    second.stop().await;
    let third = deployment.start(&Role::ALL);
    let arrived = settled(
        kafka,
        &outputs(&deployment, &["a", "b"]),
        COUNT,
        Duration::from_secs(120),
        Duration::from_secs(8),
    )
    .await;
    let right = verify(&sent, &arrived);
    third.stop().await;
    right
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_consumers_output_forwarded_with_all_its_headers_is_a_fresh_record() {
    let kafka = &stack().await.endpoints().kafka;
    let deployment = Deployment::new(&[]).await;
    deployment.init(&["a"]).await;
    let producer = Arc::new(Producer::new(
        kafka,
        &format!("{}.delay", deployment.prefix),
    ));
    let replica = deployment.start(&Role::ALL);
    let target = deployment.target("a");
    let headers = [
        ("n", "1"),
        ("delay-ms", "100"),
        ("delay-target", target.as_str()),
        ("delay-id", "first"),
    ];
    producer.send(record(Some("k"), Some("v"), &headers)).await;
    let topics = outputs(&deployment, &["a"]);
    let first = read_until(kafka, &topics, Duration::from_secs(30), |a| !a.is_empty())
        .await
        .remove(0);
    assert_eq!(first.text("delayed-id"), Some("first"));
    // The usual retry: everything as it came, and new controls.
    let mut retry = first.record.clone();
    retry.headers.extend([
        Header::text("delay-ms", "200"),
        Header::text("delay-target", target),
    ]);
    let (partition, offset) = producer.send(retry).await;
    let both = read_until(kafka, &topics, Duration::from_secs(30), |a| a.len() >= 2).await;
    let again = both
        .iter()
        .find(|a| a.text("delayed-source") != first.text("delayed-source"))
        .expect("the retry");
    assert_eq!(
        again.text("delayed-source"),
        Some(format!("{}.delay/{partition}/{offset}", deployment.prefix).as_str())
    );
    for name in [
        "delayed-source",
        "delayed-due-ms",
        "delayed-path",
        "delayed-timestamp-ms",
    ] {
        assert_eq!(
            again
                .record
                .headers
                .iter()
                .filter(|h| h.name == name)
                .count(),
            1,
            "{name} once"
        );
    }
    assert_eq!(again.text("delayed-id"), None, "not tracked this time");
    assert_eq!(again.original_headers(), [Header::text("n", "1")]);
    replica.stop().await;
}
