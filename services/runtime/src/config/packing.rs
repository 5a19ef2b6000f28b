//! `[packing]`: how records are packed into batches.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::{count_between, duration_between, size_between};
use super::fault::ConfigErrors;
use super::values::ByteSize;

/// `[packing]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackingConfig {
    /// Longest wait of a record for company; the wait adapts below it, and never costs accuracy. Default 1 min.
    #[serde(with = "humantime_serde")]
    pub max_wait: Duration,
    /// Largest SQS message, encoded, in bytes (SQS: 1 MiB, attributes included). Default 256 KiB.
    pub message_bytes: ByteSize,
    /// Largest batch in DynamoDB, encoded, in bytes (an item: 400 KB, keys and names included). Default 350,000.
    pub store_batch_bytes: ByteSize,
    /// Most records in a batch. Default 5,000.
    pub batch_records: u32,
    /// Most bytes in a batch before compression: what whoever opens it must hold, ten at a time. Default 1 MiB.
    pub batch_raw_bytes: ByteSize,
    /// zstd's level, 1 (fast) to 19 (small). Default 1: up to 12 JSON events become no smaller.
    pub zstd_level: i32,
    /// The level of batches in DynamoDB while that takes a router less than 20 % of a processor; `zstd_level` if that is
    /// higher. Default 15: such batches are 6 to 10 % smaller, the long path at 1,000 JSON events/s a tenth cheaper.
    pub zstd_level_max: i32,
}

impl Default for PackingConfig {
    fn default() -> Self {
        Self {
            max_wait: Duration::from_secs(60),
            message_bytes: ByteSize::kib(256),
            store_batch_bytes: ByteSize::bytes(350_000),
            batch_records: 5000,
            batch_raw_bytes: ByteSize::mib(1),
            zstd_level: 1,
            zstd_level_max: 15,
        }
    }
}

impl PackingConfig {
    pub(super) fn check(&self, faults: &mut ConfigErrors) {
        duration_between(
            faults,
            "packing.max_wait",
            self.max_wait,
            Duration::ZERO,
            Duration::from_secs(600),
        );
        // 1 KiB of the 1 MiB is left for attributes, which count.
        size_between(
            faults,
            "packing.message_bytes",
            self.message_bytes,
            ByteSize::kib(4),
            ByteSize::kib(1023),
        );
        // 400 KB are 409,600 bytes; 4 KiB are left for keys and names. As base64 that is 541 KB: fits SQS too.
        size_between(
            faults,
            "packing.store_batch_bytes",
            self.store_batch_bytes,
            ByteSize::kib(4),
            ByteSize::kib(396),
        );
        count_between(
            faults,
            "packing.batch_records",
            self.batch_records.into(),
            1,
            100_000,
        );
        size_between(
            faults,
            "packing.batch_raw_bytes",
            self.batch_raw_bytes,
            ByteSize::kib(4),
            ByteSize::mib(64),
        );
        for (field, level, hint) in [
            ("packing.zstd_level", self.zstd_level, "1 is the fastest"),
            (
                "packing.zstd_level_max",
                self.zstd_level_max,
                "15 makes small batches, packing.zstd_level turns the choice off",
            ),
        ] {
            if !(1..=19).contains(&level) {
                faults.add(
                    &[field],
                    format!("{level} is outside 1 to 19"),
                    format!("choose a level between them; {hint}"),
                );
            }
        }
    }
}
