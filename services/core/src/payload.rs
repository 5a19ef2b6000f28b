//! Records too large for a batch: kept as chunks in the payload store, while the batch carries a reference.
//!
//! What is stored is a record batch of that one record ([`crate::batch`]): versioned, compressed, checksummed.

use std::sync::Arc;

use bytes::Bytes;

use crate::batch::{self, BatchFault, decode_up_to, encode_up_to};
use crate::record::{Record, Scheduled};

/// Largest chunk, in bytes: a DynamoDB item takes 400 KB, names and keys included.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html>
pub const CHUNK_MAX_BYTES: usize = 350_000;

/// Largest record that a reference may stand for, in bytes of memory: `kafka.message_max` is at most 64 MiB, and names of headers
/// count a little more in memory than on the wire.
pub const RECORD_MAX_BYTES: u32 = 128 * 1024 * 1024;
/// Most chunks of a reference: enough for the largest record if it does not compress.
pub const CHUNKS_MAX: u32 = 512;
const _: () = assert!(RECORD_MAX_BYTES >= 2 * (64 << 20));
const _: () = assert!(CHUNKS_MAX as usize * CHUNK_MAX_BYTES >= RECORD_MAX_BYTES as usize);

/// Where a record's key, value and headers are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayloadRef {
    /// Names the payload: source and checksum, so that writing it again is harmless.
    pub id: Arc<str>,
    /// In how many chunks.
    pub chunks: u32,
    /// What the record takes in memory once it is loaded.
    pub record_bytes: u32,
}

/// Why a payload is no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PayloadFault {
    /// Not all chunks are there.
    #[error(
        "chunk {chunk} of {chunks} of payload {id} is not in the payload table: was it emptied, or restored from a backup?"
    )]
    Missing {
        /// The payload.
        id: Arc<str>,
        /// The first chunk that is missing.
        chunk: usize,
        /// Of how many.
        chunks: u32,
    },
    /// The chunks are no record of that source.
    #[error("payload {id} is not the record it should be: {fault}")]
    Damaged {
        /// The payload.
        id: Arc<str>,
        /// What is wrong.
        fault: String,
    },
}

impl PayloadFault {
    /// Stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "payload-missing",
            Self::Damaged { .. } => "payload-damaged",
        }
    }
}

/// The chunks of a record, and the reference to them.
///
/// # Errors
/// A record over 4 GiB: what a batch holds at most is no limit here, since each payload is one record.
pub fn to_chunks(
    record: &Scheduled,
    zstd_level: i32,
) -> Result<(PayloadRef, Vec<Bytes>), BatchFault> {
    let whole = Scheduled {
        payload: None,
        ..record.clone()
    };
    let bytes = encode_up_to(u32::MAX as usize, std::slice::from_ref(&whole), zstd_level)?;
    let id = format!("{}-{:08x}", record.source, crc32c::crc32c(&bytes));
    let chunks: Vec<Bytes> = (0..bytes.len())
        .step_by(CHUNK_MAX_BYTES)
        .map(|at| bytes.slice(at..bytes.len().min(at + CHUNK_MAX_BYTES)))
        .collect();
    let payload = PayloadRef {
        id: Arc::from(id),
        chunks: u32::try_from(chunks.len()).unwrap_or(u32::MAX),
        record_bytes: u32::try_from(record.record.payload_bytes()).unwrap_or(u32::MAX),
    };
    Ok((payload, chunks))
}

/// The record that `chunks` hold, for a record known by `payload`.
///
/// # Errors
/// A chunk is missing, or they are not what was written.
pub fn from_chunks(
    of: &Scheduled,
    payload: &PayloadRef,
    chunks: Vec<Option<Bytes>>,
) -> Result<Record, PayloadFault> {
    let id = &payload.id;
    let mut whole = Vec::with_capacity(chunks.iter().flatten().map(Bytes::len).sum());
    let wanted = usize::try_from(payload.chunks).unwrap_or(usize::MAX);
    let mut found = chunks.into_iter();
    for chunk in 0..wanted {
        match found.next().flatten() {
            Some(bytes) => whole.extend_from_slice(&bytes),
            None => {
                return Err(PayloadFault::Missing {
                    id: id.clone(),
                    chunk,
                    chunks: payload.chunks,
                });
            }
        }
    }
    let damaged = |fault: String| PayloadFault::Damaged {
        id: id.clone(),
        fault,
    };
    // Twice what it should be, and a margin: no more is unpacked of what somebody else may have put there.
    let limit_bytes = (payload.record_bytes as usize).saturating_mul(2) + batch::RAW_MAX_BYTES;
    let mut records =
        decode_up_to(limit_bytes, &whole).map_err(|fault| damaged(fault.to_string()))?;
    match (records.pop(), records.is_empty()) {
        (Some(record), true) if record.source == of.source => Ok(record.record),
        (Some(record), true) => Err(damaged(format!(
            "it holds {} in place of {}",
            record.source, of.source
        ))),
        _ => Err(damaged("it does not hold exactly one record".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{noise, scheduled};

    fn large() -> Scheduled {
        let mut record = scheduled(1_700_000_000_000);
        record.record.value = Some(noise(1_000_000).into());
        record
    }

    #[test]
    fn a_large_record_comes_back_as_it_was() {
        let record = large();
        let (payload, chunks) = to_chunks(&record, 1).unwrap();
        assert_eq!(payload.chunks, 3);
        assert!(chunks.iter().all(|c| c.len() <= CHUNK_MAX_BYTES));
        let stored = chunks.into_iter().map(Some).collect();
        assert_eq!(
            from_chunks(&record, &payload, stored),
            Ok(record.record.clone())
        );
        let again = to_chunks(&record, 1).unwrap().0;
        assert_eq!(payload, again, "written again under the same name");
    }

    #[test]
    fn a_record_that_was_loaded_is_stored_whole_again() {
        let mut record = large();
        let fresh = to_chunks(&record, 1).unwrap();
        record.payload = Some(fresh.0.clone());
        assert_eq!(to_chunks(&record, 1).unwrap(), fresh);
    }

    #[test]
    fn far_more_than_the_reference_says_is_not_unpacked() {
        let mut record = scheduled(1_700_000_000_000);
        record.record.value = Some(vec![b'x'; 20 << 20].into());
        let (mut payload, chunks) = to_chunks(&record, 1).unwrap();
        payload.record_bytes = 1;
        let stored = chunks.into_iter().map(Some).collect();
        let fault = from_chunks(&record, &payload, stored).unwrap_err();
        assert_eq!(fault.code(), "payload-damaged");
    }

    #[test]
    fn a_record_larger_than_any_batch_is_kept_as_well() {
        let mut record = large();
        record.record.value = Some(vec![b'x'; 40 << 20].into());
        let (payload, chunks) = to_chunks(&record, 1).unwrap();
        let stored = chunks.into_iter().map(Some).collect();
        assert!(from_chunks(&record, &payload, stored) == Ok(record.record));
    }

    #[test]
    fn a_missing_a_damaged_and_a_foreign_chunk_are_told_apart() {
        let record = large();
        let (payload, chunks) = to_chunks(&record, 1).unwrap();
        let with = |at: usize, chunk: Option<Bytes>| {
            let mut all: Vec<_> = chunks.iter().cloned().map(Some).collect();
            all[at] = chunk;
            from_chunks(&record, &payload, all).unwrap_err()
        };
        assert!(matches!(
            with(1, None),
            PayloadFault::Missing { chunk: 1, .. }
        ));
        assert_eq!(with(1, chunks.first().cloned()).code(), "payload-damaged");
        let none = from_chunks(&record, &payload, vec![]).unwrap_err();
        assert_eq!(none.code(), "payload-missing");
        let mut other = large();
        other.source.offset += 1;
        let stored = chunks.into_iter().map(Some).collect();
        let foreign = from_chunks(&other, &payload, stored).unwrap_err();
        assert!(foreign.to_string().contains("in place of"), "{foreign}");
    }
}
