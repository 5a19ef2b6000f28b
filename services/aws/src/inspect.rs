//! What is there: queues and tables as they are. Reads only.

use std::time::Duration;

use aws_sdk_dynamodb::types::TableStatus;
use aws_sdk_sqs::types::QueueAttributeName;
use delayq_core::error::PortError;

use crate::connect::Clients;
use crate::names::TableNames;
use crate::provision_index::{check_index, index_is_active};
use crate::provision_queues::{self, Attributes, attributes, find};
use crate::provision_tables::{Needed, check_keys, describe, needed, stream, ttl};

/// What a queue and its dead-letter queue must keep messages for: the longest that SQS can, 14 days.
pub const QUEUE_RETENTION: Duration = Duration::from_secs(provision_queues::RETENTION_S as u64);
/// A message must be received more often than this before SQS moves it to the dead-letter queue.
pub const RECEIVE_COUNT_MIN: u32 = provision_queues::MAX_RECEIVE_COUNT;

/// A queue as it is. What an emulator does not tell is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QueueState {
    /// Whether it is a FIFO queue.
    pub fifo: bool,
    /// How long it keeps a message.
    pub retention: Option<Duration>,
    /// Largest message, in bytes.
    pub message_max_bytes: Option<u64>,
    /// Where messages go that are received too often.
    pub redrive: Option<Redrive>,
}

/// A redrive policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redrive {
    /// Name of the dead-letter queue.
    pub to: String,
    /// How often a message is received at most.
    pub receive_count_max: u64,
}

/// The queue of that name, if there is one. Needs `sqs:GetQueueUrl` and `sqs:GetQueueAttributes`.
///
/// # Errors
/// The call that failed, with what to do where that is known.
pub async fn inspect_queue(clients: &Clients, name: &str) -> Result<Option<QueueState>, PortError> {
    let resource = format!("queue {name}");
    match find(clients, name, &resource).await? {
        Some(url) => Ok(Some(queue_state(
            &attributes(clients, &resource, &url).await?,
        ))),
        None => Ok(None),
    }
}

/// How many messages a queue holds, as SQS estimates them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueDepth {
    /// To be received.
    pub visible: u64,
    /// Received and not deleted yet.
    pub in_flight: u64,
    /// Not yet to be received.
    pub delayed: u64,
}

/// How many messages the queue of that name holds; `None` when there is none. Needs what [`inspect_queue`] needs.
///
/// # Errors
/// The call that failed, with what to do where that is known.
pub async fn queue_depth(clients: &Clients, name: &str) -> Result<Option<QueueDepth>, PortError> {
    let resource = format!("queue {name}");
    let Some(url) = find(clients, name, &resource).await? else {
        return Ok(None);
    };
    let attributes = attributes(clients, &resource, &url).await?;
    let number = |name| {
        let text = attributes.get(&name)?;
        text.parse::<u64>().ok()
    };
    use QueueAttributeName as Q;
    Ok(Some(QueueDepth {
        visible: number(Q::ApproximateNumberOfMessages).unwrap_or(0),
        in_flight: number(Q::ApproximateNumberOfMessagesNotVisible).unwrap_or(0),
        delayed: number(Q::ApproximateNumberOfMessagesDelayed).unwrap_or(0),
    }))
}

fn queue_state(attributes: &Attributes) -> QueueState {
    let text = |name| attributes.get(&name).map(String::as_str);
    let number = |name| text(name)?.parse::<u64>().ok();
    let redrive = text(QueueAttributeName::RedrivePolicy).and_then(provision_queues::redrive);
    QueueState {
        fifo: text(QueueAttributeName::FifoQueue) == Some("true"),
        retention: number(QueueAttributeName::MessageRetentionPeriod).map(Duration::from_secs),
        message_max_bytes: number(QueueAttributeName::MaximumMessageSize),
        redrive: redrive.map(|(arn, receive_count_max)| Redrive {
            // arn:aws:sqs:region:account:name
            to: arn.rsplit(':').next().unwrap_or_default().to_owned(),
            receive_count_max,
        }),
    }
}

/// Whether the rows of a table expire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ttl {
    /// They need not.
    NotNeeded,
    /// TTL is on.
    On,
    /// TTL is off, or being switched off: rows stay, and are paid for.
    Off,
    /// TTL is on another attribute.
    Elsewhere(String),
}

/// Whether a table has a stream of its changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeStream {
    /// It needs none.
    NotNeeded,
    /// It has one with the rows before and after each change.
    On,
    /// It has none.
    Off,
    /// It has one that shows something else, such as `KEYS_ONLY`.
    Other(String),
}

/// Whether a table has its index by due time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DueIndex {
    /// It needs none.
    NotNeeded,
    /// It has it.
    On,
    /// It is being made.
    Making,
    /// It has none.
    Missing,
    /// It has one that cannot be used: why, and what to do.
    Wrong(String),
}

/// A table as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableState {
    /// `ACTIVE` or `UPDATING`: it can be used.
    pub usable: bool,
    /// What is wrong with its keys and what to do, if anything is.
    pub keys_fault: Option<String>,
    /// Whether its rows expire.
    pub ttl: Ttl,
    /// Whether its changes can be followed.
    pub stream: ChangeStream,
    /// Whether its rows can be listed by due time.
    pub index: DueIndex,
}

/// A table by name, and what became of looking at it: `Ok(None)` when there is none.
pub type InspectedTable = (String, Result<Option<TableState>, PortError>);

/// The tables of an installation. Needs `dynamodb:DescribeTable` and `dynamodb:DescribeTimeToLive`.
pub async fn inspect_tables(clients: &Clients, names: &TableNames) -> Vec<InspectedTable> {
    let looks = needed(names).map(|table| async move {
        let state = inspect_table(clients, &table).await;
        (table.name, state)
    });
    futures::future::join_all(looks).await
}

async fn inspect_table(clients: &Clients, table: &Needed) -> Result<Option<TableState>, PortError> {
    let resource = format!("table {}", table.name);
    let Some(description) = describe(clients, &table.name, &resource).await? else {
        return Ok(None);
    };
    let ttl = match table.expires {
        None => Ttl::NotNeeded,
        Some(wanted) => match ttl(clients, &table.name).await? {
            Some(present) if present == wanted => Ttl::On,
            Some(other) => Ttl::Elsewhere(other),
            None => Ttl::Off,
        },
    };
    let stream = match &table.stream {
        None => ChangeStream::NotNeeded,
        Some(wanted) => match stream(&description) {
            Some(present) if present == wanted => ChangeStream::On,
            Some(other) => ChangeStream::Other(other.as_str().to_owned()),
            None => ChangeStream::Off,
        },
    };
    let index = match table.index.as_ref().map(|i| check_index(&description, i)) {
        None => DueIndex::NotNeeded,
        Some(None) => DueIndex::Missing,
        Some(Some(Err(what))) => DueIndex::Wrong(what),
        Some(Some(Ok(()))) => match index_is_active(&description, table) {
            Some(true) => DueIndex::On,
            _ => DueIndex::Making,
        },
    };
    Ok(Some(TableState {
        usable: matches!(
            description.table_status,
            Some(TableStatus::Active | TableStatus::Updating)
        ),
        keys_fault: check_keys(&description, table).err(),
        ttl,
        stream,
        index,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_become_a_state_and_what_is_not_told_stays_unknown() {
        let attributes = |all: &[(QueueAttributeName, &str)]| -> Attributes {
            all.iter()
                .map(|(name, value)| (name.clone(), (*value).to_owned()))
                .collect()
        };
        assert_eq!(queue_state(&attributes(&[])), QueueState::default());
        let state = queue_state(&attributes(&[
            (QueueAttributeName::FifoQueue, "true"),
            (QueueAttributeName::MessageRetentionPeriod, "345600"),
            (QueueAttributeName::MaximumMessageSize, "262144"),
            (
                QueueAttributeName::RedrivePolicy,
                r#"{"deadLetterTargetArn":"arn:aws:sqs:eu-central-1:1:q-dead","maxReceiveCount":"3"}"#,
            ),
        ]));
        let expected = QueueState {
            fifo: true,
            retention: Some(Duration::from_secs(4 * 24 * 3600)),
            message_max_bytes: Some(262_144),
            redrive: Some(Redrive {
                to: "q-dead".to_owned(),
                receive_count_max: 3,
            }),
        };
        assert_eq!(state, expected);
    }
}
