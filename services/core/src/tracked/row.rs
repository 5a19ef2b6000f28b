//! A row of the registry: of which id, of which version, in which state.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use crate::clock::EpochMs;
use crate::priority::Priority;
use crate::record::{Path, Scheduled, Source, TopicPartition};

/// How long a row, a tombstone included, outlives its due time and its last change.
pub const KEPT_MS: i64 = 30 * 86_400_000;

/// A tracked id. Unique per delay topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageKey {
    /// Delay topic.
    pub topic: Arc<str>,
    /// `delay-id`.
    pub id: Arc<str>,
}

impl fmt::Display for MessageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}|{}", self.topic, self.id)
    }
}

/// Which record of an id: where it stands in the delay topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Version {
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// The record's timestamp: log-append time, as `init` sets delay topics up.
    pub appended_ms: EpochMs,
}

impl Version {
    /// The version that a record is.
    #[must_use]
    pub const fn of(source: &Source, timestamp_ms: EpochMs) -> Self {
        Self {
            partition: source.at.partition,
            offset: source.offset,
            appended_ms: timestamp_ms,
        }
    }

    /// Where it stands in `topic`.
    #[must_use]
    pub fn source(&self, topic: &Arc<str>) -> Source {
        Source {
            at: TopicPartition::new(topic.clone(), self.partition),
            offset: self.offset,
        }
    }

    /// Whether both name the same record, whatever its timestamp was taken for.
    #[must_use]
    pub const fn is_same(&self, other: &Self) -> bool {
        self.partition == other.partition && self.offset == other.offset
    }

    /// Which one was written later. Within a partition the offset decides; an id whose records are spread over partitions goes by
    /// append time.
    #[must_use]
    pub fn order(&self, other: &Self) -> Ordering {
        if self.partition == other.partition {
            return self.offset.cmp(&other.offset);
        }
        let key = |v: &Self| (v.appended_ms, v.partition, v.offset);
        key(self).cmp(&key(other))
    }
}

/// The right to publish a version, for a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Who holds it.
    pub by: Arc<str>,
    /// Since when.
    pub at_ms: EpochMs,
    /// After this another may take it.
    pub until_ms: EpochMs,
}

/// Where and when a record was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publication {
    /// When the broker's acknowledgement came.
    pub at_ms: EpochMs,
    /// Partition of the output topic.
    pub partition: i32,
    /// Offset in that partition.
    pub offset: i64,
}

/// What has become of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Accepted; not yet due.
    Scheduled,
    /// About to be published, or in the broker's hands.
    Publishing(Claim),
    /// In its output topic.
    Published(Publication),
    /// Will never be published.
    Cancelled {
        /// When.
        at_ms: EpochMs,
    },
    /// In the dead-letter topic.
    Dead {
        /// When.
        at_ms: EpochMs,
        /// The code of the refusal.
        reason: String,
    },
}

impl State {
    /// As the registry, the API and metrics write it.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Publishing(_) => "publishing",
            Self::Published(_) => "published",
            Self::Cancelled { .. } => "cancelled",
            Self::Dead { .. } => "dead",
        }
    }
}

/// What is known of a version besides its state; a cancel that came before its record knows nothing of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Details {
    /// Due time.
    pub due_ms: EpochMs,
    /// Output topic.
    pub output_topic: Arc<str>,
    /// Priority.
    pub priority: Priority,
    /// Which way it went.
    pub path: Path,
}

/// A row of the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageRow {
    /// Delay topic and id.
    pub key: MessageKey,
    /// The latest record with that id, or the cancel that came before it.
    pub version: Version,
    /// Raised by every write, from 1.
    pub revision: u64,
    /// What the version is.
    pub details: Option<Details>,
    /// What has become of it.
    pub state: State,
    /// An earlier version was being published when this one took its place: that one was not superseded in time.
    pub overlaps: bool,
    /// When the registry may forget it, seconds since the Unix epoch.
    pub expires_s: i64,
}

/// By what a conditional write knows the row that it replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowStamp {
    /// Version.
    pub version: Version,
    /// Revision.
    pub revision: u64,
}

impl MessageRow {
    /// The row of a record that is registered for the first time: a pure function of the record, so that who publishes it can
    /// claim it without reading.
    #[must_use]
    pub fn first(key: MessageKey, record: &Scheduled) -> Self {
        let version = Version::of(&record.source, record.timestamp_ms);
        Self {
            key,
            version,
            revision: 1,
            details: Some(Details {
                due_ms: record.due_ms,
                output_topic: record.output_topic.clone(),
                priority: record.priority,
                path: record.path,
            }),
            state: State::Scheduled,
            overlaps: false,
            expires_s: expires_s(record.due_ms, record.timestamp_ms),
        }
    }

    /// Its stamp.
    #[must_use]
    pub const fn stamp(&self) -> RowStamp {
        RowStamp {
            version: self.version,
            revision: self.revision,
        }
    }

    fn due_ms(&self) -> EpochMs {
        self.details.as_ref().map_or(EpochMs::MIN, |d| d.due_ms)
    }

    /// In another state, a revision on.
    pub(super) fn changed(&self, state: State, now_ms: EpochMs) -> Self {
        Self {
            revision: self.revision + 1,
            state,
            expires_s: self.expires_s.max(expires_s(self.due_ms(), now_ms)),
            ..self.clone()
        }
    }
}

/// When the registry may forget what is due at `due_ms`, or changes now.
pub(super) fn expires_s(due_ms: EpochMs, now_ms: EpochMs) -> i64 {
    due_ms.max(now_ms).saturating_add(KEPT_MS).div_euclid(1000)
}

impl Scheduled {
    /// The key of a tracked record; `None` for the others, which pay nothing for tracking.
    #[must_use]
    pub fn key(&self) -> Option<MessageKey> {
        self.id.as_ref().map(|id| MessageKey {
            topic: self.source.at.topic.clone(),
            id: id.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::scheduled;

    const NOW: EpochMs = 1_700_000_000_000;

    fn version(partition: i32, offset: i64, appended_ms: EpochMs) -> Version {
        Version {
            partition,
            offset,
            appended_ms,
        }
    }

    #[test]
    fn offsets_decide_within_a_partition_and_append_times_between_them() {
        let earlier_by_offset = version(0, 1, NOW + 9).order(&version(0, 2, NOW));
        assert_eq!(earlier_by_offset, Ordering::Less);
        let earlier_by_time = version(1, 9, NOW).order(&version(0, 1, NOW + 1));
        assert_eq!(earlier_by_time, Ordering::Less);
    }

    #[test]
    fn a_record_with_an_id_has_a_key_of_its_topic() {
        let mut record = scheduled(NOW);
        assert_eq!(record.key(), None);
        record.id = Some("o-1".into());
        let key = record.key().unwrap();
        assert_eq!(key.topic, record.source.at.topic);
        assert_eq!(key.to_string(), format!("{}|o-1", key.topic));
    }

    #[test]
    fn a_row_is_kept_for_thirty_days_beyond_its_due_time_whatever_was_kept_before() {
        let mut record = scheduled(NOW + 60_000);
        record.id = Some("o-1".into());
        let mut row = MessageRow::first(record.key().unwrap(), &record);
        let expires_s = (NOW + 60_000) / 1000 + 30 * 24 * 3600;
        assert_eq!(row.expires_s, expires_s);
        row.expires_s = 0;
        assert_eq!(row.changed(State::Scheduled, NOW).expires_s, expires_s);
    }
}
