//! Batches that somebody wrote to do harm: each refused with its code, in bounded memory.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;

use crate::batch::{BatchFault, RAW_MAX_BYTES, decode, encode, from_text, to_text};
use crate::payload::{CHUNKS_MAX, PayloadRef, RECORD_MAX_BYTES, from_chunks};
use crate::record::Scheduled;
use crate::testing::{noise, scheduled};

/// A batch with a right checksum: version, compression, claimed length, payload.
fn forged(version: u8, codec: u8, claimed: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = b"DQ".to_vec();
    out.extend([version, codec]);
    out.extend(claimed.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&out), payload);
    out.extend(crc.to_le_bytes());
    out.extend(payload);
    out
}

fn compressed(plain: &[u8]) -> Vec<u8> {
    let claimed = u32::try_from(plain.len()).unwrap();
    forged(1, 1, claimed, &zstd::bulk::compress(plain, 1).unwrap())
}

#[track_caller]
fn refused(bytes: &[u8]) -> (&'static str, String) {
    let by_bytes = decode(bytes).unwrap_err();
    assert_eq!(from_text(&to_text(bytes)).unwrap_err(), by_bytes);
    (by_bytes.code(), by_bytes.to_string())
}

#[test]
fn a_bomb_that_says_how_large_it_is() {
    let bomb = compressed(&vec![0; RAW_MAX_BYTES + 1]);
    assert!(bomb.len() < 10_000, "{} bytes on the wire", bomb.len());
    assert_eq!(refused(&bomb).0, "batch-too-large");
    let four_gib = forged(1, 1, u32::MAX, &[]);
    assert_eq!(refused(&four_gib).0, "batch-too-large");
}

#[test]
fn a_bomb_that_lies_about_its_size() {
    let packed = zstd::bulk::compress(&vec![0; 64 << 20], 1).unwrap();
    assert_eq!(refused(&forged(1, 1, 1_000, &packed)).0, "batch-content");
}

/// 8 million empty records in 16 MiB, 2 KB on the wire, would be 6 GB.
#[test]
fn a_bomb_of_empty_records_headers_or_topics() {
    let records = [0x12, 0].repeat(RAW_MAX_BYTES / 2);
    let topics = [0x0a, 0].repeat(RAW_MAX_BYTES / 2);
    let headers = [0x62, 0].repeat(RAW_MAX_BYTES / 2 - 8);
    let mut length = headers.len();
    let mut one_record = vec![0x12];
    while length >= 0x80 {
        one_record.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    one_record.push(length as u8);
    one_record.extend(headers);
    for bomb in [records, topics, one_record] {
        let bomb = compressed(&bomb);
        assert!(bomb.len() < 10_000, "{} bytes on the wire", bomb.len());
        let (code, detail) = refused(&bomb);
        assert_eq!(code, "batch-content");
        assert!(detail.contains("in memory"), "{detail}");
    }
}

/// What is packed is unpacked, however small and many its parts are.
#[test]
fn what_would_be_refused_as_a_bomb_is_not_packed() {
    let many = |records: usize| {
        vec![
            Scheduled {
                record: crate::record::Record::default(),
                ..scheduled(1)
            };
            records
        ]
    };
    let batch = encode(&many(100_000), 1).unwrap();
    assert_eq!(decode(&batch).map(|records| records.len()), Ok(100_000));
    assert!(matches!(
        encode(&many(200_000), 1),
        Err(BatchFault::TooLarge(_))
    ));
}

#[test]
fn a_wrong_checksum_in_every_byte() {
    let good = encode(&[scheduled(1_700_000_000_000)], 1).unwrap();
    for at in 3..good.len() {
        let mut damaged = good.to_vec();
        damaged[at] ^= 0x10;
        assert_eq!(refused(&damaged).0, "batch-checksum", "byte {at}");
    }
}

#[test]
fn a_version_from_the_future() {
    for version in [0, 3, 255] {
        assert_eq!(
            refused(&forged(version, 0, 0, &[])).0,
            "batch-future-version"
        );
    }
    assert_eq!(refused(&forged(1, 2, 0, &[])).0, "batch-content");
}

#[test]
fn noise_and_text() {
    let noise = noise(4_096);
    assert_eq!(refused(&noise).0, "batch-no-magic");
    assert_eq!(
        from_text(&BASE64.encode(&noise)).unwrap_err().code(),
        "batch-no-magic"
    );
    for text in ["{\"order\":1}", "RFE=====", "\u{feff}", "ДQ"] {
        assert_eq!(
            from_text(text).unwrap_err().code(),
            "batch-not-base64",
            "{text:?}"
        );
    }
    assert_eq!(from_text("").unwrap_err().code(), "batch-no-magic");
}

#[test]
fn due_times_at_the_ends_come_through_and_nothing_overflows() {
    for due_ms in [i64::MIN, -1, 0, i64::MAX] {
        for timestamp_ms in [i64::MIN, 0, i64::MAX] {
            let record = Scheduled {
                due_ms,
                timestamp_ms,
                ..scheduled(1)
            };
            let batch = encode(std::slice::from_ref(&record), 1).unwrap();
            let read = decode(&batch).unwrap();
            assert_eq!(read[0].due_ms, due_ms);
            // What everything after it does with times.
            drop((
                read[0].to_output(),
                read[0].queue_group(),
                read[0].memory_bytes(),
            ));
        }
    }
}

fn reference(chunks: u32, record_bytes: u32) -> Scheduled {
    Scheduled {
        payload: Some(PayloadRef {
            id: "d/0/1-00".into(),
            chunks,
            record_bytes,
        }),
        ..scheduled(1)
    }
}

#[test]
fn a_reference_to_more_than_any_record() {
    for (chunks, bytes) in [
        (CHUNKS_MAX + 1, 1),
        (u32::MAX, 1),
        (1, RECORD_MAX_BYTES + 1),
        (1, u32::MAX),
    ] {
        let batch = encode(&[reference(chunks, bytes)], 1).unwrap();
        assert_eq!(
            refused(&batch).0,
            "batch-content",
            "{chunks} chunks, {bytes} bytes"
        );
    }
    let largest = encode(&[reference(CHUNKS_MAX, RECORD_MAX_BYTES)], 1).unwrap();
    assert!(decode(&largest).is_ok());
}

#[test]
fn chunks_that_are_a_bomb() {
    let of = reference(1, 1_000);
    let payload = of.payload.clone().unwrap();
    let bomb = compressed(&vec![0; RAW_MAX_BYTES + 4_096]);
    let records = compressed(&[0x12, 0].repeat(RAW_MAX_BYTES / 2));
    for chunk in [bomb, records, noise(1_000), Vec::new()] {
        let fault = from_chunks(&of, &payload, vec![Some(chunk.into())]).unwrap_err();
        assert_eq!(fault.code(), "payload-damaged");
    }
}
