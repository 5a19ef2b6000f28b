//! A record again, with another due time, in the place of the one that waits.
//!
//! The record itself is where its producer wrote it, in the delay topic: it is read there and written once more, on the condition
//! (`delay-replaces`) that the one whose place it takes still waits. So exactly one of them comes out, and which is the answer.

use std::cmp::Ordering;
use std::time::Duration;

use delayq_console::operations::Rescheduled;
use delayq_core::clock::EpochMs;
use delayq_core::error::PortError;
use delayq_core::headers::{HeaderNames, Refusal};
use delayq_core::ports::MessageRegistry;
use delayq_core::record::{Header, Record};
use delayq_core::route::Policy;
use delayq_core::tracked::{MessageRow, State, Version};
use delayq_kafka::TopicLog;
use delayq_runtime::config::Config;
use tokio::time::Instant;

use crate::cluster;
use crate::send::foresee;

/// How long the broker may take to answer at all.
const ANSWER: Duration = Duration::from_secs(4);
/// How often it is looked whether a router has read the record.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Why a record was not rescheduled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotReplaced {
    /// Its source holds nothing any more.
    #[error(
        "{source_place} is gone from the delay topic (retention.ms), so that it cannot be written again: send a new record with the id {id}, which takes its place"
    )]
    Gone {
        /// Where it was.
        source_place: String,
        /// Its id.
        id: String,
    },
    /// The router would refuse it.
    #[error("not rescheduled, it would be refused: {0}")]
    Refused(Refusal),
    /// Kafka or the registry do not answer.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// The record of `row` as its producer wrote it, with another due time, ready to be written.
pub(crate) async fn again(
    config: &Config,
    policy: &Policy,
    row: &MessageRow,
    due_ms: EpochMs,
) -> Result<Record, NotReplaced> {
    let topic = &row.key.topic;
    let gone = || NotReplaced::Gone {
        source_place: row.version.source(topic).to_string(),
        id: row.key.id.to_string(),
    };
    let kafka = cluster::kafka(config).await?;
    let mut log = TopicLog::open(&kafka, &config.kafka.group_id, topic, ANSWER)
        .await?
        .ok_or_else(gone)?;
    log.seek(row.version.partition, row.version.offset)?;
    let found = log.read().await?;
    let found = found
        .into_iter()
        .find(|one| one.source.offset == row.version.offset);
    let incoming = found.ok_or_else(gone)?;
    let record = with_due_time(incoming.record, &policy.names, due_ms, &row.version);
    foresee(policy, &record, topic, None).map_err(NotReplaced::Refused)?;
    Ok(record)
}

/// Waits until the router has decided about the record that was written as `version` to replace `row`; `None` when none has
/// read it within `wait`.
pub(crate) async fn decided(
    registry: &dyn MessageRegistry,
    row: &MessageRow,
    version: &Version,
    wait: Duration,
) -> Result<Option<(Rescheduled, MessageRow)>, PortError> {
    let until = Instant::now() + wait;
    loop {
        // A row does not go away so soon.
        let now = registry
            .read(&row.key)
            .await?
            .unwrap_or_else(|| row.clone());
        if let Some(outcome) = outcome(&now, version) {
            return Ok(Some((outcome, now)));
        }
        if Instant::now() >= until {
            return Ok(None);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What the row says of the record that was written as `version`; `None` while no router has read it.
fn outcome(row: &MessageRow, version: &Version) -> Option<Rescheduled> {
    if row.version.is_same(version) {
        return Some(Rescheduled::Rescheduled);
    }
    match (row.version.order(version), &row.state) {
        (Ordering::Greater, _) => Some(Rescheduled::Superseded),
        (_, State::Scheduled) => None,
        _ => Some(Rescheduled::TooLate),
    }
}

/// The record with another due time, in the place of `replaced`.
fn with_due_time(
    mut record: Record,
    names: &HeaderNames,
    due_ms: EpochMs,
    replaced: &Version,
) -> Record {
    let gone = [
        Some(&names.delay_ms),
        Some(&names.deliver_at),
        Some(&names.deliver_at_ms),
        names.deliver_at_s.as_ref(),
        Some(&names.replaces),
    ];
    record
        .headers
        .retain(|header| !gone.iter().flatten().any(|name| header.name == **name));
    record.headers.extend([
        Header::text(names.deliver_at_ms.as_str(), due_ms.to_string()),
        Header::text(
            names.replaces.as_str(),
            format!("{}/{}", replaced.partition, replaced.offset),
        ),
    ]);
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_stays_as_it_was_but_for_its_due_time() {
        let before = Record {
            headers: vec![
                Header::text("delay-target", "orders"),
                Header::text("delay-ms", "5000"),
                Header::text("delay-id", "o-1"),
                Header::text("trace", "1"),
                Header::text("delay-replaces", "0/1"),
            ],
            ..Record::default()
        };
        let replaced = Version {
            partition: 2,
            offset: 7,
            appended_ms: 0,
        };
        let after = with_due_time(
            before,
            &HeaderNames::default(),
            1_800_000_000_000,
            &replaced,
        );
        let expected = [
            Header::text("delay-target", "orders"),
            Header::text("delay-id", "o-1"),
            Header::text("trace", "1"),
            Header::text("deliver-at-ms", "1800000000000"),
            Header::text("delay-replaces", "2/7"),
        ];
        assert_eq!(after.headers, expected);
    }
}
