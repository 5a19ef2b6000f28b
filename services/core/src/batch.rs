//! The record batch: the one unit for both tiers. Many records, packed, checked, compressed.
//!
//! Bytes, versions 1 and 2 (all numbers little-endian):
//!
//! | at | size | what |
//! | --- | --- | --- |
//! | 0 | 2 | magic `DQ` |
//! | 2 | 1 | format version: 2 if a record is a reference to the payload store, else 1 |
//! | 3 | 1 | compression: 0 none, 1 zstd |
//! | 4 | 4 | length of the payload before compression |
//! | 8 | 4 | CRC-32C of bytes 0–7 and the compressed payload |
//! | 12 | | payload: protobuf `Batch`, compressed |
//!
//! A reader that knows only version 1 would take a reference for an empty record: hence a version of its own, which such a
//! reader refuses, loudly.
//!
//! SQS carries it as base64 text, DynamoDB as a binary attribute. Neither checks bodies, hence the checksum.

mod read;
mod write;

use base64_simd::STANDARD_NO_PAD as BASE64;
use bytes::Bytes;
use prost::Message as _;

use crate::record::{AsScheduled, Scheduled};
use crate::unpacked::unpacked_bytes;

const MAGIC: [u8; 2] = *b"DQ";
/// Every record is here whole.
const VERSION: u8 = 1;
/// Some records are references.
const VERSION_REFERENCES: u8 = 2;
const HEAD_BYTES: usize = 12;

/// Largest payload before compression that is written or read: a bound on memory, and on decompression bombs.
pub const RAW_MAX_BYTES: usize = 16 * 1024 * 1024;

/// Most memory that an unpacked batch may take, as counted before it is unpacked. Batches of several records are packed to take
/// `packing.batch_raw_bytes` (4 MiB unless configured), a record of Kafka's 1 MiB with nothing but empty headers takes less than this too.
pub const UNPACKED_MAX_BYTES: usize = 128 * 1024 * 1024;

/// Why bytes are not a batch. The code is stable: it is a metric label and a dead-letter reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchFault {
    /// Not text in base64.
    #[error("the message body is not base64")]
    NotBase64,
    /// No batch at all.
    #[error("not a delayq batch (no magic)")]
    NotABatch,
    /// Written by a later version.
    #[error(
        "batch format version {0}; this build reads versions up to {VERSION_REFERENCES}: upgrade the readers before the writers"
    )]
    FutureVersion(u8),
    /// The checksum differs.
    #[error("checksum mismatch: the batch was damaged or forged")]
    Checksum,
    /// Larger than any batch that is written.
    #[error("claims {0} bytes before compression; the limit is {RAW_MAX_BYTES}")]
    TooLarge(u64),
    /// The checksum is right and the content is not.
    #[error("unreadable content: {0}")]
    Content(String),
}

impl BatchFault {
    /// Stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotBase64 => "batch-not-base64",
            Self::NotABatch => "batch-no-magic",
            Self::FutureVersion(_) => "batch-future-version",
            Self::Checksum => "batch-checksum",
            Self::TooLarge(_) => "batch-too-large",
            Self::Content(_) => "batch-content",
        }
    }
}

/// Packs records. Fails only above [`RAW_MAX_BYTES`], or above [`UNPACKED_MAX_BYTES`] of memory.
pub fn encode<R: AsScheduled>(records: &[R], zstd_level: i32) -> Result<Bytes, BatchFault> {
    encode_up_to(RAW_MAX_BYTES, records, zstd_level)
}

/// As [`encode`], with another limit.
pub(crate) fn encode_up_to<R: AsScheduled>(
    raw_max_bytes: usize,
    records: &[R],
    zstd_level: i32,
) -> Result<Bytes, BatchFault> {
    let (plain, unpacked_bytes) = write::batch(records);
    if plain.len() > raw_max_bytes {
        return Err(BatchFault::TooLarge(plain.len() as u64));
    }
    // What no reader would unpack is not written.
    if unpacked_bytes > raw_max_bytes.max(UNPACKED_MAX_BYTES) {
        return Err(BatchFault::TooLarge(unpacked_bytes as u64));
    }
    let packed =
        zstd::bulk::compress(&plain, zstd_level).map_err(|e| BatchFault::Content(e.to_string()))?;
    let (codec, payload) = if packed.len() < plain.len() {
        (1u8, &packed)
    } else {
        (0u8, &plain)
    };
    let raw_bytes =
        u32::try_from(plain.len()).map_err(|_| BatchFault::TooLarge(plain.len() as u64))?;
    let mut out = Vec::with_capacity(HEAD_BYTES + payload.len());
    out.extend_from_slice(&MAGIC);
    let version = if records.iter().any(|r| r.as_scheduled().payload.is_some()) {
        VERSION_REFERENCES
    } else {
        VERSION
    };
    out.extend_from_slice(&[version, codec]);
    out.extend_from_slice(&raw_bytes.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&out), payload);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(payload);
    Ok(Bytes::from(out))
}

/// Unpacks. Never allocates more than [`RAW_MAX_BYTES`] for the payload, nor more than [`UNPACKED_MAX_BYTES`] for what is in it.
pub fn decode(bytes: &[u8]) -> Result<Vec<Scheduled>, BatchFault> {
    decode_up_to(RAW_MAX_BYTES, bytes)
}

/// As [`decode`], with another limit.
pub(crate) fn decode_up_to(
    raw_max_bytes: usize,
    bytes: &[u8],
) -> Result<Vec<Scheduled>, BatchFault> {
    let (head, payload) = bytes
        .split_first_chunk::<HEAD_BYTES>()
        .ok_or(BatchFault::NotABatch)?;
    let [m0, m1, version, codec, l0, l1, l2, l3, c0, c1, c2, c3] = *head;
    if [m0, m1] != MAGIC {
        return Err(BatchFault::NotABatch);
    }
    if !(VERSION..=VERSION_REFERENCES).contains(&version) {
        return Err(BatchFault::FutureVersion(version));
    }
    let checked = [m0, m1, version, codec, l0, l1, l2, l3];
    if u32::from_le_bytes([c0, c1, c2, c3])
        != crc32c::crc32c_append(crc32c::crc32c(&checked), payload)
    {
        return Err(BatchFault::Checksum);
    }
    let raw_bytes = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    if raw_bytes > raw_max_bytes {
        return Err(BatchFault::TooLarge(raw_bytes as u64));
    }
    let plain = match codec {
        0 => Bytes::copy_from_slice(payload),
        1 => Bytes::from(
            zstd::bulk::decompress(payload, raw_bytes)
                .map_err(|e| BatchFault::Content(e.to_string()))?,
        ),
        other => return Err(BatchFault::Content(format!("unknown compression {other}"))),
    };
    if plain.len() != raw_bytes {
        return Err(BatchFault::Content(
            "length differs from what the head says".into(),
        ));
    }
    let unpacked_bytes =
        unpacked_bytes(&plain).ok_or_else(|| BatchFault::Content("not in protobuf".to_owned()))?;
    if unpacked_bytes > raw_max_bytes.max(UNPACKED_MAX_BYTES) {
        return Err(BatchFault::Content(format!(
            "would take {unpacked_bytes} bytes in memory; the limit is {UNPACKED_MAX_BYTES}"
        )));
    }
    read::Batch::decode(plain)
        .map_err(|e| BatchFault::Content(e.to_string()))?
        .unpack()
}

/// As a message body.
#[must_use]
pub fn to_text(encoded: &[u8]) -> String {
    BASE64.encode_to_string(encoded)
}

/// Length of [`to_text`] for `encoded_bytes`.
#[must_use]
pub const fn text_bytes(encoded_bytes: usize) -> usize {
    encoded_bytes.saturating_mul(4).div_ceil(3)
}

/// From a message body.
pub fn from_text(text: &str) -> Result<Vec<Scheduled>, BatchFault> {
    decode(
        &BASE64
            .decode_to_vec(text.trim_end())
            .map_err(|_| BatchFault::NotBase64)?,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::PayloadRef;
    use crate::priority::Priority;
    use crate::record::{Header, Path, Record};
    use crate::testing::{any_scheduled, scheduled};
    use proptest::prelude::*;

    /// The records of the golden file: one of every kind of field.
    fn golden() -> Vec<Scheduled> {
        let mut first = scheduled(1_700_000_000_123);
        first.id = Some("order-1".into());
        first.record.headers = vec![
            Header {
                name: "h".into(),
                value: None,
            },
            Header::text("h", ""),
            Header {
                name: "b".into(),
                value: Some(Bytes::from_static(&[0, 255])),
            },
        ];
        let mut second = scheduled(1_700_000_000_124);
        second.record = Record::default();
        second.priority = Priority::Low;
        second.path = Path::Long;
        second.timestamp_ms = 1_600_000_000_000;
        let mut third = scheduled(1_700_000_000_125);
        third.record.value = Some(Bytes::from(vec![b'x'; 5000]));
        third.priority = Priority::High;
        third.path = Path::Direct;
        vec![first, second, third]
    }

    /// A record that stayed, and a reference on a limited route.
    fn golden_references() -> Vec<Scheduled> {
        let mut reference = scheduled(1_700_000_000_126);
        reference.record = Record::default();
        reference.payload = Some(PayloadRef {
            id: "orders.delay/2/126-0badcafe".into(),
            chunks: 3,
            record_bytes: 900_000,
        });
        reference.limit = Some("webhooks".into());
        vec![scheduled(1_700_000_000_123), reference]
    }

    #[test]
    fn a_batch_of_just_the_limit_is_written_and_read_and_no_larger_one() {
        let encoded = encode(&golden(), 3).unwrap();
        let raw_bytes = u32::from_le_bytes(encoded[4..8].try_into().unwrap()) as usize;
        assert_eq!(encode_up_to(raw_bytes, &golden(), 3).as_ref(), Ok(&encoded));
        assert_eq!(
            decode_up_to(raw_bytes, &encoded).as_deref(),
            Ok(golden().as_slice())
        );
        for smaller in [0, raw_bytes - 1] {
            let refused = BatchFault::TooLarge(raw_bytes as u64);
            assert_eq!(encode_up_to(smaller, &golden(), 3), Err(refused.clone()));
            assert_eq!(decode_up_to(smaller, &encoded), Err(refused));
        }
    }

    #[test]
    fn what_compresses_is_compressed_and_nothing_else() {
        assert_eq!(encode(&golden(), 3).unwrap()[3], 1);
        assert_eq!(encode(&[scheduled(1)], 3).unwrap()[3], 0);
    }

    #[test]
    fn todays_bytes_are_read_for_ever() {
        assert_eq!(
            decode(include_bytes!("../golden/batch_v1_zstd.bin")).as_deref(),
            Ok(golden().as_slice())
        );
        assert_eq!(
            decode(include_bytes!("../golden/batch_v1_plain.bin")).as_deref(),
            Ok(&golden()[1..2])
        );
        assert_eq!(
            decode(include_bytes!("../golden/batch_v2_references.bin")).as_deref(),
            Ok(golden_references().as_slice())
        );
    }

    #[test]
    #[ignore = "writes the golden files; run by hand when a new format version begins: cargo test -p delayq-core -- --ignored write_golden"]
    fn write_golden() {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/golden");
        std::fs::create_dir_all(dir).unwrap();
        std::fs::write(
            format!("{dir}/batch_v1_zstd.bin"),
            encode(&golden(), 3).unwrap(),
        )
        .unwrap();
        std::fs::write(
            format!("{dir}/batch_v1_plain.bin"),
            encode(&golden()[1..2], 3).unwrap(),
        )
        .unwrap();
        std::fs::write(
            format!("{dir}/batch_v2_references.bin"),
            encode(&golden_references(), 3).unwrap(),
        )
        .unwrap();
        let finished = crate::offsets::FinishedMap::from_ranges(vec![
            (1001, 1005),
            (1008, 1008),
            (1108, 2108),
        ])
        .unwrap();
        let map = crate::commit_metadata::CommitMap {
            committed: 1000,
            leader_epoch: Some(7),
            finished,
        };
        std::fs::write(
            format!("{dir}/commit_metadata_v1.txt"),
            crate::commit_metadata::encode(&map) + "\n",
        )
        .unwrap();
    }

    #[test]
    fn harm_is_refused_with_a_reason() {
        let good = encode(&golden(), 3).unwrap();
        let code = |bytes: &[u8]| decode(bytes).unwrap_err().code();
        assert_eq!(code(b""), "batch-no-magic");
        assert_eq!(code(&good[..HEAD_BYTES - 1]), "batch-no-magic");
        assert_eq!(
            code(&[b"XX".as_slice(), &good[2..]].concat()),
            "batch-no-magic"
        );
        let with = |at: usize, byte: u8| {
            let mut bytes = good.to_vec();
            bytes[at] = byte;
            bytes
        };
        assert_eq!(code(&with(2, 9)), "batch-future-version");
        for at in [3, 4, 8, HEAD_BYTES, good.len() - 1] {
            assert_eq!(code(&with(at, good[at] ^ 1)), "batch-checksum", "byte {at}");
        }
        assert_eq!(
            from_text("no base64!").unwrap_err().code(),
            "batch-not-base64"
        );
    }

    #[test]
    fn a_reference_travels_in_place_of_the_record() {
        let mut record = scheduled(1_700_000_000_123);
        record.record.value = Some(Bytes::from(vec![b'x'; 5000]));
        record.payload = Some(PayloadRef {
            id: "orders.delay/2/123-0badcafe".into(),
            chunks: 3,
            record_bytes: 900_000,
        });
        let read = decode(&encode(std::slice::from_ref(&record), 1).unwrap()).unwrap();
        record.record = Record::default();
        assert_eq!(read, [record.clone()]);
        assert_eq!(encode(&[record], 1).unwrap()[2], VERSION_REFERENCES);
        assert_eq!(encode(&golden(), 1).unwrap()[2], VERSION);
        assert!(read[0].memory_bytes() > 900_000, "counted as it will be");
    }

    /// A well-signed batch with a head and payload of our choosing.
    fn forged(codec: u8, raw_bytes: u32, payload: &[u8]) -> Vec<u8> {
        let mut out = [&MAGIC[..], &[VERSION, codec], &raw_bytes.to_le_bytes()].concat();
        let crc = crc32c::crc32c_append(crc32c::crc32c(&out), payload);
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(payload);
        out
    }

    #[test]
    fn bombs_and_forgeries_are_bounded() {
        let bomb = zstd::bulk::compress(&vec![0u8; 64 << 20], 1).unwrap();
        assert_eq!(
            decode(&forged(1, 64 << 20, &bomb)).unwrap_err().code(),
            "batch-too-large"
        );
        assert_eq!(
            decode(&forged(1, 1000, &bomb)).unwrap_err().code(),
            "batch-content"
        );
        assert_eq!(
            decode(&forged(7, 0, b"")).unwrap_err().code(),
            "batch-content"
        );
        assert_eq!(
            decode(&forged(0, 3, b"abcd")).unwrap_err().code(),
            "batch-content"
        );
        assert_eq!(decode(&forged(0, 0, b"")), Ok(vec![]));
    }

    proptest! {
        #[test]
        fn round_trip(records in prop::collection::vec(any_scheduled(), 0..40)) {
            let bytes = encode(&records, 1).unwrap();
            prop_assert_eq!(decode(&bytes).unwrap(), records.clone());
            let text = to_text(&bytes);
            prop_assert_eq!(text.len(), text_bytes(bytes.len()));
            prop_assert_eq!(from_text(&text).unwrap(), records);
        }

        #[test]
        fn no_input_panics(payload in prop::collection::vec(any::<u8>(), 0..300), codec in 0u8..3, raw in 0u32..400) {
            drop(decode(&payload));
            drop(decode(&forged(codec, raw, &payload)));
            drop(decode(&forged(0, payload.len() as u32, &payload)));
        }
    }
}
