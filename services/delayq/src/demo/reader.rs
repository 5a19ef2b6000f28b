//! Reads the output topics and the dead-letter topic with a consumer that knows nothing of delayq's insides.

use std::time::Duration;

use anyhow::Context as _;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio_util::sync::CancellationToken;

use super::tally::{Seen, now_ms};
use super::{Shared, locked};

/// Longest wait for the broker to tell a topic's partitions.
const METADATA_WAIT: Duration = Duration::from_secs(10);

/// Reads from the beginning until `stop`; sample records are those of the demo called `name`. `broker_time`: the records' timestamps are the broker's; else a record's time is
/// when it was read.
pub(super) async fn read(
    bootstrap: String,
    topics: Vec<String>,
    name: String,
    broker_time: bool,
    tally: Shared,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let consumer: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", &bootstrap)
        .set("group.id", "delayq-demo-reader")
        .set("enable.auto.commit", "false")
        .set("fetch.wait.max.ms", "10")
        .set("fetch.queue.backoff.ms", "5")
        .create()
        .context("a consumer for the output topics")?;
    let (consumer, assignment) = tokio::task::spawn_blocking(move || {
        let mut assignment = TopicPartitionList::new();
        for topic in &topics {
            let metadata = consumer.fetch_metadata(Some(topic), METADATA_WAIT)?;
            for partition in metadata.topics().iter().flat_map(|t| t.partitions()) {
                assignment.add_partition_offset(topic, partition.id(), Offset::Beginning)?;
            }
        }
        anyhow::Ok((consumer, assignment))
    })
    .await??;
    consumer.assign(&assignment)?;
    loop {
        let message = tokio::select! {
            message = consumer.recv() => message.context("reading the output topics")?,
            () = stop.cancelled() => return Ok(()),
        };
        let seen = seen(&message, &name, broker_time);
        locked(&tally).seen(&seen);
    }
}

fn seen(message: &BorrowedMessage<'_>, name: &str, broker_time: bool) -> Seen {
    let header = |name: &str| {
        let headers = message.headers()?;
        let header = headers.iter().find(|header| header.key == name)?;
        Some(std::str::from_utf8(header.value?).ok()?.to_owned())
    };
    let number = |name: &str| header(name)?.parse().ok();
    let read_ms = now_ms();
    let stamped_ms = message.timestamp().to_millis();
    let text =
        |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
    Seen {
        number: header(super::sample::NUMBER)
            .and_then(|text| text.strip_prefix(name)?.strip_prefix('/')?.parse().ok()),
        topic: message.topic().to_owned(),
        key: text(message.key()),
        value: text(message.payload()),
        path: header("delayed-path"),
        due_ms: number("delayed-due-ms"),
        error: header("delay-error"),
        at_ms: stamped_ms.filter(|_| broker_time).unwrap_or(read_ms),
        // Reading takes time, in which a record that was early would come due.
        produced_ms: stamped_ms.map_or(read_ms, |at| at.min(read_ms)),
    }
}
