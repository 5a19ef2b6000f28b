//! Dead letters: the record as it was, with the reason and where it came from.

use std::sync::Arc;

use delayq_core::headers::{
    ERROR_CODE, ERROR_DETAIL, ERROR_PAYLOAD, ERROR_PAYLOAD_CHUNKS, ERROR_PRIORITY, ERROR_TOPIC,
    OUT_SOURCE, Refusal,
};
use delayq_core::payload::PayloadRef;
use delayq_core::priority::Priority;
use delayq_core::record::{
    Header, Incoming, Outgoing, Path, Record, Scheduled, Source, TopicPartition,
};

/// A record on its way to the dead-letter topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Where the record was first written; unknown for an unreadable batch.
    pub source: Option<Source>,
    /// Why.
    pub refusal: Refusal,
    /// The record.
    pub record: Record,
    /// Its content is in the payload store.
    pub reference: bool,
}

/// Longest detail, in bytes: what a broker or a header says is not ours to bound otherwise.
const DETAIL_MAX_BYTES: usize = 4096;
/// Longest key that stays on a letter whose content is in the payload store, in bytes.
const KEPT_KEY_MAX_BYTES: usize = 1024;

fn reference_headers(payload: &PayloadRef) -> [Header; 2] {
    [
        Header::text(ERROR_PAYLOAD, &*payload.id),
        Header::text(ERROR_PAYLOAD_CHUNKS, payload.chunks.to_string()),
    ]
}

impl DeadLetter {
    /// A refused record of a delay topic, control headers included, so that it can be mended and sent again.
    #[must_use]
    pub fn refused(incoming: Incoming, refusal: Refusal) -> Self {
        let mut record = incoming.record;
        // Of a dead letter that was sent again with all its headers: they would be taken for this one's.
        let stale = [
            ERROR_TOPIC,
            ERROR_PRIORITY,
            ERROR_PAYLOAD,
            ERROR_PAYLOAD_CHUNKS,
        ];
        record.headers.retain(|h| !stale.contains(&&*h.name));
        Self {
            source: Some(incoming.source),
            refusal,
            record,
            reference: false,
        }
    }

    /// A record that could not be published, with the headers it would have had, and where it was to go: its control
    /// headers are gone, and who sends it again needs them.
    #[must_use]
    pub fn unpublishable(scheduled: &Scheduled, refusal: Refusal) -> Self {
        let mut record = scheduled.to_output().record;
        record.headers.extend([
            Header::text(ERROR_TOPIC, &*scheduled.output_topic),
            Header::text(ERROR_PRIORITY, scheduled.priority.as_str()),
        ]);
        // Not loaded: the letter says where the content is, or was.
        let loaded = scheduled.record != Record::default();
        let reference = scheduled.payload.as_ref().filter(|_| !loaded);
        if let Some(payload) = reference {
            record.headers.extend(reference_headers(payload));
        }
        Self {
            source: Some(scheduled.source.clone()),
            refusal,
            record,
            reference: reference.is_some(),
        }
    }

    /// A message that is no readable batch: its body is the value.
    #[must_use]
    pub fn unreadable(body: String, refusal: Refusal) -> Self {
        Self {
            source: None,
            refusal,
            record: Record {
                key: None,
                value: Some(body.into()),
                headers: vec![],
            },
            reference: false,
        }
    }

    /// Whether it carries anything that a reference could stand for.
    #[must_use]
    pub fn has_payload(&self) -> bool {
        let Record {
            key,
            value,
            headers,
        } = &self.record;
        let large_key = key.as_ref().is_some_and(|k| k.len() > KEPT_KEY_MAX_BYTES);
        !self.reference && (value.is_some() || !headers.is_empty() || large_key)
    }

    /// The record by which the payload store keeps it.
    #[must_use]
    pub fn to_stored(&self, topic: &Arc<str>) -> Scheduled {
        let value = self.record.value.as_deref().unwrap_or_default();
        // A message that was no batch has no source; its content names it.
        let source = self.source.clone().unwrap_or_else(|| Source {
            at: TopicPartition::new("unreadable", 0),
            offset: i64::try_from(value.len()).unwrap_or(0),
        });
        Scheduled {
            source,
            output_topic: topic.clone(),
            priority: Priority::Standard,
            due_ms: 0,
            timestamp_ms: 0,
            id: None,
            path: Path::Direct,
            record: self.record.clone(),
            payload: None,
            limit: None,
        }
    }

    /// The letter without its content, which the payload store keeps as `payload`.
    #[must_use]
    pub fn with_reference(&self, payload: &PayloadRef) -> Self {
        let key = self.record.key.clone();
        // By these it is found and listed without its content.
        let told = |h: &&Header| [ERROR_TOPIC, ERROR_PRIORITY].contains(&&*h.name);
        let told = self.record.headers.iter().filter(told).cloned();
        Self {
            source: self.source.clone(),
            refusal: self.refusal.clone(),
            record: Record {
                key: key.filter(|key| key.len() <= KEPT_KEY_MAX_BYTES),
                value: None,
                headers: told.chain(reference_headers(payload)).collect(),
            },
            reference: true,
        }
    }

    /// As it is written to `topic`.
    #[must_use]
    pub fn to_output(&self, topic: &Arc<str>) -> Outgoing {
        let replaced = [ERROR_CODE, ERROR_DETAIL, OUT_SOURCE];
        let mut headers: Vec<_> = self
            .record
            .headers
            .iter()
            .filter(|h| !replaced.contains(&&*h.name))
            .cloned()
            .collect();
        let mut detail = self.refusal.detail.clone();
        if detail.len() > DETAIL_MAX_BYTES {
            let cut = (0..=DETAIL_MAX_BYTES)
                .rev()
                .find(|at| detail.is_char_boundary(*at))
                .unwrap_or(0);
            detail.truncate(cut);
        }
        headers.push(Header::text(ERROR_CODE, self.refusal.code));
        headers.push(Header::text(ERROR_DETAIL, detail));
        if let Some(source) = &self.source {
            headers.push(Header::text(OUT_SOURCE, source.to_string()));
        }
        let record = Record {
            key: self.record.key.clone(),
            value: self.record.value.clone(),
            headers,
        };
        Outgoing::standard(topic.clone(), record)
    }
}
