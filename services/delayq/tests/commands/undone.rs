//! A dead letter that cannot be written keeps its record undone: the offset is not committed, the queue message not deleted.

use std::time::Duration;

use delayq_aws::{Names, queue_depth};
use delayq_core::ports::Lane;
use delayq_core::priority::Priority;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Message as _, OwnedMessage};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::time::Instant;

use crate::support::{Installation, clients, create_topic, endpoints, header, read_until, write};

const LIMIT: Duration = Duration::from_secs(120);

/// Waits until the router's group has committed this offset, with or without a map of what is finished beyond it.
async fn until_committed(own: &Installation, partition: i32, offset: i64, beyond: bool) {
    let (servers, group) = (endpoints().await.kafka.clone(), own.prefix.clone());
    let topic = own.delay_topic();
    let waited = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", servers)
            .set("group.id", group)
            .create()
            .expect("a consumer");
        let mut list = TopicPartitionList::new();
        list.add_partition(&topic, partition);
        let until = Instant::now() + LIMIT;
        loop {
            let found = match consumer.committed_offsets(list.clone(), LIMIT) {
                Ok(found) => found,
                // A coordinator that still loads its group says so.
                Err(error) => {
                    assert!(Instant::now() < until, "{error}");
                    drop(consumer.poll(Duration::from_millis(100)));
                    continue;
                }
            };
            let found = found.elements();
            let found = found.first().expect("the partition");
            if found.offset() == Offset::Offset(offset) && found.metadata().is_empty() != beyond {
                return;
            }
            let (at, map) = (found.offset(), found.metadata());
            assert!(Instant::now() < until, "{at:?} {map:?}, not {offset}");
            drop(consumer.poll(Duration::from_millis(100)));
        }
    });
    waited.await.expect("committed");
}

/// Waits until a queue holds at most `most` messages; answers with how many there are.
async fn until_at_most(queue: &str, most: u64) -> u64 {
    let clients = clients().await;
    let until = Instant::now() + LIMIT;
    loop {
        let depth = queue_depth(&clients, queue).await.expect("an answer");
        let depth = depth.expect("a queue");
        let messages = depth.visible + depth.in_flight + depth.delayed;
        if messages <= most {
            return messages;
        }
        assert!(Instant::now() < until, "{messages} in {queue}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn values(all: &[OwnedMessage]) -> Vec<&str> {
    let mut values: Vec<_> = all
        .iter()
        .map(|one| std::str::from_utf8(one.payload().expect("a value")).expect("text"))
        .collect();
    values.sort_unstable();
    values
}

#[tokio::test(flavor = "multi_thread")]
async fn offset_and_message_wait_for_their_dead_letters() {
    let mut own = Installation::new().await;
    own.init().await;
    let dead = format!("{}.later", own.prefix);
    own.set(format!("topics.dead_letter={dead}"));
    let queue = Names::with_prefix(&own.prefix)
        .queues
        .lane(Lane::Main(Priority::Low));
    let sqs = clients().await.sqs;
    let url = sqs
        .get_queue_url()
        .queue_name(&queue)
        .send()
        .await
        .expect("a queue");
    let forged = sqs.send_message().queue_url(url.queue_url.expect("a URL"));
    forged.message_body("forged!").send().await.expect("sent");
    let mut roles = own.roles();
    let target = own.target();
    let record = |value: &str, delay: &str, priority: &str| {
        let headers = vec![
            ("delay-target", target.clone()),
            ("delay-ms", delay.to_owned()),
            ("delay-priority", priority.to_owned()),
        ];
        ("k".to_owned(), value.to_owned(), headers)
    };
    let records = [
        record("first", "1", "standard"),
        record("poison", "soon", "standard"),
        record("direct", "1", "standard"),
        record("queued", "3000", "low"),
    ];
    write(&own.delay_topic(), &records).await;
    let outputs = [format!("{target}.standard"), format!("{target}.low")];
    let arrived = read_until(&outputs, |all| all.len() >= 3).await;
    assert_eq!(
        values(&arrived),
        ["direct", "first", "queued"],
        "poison blocks nobody"
    );
    let source = header(&arrived[0], "delayed-source").expect("a source");
    let partition = source.rsplit('/').nth(1).expect("a partition").parse();
    let partition: i32 = partition.expect("a number");

    until_committed(&own, partition, 1, true).await;
    assert_eq!(
        until_at_most(&queue, 1).await,
        1,
        "the forged message is not deleted"
    );
    assert!(
        roles.try_wait().expect("a state").is_none(),
        "the roles still run"
    );

    create_topic(&dead, &[]).await;
    let letters = read_until(std::slice::from_ref(&dead), |all| all.len() >= 2).await;
    assert_eq!(values(&letters), ["forged!", "poison"]);
    until_committed(&own, partition, 4, false).await;
    until_at_most(&queue, 0).await;
}
