//! The record that a letter is about: in the letter, or in the payload table, which the letter names.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use delayq_core::headers::{ERROR_PAYLOAD, ERROR_PAYLOAD_CHUNKS};
use delayq_core::payload::{PayloadRef, from_chunks};
use delayq_core::ports::PayloadStore;
use delayq_core::priority::Priority;
use delayq_core::record::{Path, Record, Scheduled, Source};

use super::letter::Letter;

/// Largest record that is loaded, in bytes: what Kafka's clients receive at most (`receive.message.max.bytes`).
const STORED_MAX_BYTES: u32 = 100_000_000;
/// Chunks that such a record can have at most; more are a forged letter.
const CHUNKS_MAX: u32 = 600;

/// Key, value and headers of the record, with what the letter says of it.
///
/// # Errors
/// A payload that is gone or damaged, or a table that does not answer.
pub(super) async fn content(letter: &Letter, store: &dyn PayloadStore) -> anyhow::Result<Record> {
    let Some((id, chunks)) = letter.stored() else {
        return Ok(letter.record.clone());
    };
    let chunks: u32 = chunks
        .parse()
        .ok()
        .filter(|n| (1..=CHUNKS_MAX).contains(n))
        .with_context(|| {
            format!(
                "{ERROR_PAYLOAD_CHUNKS} is {chunks:?}: a number from 1 to {CHUNKS_MAX} is expected"
            )
        })?;
    let Some(source) = source_of(id) else {
        bail!("{ERROR_PAYLOAD} {id:?} is no name of a payload");
    };
    let payload = PayloadRef {
        id: Arc::from(id),
        chunks,
        record_bytes: STORED_MAX_BYTES,
    };
    let stored = store.get(id, chunks).await?;
    let loaded = from_chunks(&named(source), &payload, stored)?;
    Ok(joined(loaded, &letter.record))
}

/// The source with which a payload's name begins; the checksum follows.
fn source_of(id: &str) -> Option<Source> {
    let (source, checksum) = id.rsplit_once('-')?;
    (checksum.len() == 8).then(|| source.parse().ok())?
}

/// Only the source of it counts.
fn named(source: Source) -> Scheduled {
    Scheduled {
        source,
        output_topic: Arc::from(""),
        priority: Priority::Standard,
        due_ms: 0,
        timestamp_ms: 0,
        id: None,
        path: Path::Direct,
        record: Record::default(),
        payload: None,
        limit: None,
    }
}

/// A letter that was stored whole holds only what is new since; one whose record was never loaded holds all `delayed-…`
/// headers. What both have is the same.
fn joined(mut loaded: Record, letter: &Record) -> Record {
    let new: Vec<_> = letter
        .headers
        .iter()
        .filter(|h| h.name != ERROR_PAYLOAD && h.name != ERROR_PAYLOAD_CHUNKS)
        .filter(|h| loaded.headers.iter().all(|known| known.name != h.name))
        .cloned()
        .collect();
    loaded.headers.extend(new);
    loaded
}

#[cfg(test)]
mod tests {
    use super::*;
    use delayq_core::record::Header;

    #[test]
    fn a_payloads_name_tells_the_source() {
        let source = source_of("or-ders.delay/3/881-00c0ffee").unwrap();
        assert_eq!(source.to_string(), "or-ders.delay/3/881");
        for bad in ["", "d/0/1", "d/0/1-abc", "d/0-00c0ffee"] {
            assert_eq!(source_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_letter_adds_what_the_payload_does_not_know() {
        let record = |headers: &[(&str, &str)]| Record {
            headers: headers.iter().map(|(n, v)| Header::text(*n, *v)).collect(),
            ..Record::default()
        };
        let loaded = record(&[("a", "1"), ("a", "2"), ("delayed-due-ms", "5")]);
        let letter = record(&[
            ("delayed-due-ms", "5"),
            ("delay-error-payload", "x"),
            ("delay-error-payload-chunks", "1"),
            ("delay-error", "publish-failed"),
        ]);
        let expected = record(&[
            ("a", "1"),
            ("a", "2"),
            ("delayed-due-ms", "5"),
            ("delay-error", "publish-failed"),
        ]);
        assert_eq!(joined(loaded, &letter), expected);
    }
}
