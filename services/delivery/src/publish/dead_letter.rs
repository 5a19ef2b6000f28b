//! Dead letters: the record as it was, with the reason and where it came from.

use std::sync::Arc;

use delayq_core::headers::{ERROR_CODE, ERROR_DETAIL, OUT_SOURCE, Refusal};
use delayq_core::record::{Header, Incoming, Outgoing, Record, Scheduled, Source};

/// A record on its way to the dead-letter topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Where the record was first written; unknown for an unreadable batch.
    pub source: Option<Source>,
    /// Why.
    pub refusal: Refusal,
    /// The record.
    pub record: Record,
}

/// Longest detail, in bytes: what a broker or a header says is not ours to bound otherwise.
const DETAIL_MAX_BYTES: usize = 4096;

impl DeadLetter {
    /// A refused record of a delay topic, control headers included, so that it can be mended and sent again.
    #[must_use]
    pub fn refused(incoming: Incoming, refusal: Refusal) -> Self {
        Self {
            source: Some(incoming.source),
            refusal,
            record: incoming.record,
        }
    }

    /// A record that could not be published, with the headers it would have had.
    #[must_use]
    pub fn unpublishable(scheduled: &Scheduled, refusal: Refusal) -> Self {
        Self {
            source: Some(scheduled.source.clone()),
            refusal,
            record: scheduled.to_output().record,
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
            .filter(|h| !replaced.contains(&h.name.as_str()))
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
        Outgoing {
            topic: topic.clone(),
            record,
        }
    }
}
