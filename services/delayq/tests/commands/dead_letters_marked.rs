//! `dead-letters`: what is done stays done, what is not done is never forgotten. Over letters that the test writes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;

use crate::support::{Installation, endpoints, read_until, write};

/// Refused for want of a target, numbered by key.
async fn write_letters(own: &Installation, reasons: impl IntoIterator<Item = &str>) -> usize {
    let letters: Vec<_> = reasons
        .into_iter()
        .enumerate()
        .map(|(n, reason)| {
            let headers = vec![
                ("delay-error", reason.to_owned()),
                ("delay-error-detail", "why".to_owned()),
                ("delayed-source", format!("{}/0/{n}", own.delay_topic())),
            ];
            (format!("k-{n}"), format!("v-{n}"), headers)
        })
        .collect();
    write(&own.dead_topic(), &letters).await;
    letters.len()
}

/// Offsets of the open letters.
async fn open(own: &Installation) -> Vec<usize> {
    let ran = own
        .run(&["dead-letters", "list", "--limit", "1000000"])
        .await;
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let offset = |line: &str| {
        let place = line.split_whitespace().next().expect("a place");
        place.strip_prefix("0/").expect(line).parse().expect(line)
    };
    ran.out.lines().map(offset).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn purged_letters_are_gone_and_no_others() {
    let own = Installation::new().await;
    own.init().await;
    let reasons = ["a", "a", "b", "a", "b", "c", "a", "c"];
    write_letters(&own, reasons).await;

    let page = own.run(&["dead-letters", "list", "--limit", "3"]).await;
    assert_eq!(page.out.lines().count(), 3, "{page:#?}");
    assert!(page.err.contains("--after 0/2"), "{page:#?}");
    let next = own
        .run(&["dead-letters", "list", "--limit", "5", "--after", "0/2"])
        .await;
    assert_eq!(next.count("0/"), 5, "{next:#?}");
    assert!(!next.err.contains("--after"), "{next:#?}");

    let purge = ["dead-letters", "purge", "--reason", "b", "--reason", "c"];
    let dry = own.run(&[&purge[..], &["--dry-run"]].concat()).await;
    assert_eq!(
        (dry.code, dry.out.lines().count()),
        (Some(0), 4),
        "{dry:#?}"
    );
    assert_eq!(open(&own).await.len(), 8);
    let done = own.run(&[&purge[..], &["--yes"]].concat()).await;
    assert_eq!(done.code, Some(0), "{done:#?}");
    assert!(done.err.contains("4 purged"), "{done:#?}");
    assert_eq!(open(&own).await, [0, 1, 3, 6]);
    assert_eq!(first_kept(&own).await, 0, "an open letter is never deleted");

    let head = own
        .run(&["dead-letters", "purge", "0/0", "0/1", "--yes"])
        .await;
    assert_eq!(head.code, Some(0), "{head:#?}");
    assert_eq!(open(&own).await, [3, 6]);
    assert_eq!(
        first_kept(&own).await,
        3,
        "what lies before the first open one is deleted"
    );
    let all = own.run(&["dead-letters", "list", "--all"]).await;
    assert_eq!(all.out.lines().count(), 5, "{all:#?}");
    assert_eq!(all.count("0/4"), 1, "{all:#?}");

    let rest = own.run(&["dead-letters", "purge", "--all", "--yes"]).await;
    assert_eq!(rest.code, Some(0), "{rest:#?}");
    assert_eq!((open(&own).await.len(), first_kept(&own).await), (0, 8));
}

/// Offset of the first record that the dead-letter topic still has.
async fn first_kept(own: &Installation) -> i64 {
    let (servers, topic) = (endpoints().await.kafka.clone(), own.dead_topic());
    let looked = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", servers)
            .create()
            .expect("a consumer");
        let bounds = consumer.fetch_watermarks(&topic, 0, Duration::from_secs(30));
        bounds.expect("an answer").0
    });
    looked.await.expect("looked")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_that_is_killed_repeats_at_most_a_page_and_forgets_nothing() {
    let own = Installation::new().await;
    own.init().await;
    let count = write_letters(&own, std::iter::repeat_n("missing-target", 5_000)).await;
    let target = own.target();
    let redrive = ["dead-letters", "redrive", "--all", "--to", &target];
    let mut killed = own.start(&redrive);
    // Somewhere between the first letter and the last: wherever it is, what follows must hold.
    read_until(&[own.delay_topic()], |all| !all.is_empty()).await;
    killed.start_kill().expect("it runs");
    killed.wait().await.expect("it ends");

    let still_open: BTreeSet<usize> = open(&own).await.into_iter().collect();
    let sent_before = sent(&own, count - still_open.len()).await;
    for n in (0..count).filter(|n| !still_open.contains(n)) {
        assert!(
            sent_before.contains_key(&n),
            "letter {n} is marked and was never sent"
        );
    }
    let again = own.run(&redrive).await;
    assert_eq!(again.code, Some(0), "{}", again.err);
    assert_eq!(open(&own).await.len(), 0);
    let sent = sent(&own, count).await;
    assert_eq!(sent.len(), count, "each letter was sent");
    let repeated: usize = sent.values().map(|times| times - 1).sum();
    assert!(repeated <= 100, "{repeated} were repeated");
    println!(
        "killed with {} of {count} open; {repeated} repeated",
        still_open.len()
    );
}

/// How often each letter is in the delay topic, once `different` are.
async fn sent(own: &Installation, different: usize) -> BTreeMap<usize, usize> {
    let key = |message: &rdkafka::message::OwnedMessage| {
        let key = std::str::from_utf8(message.key().expect("a key")).expect("text");
        let number = key.strip_prefix("k-").expect(key);
        number.parse::<usize>().expect(key)
    };
    let end = count(own).await;
    let all = read_until(&[own.delay_topic()], move |all| all.len() >= end).await;
    let mut times = BTreeMap::new();
    for message in &all {
        *times.entry(key(message)).or_default() += 1;
    }
    assert!(times.len() >= different, "{} of {different}", times.len());
    times
}

/// Records in the delay topic.
async fn count(own: &Installation) -> usize {
    let (servers, topic) = (endpoints().await.kafka.clone(), own.delay_topic());
    let counted = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", servers)
            .create()
            .expect("a consumer");
        let limit = Duration::from_secs(30);
        let metadata = consumer
            .fetch_metadata(Some(&topic), limit)
            .expect("metadata");
        let partitions = metadata
            .topics()
            .first()
            .map_or(0, |topic| topic.partitions().len());
        let ends = (0..i32::try_from(partitions).expect("few")).map(|partition| {
            let bounds = consumer.fetch_watermarks(&topic, partition, limit);
            bounds.expect("an answer").1
        });
        usize::try_from(ends.sum::<i64>()).expect("a count")
    });
    counted.await.expect("counted")
}

#[tokio::test(flavor = "multi_thread")]
async fn marks_that_cannot_be_kept_leave_the_letters_open() {
    let mut own = Installation::new().await;
    own.init().await;
    write_letters(&own, ["missing-target"]).await;
    // A member of the group: the broker takes no commit from others, so what is sent is not marked.
    let group = format!("{}-g-dead-letters", own.prefix);
    own.set(format!("kafka.group_id={}-g", own.prefix));
    let servers = endpoints().await.kafka.clone();
    let topic = own.dead_topic();
    let (joined, is_in) = tokio::sync::oneshot::channel();
    let (leave, left) = std::sync::mpsc::channel::<()>();
    let member = tokio::task::spawn_blocking(move || {
        let member: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", servers)
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .create()
            .expect("a member");
        member.subscribe(&[&topic]).expect("subscribed");
        let mut joined = Some(joined);
        while left.try_recv().is_err() {
            drop(member.poll(Duration::from_millis(50)));
            let assigned = member.assignment().is_ok_and(|list| list.count() > 0);
            if let (true, Some(joined)) = (assigned, joined.take_if(|_| assigned)) {
                joined.send(()).expect("awaited");
            }
        }
    });
    is_in.await.expect("a member");
    let target = own.target();
    let redrive = ["dead-letters", "redrive", "--all", "--to", &target];
    let ran = own.run(&redrive).await;
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    for part in ["must have no members", "run it again"] {
        assert!(ran.err.contains(part), "{part} in {ran:#?}");
    }
    assert_eq!(open(&own).await, [0], "sent, not marked: open");
    leave.send(()).expect("the member listens");
    member.await.expect("the member leaves");
    let again = own.run(&redrive).await;
    assert_eq!(again.code, Some(0), "{again:#?}");
    assert_eq!(open(&own).await.len(), 0);
    assert_eq!(count(&own).await, 2, "at least once");
}
