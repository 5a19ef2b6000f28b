//! What the router counts.

use std::sync::Arc;

use delayq_core::record::Path;

/// Counter: records delivered by Kafka. Label: topic.
pub const ACCEPTED: &str = "delayq_router_records_total";
/// Counter: where they went. Label: path (`direct`, `short`, `long`, `refused`, `restored`).
pub const ROUTED: &str = "delayq_router_routed_total";
/// Gauge, bytes: memory of the records held.
pub const HELD_BYTES: &str = "delayq_router_held_bytes";
/// Gauge: 1 while intake is paused for memory.
pub const PAUSED: &str = "delayq_router_paused";
/// Gauge, bytes: memory of the records at which a group is packed, chosen so that they fill a message or a batch. Label: path.
pub const GROUP_BYTES: &str = "delayq_router_group_bytes";
/// Gauge: buckets of the long tier that fill batches in every shard and so are spread over them; the records of others share one shard.
pub const WIDE_BUCKETS: &str = "delayq_router_wide_buckets";
/// Counter: commits by outcome. Label: outcome.
pub const COMMITS: &str = "delayq_router_commits_total";
/// Counter: batches written to the long tier.
pub const STORED: &str = "delayq_router_batches_stored_total";
/// Gauge: zstd level of the last batch of the long tier.
pub const LONG_ZSTD_LEVEL: &str = "delayq_router_long_zstd_level";
/// Counter: records sent to the queues as well because their bucket was closing: each may become a duplicate.
pub const SENT_TOO: &str = "delayq_router_closing_bucket_records_total";
/// Counter: reads of a shard's state after a write. Label: outcome (`read`, `skipped`).
pub const STATE_READS: &str = "delayq_router_state_reads_total";
/// Counter: records of partitions that were lost or took too long to give up: another router repeats them.
pub const DISCARDED: &str = "delayq_router_discarded_total";
/// Counter: maps of finished records, read with an offset, that were foreign, damaged or another offset's: what they told is
/// repeated. Label: fault (`foreign`, `damaged`, `other-offset`).
pub const MAPS_IGNORED: &str = "delayq_router_commit_maps_ignored_total";
/// Gauge, milliseconds: how long the oldest unfinished record of an assigned partition has been in hand; 0 when there is
/// none, and once the partition is another router's. Labels: topic, partition.
pub const HEAD_OF_LINE_MS: &str = "delayq_router_head_of_line_ms";

/// Records taken in at once: counted first and told together.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    by_topic: Vec<(Arc<str>, u64)>,
    by_path: [u64; 3],
    pub(crate) restored: u64,
}

impl Taken {
    pub(crate) fn accepted(&mut self, topic: &Arc<str>) {
        match self.by_topic.iter_mut().find(|(known, _)| known == topic) {
            Some((_, records)) => *records += 1,
            None => self.by_topic.push((topic.clone(), 1)),
        }
    }

    pub(crate) fn routed(&mut self, path: Path) {
        if let Some(records) = self.by_path.get_mut(path.index()) {
            *records += 1;
        }
    }

    pub(crate) fn tell(self) {
        for (topic, records) in self.by_topic {
            ::metrics::counter!(ACCEPTED, "topic" => topic.to_string()).increment(records);
        }
        let paths = Path::ALL.map(Path::as_str).into_iter().zip(self.by_path);
        for (path, records) in paths.chain([("restored", self.restored)]) {
            if records > 0 {
                ::metrics::counter!(ROUTED, "path" => path).increment(records);
            }
        }
    }
}

/// Describes the metrics for the exporter.
pub fn describe() {
    use ::metrics::{describe_counter, describe_gauge};
    describe_counter!(ACCEPTED, "Records delivered by Kafka");
    describe_counter!(ROUTED, "Records by path");
    describe_gauge!(
        HELD_BYTES,
        ::metrics::Unit::Bytes,
        "Memory of the records held"
    );
    describe_gauge!(PAUSED, "1 while intake is paused for memory");
    describe_gauge!(
        GROUP_BYTES,
        ::metrics::Unit::Bytes,
        "Memory of the records at which a group is packed"
    );
    describe_gauge!(
        WIDE_BUCKETS,
        "Buckets of the long tier spread over all shards"
    );
    describe_counter!(COMMITS, "Offset commits by outcome");
    describe_counter!(STORED, "Batches written to the long tier");
    describe_gauge!(
        LONG_ZSTD_LEVEL,
        "zstd level of the last batch of the long tier"
    );
    describe_counter!(
        SENT_TOO,
        "Records sent to the queues as well because their bucket was closing"
    );
    describe_counter!(
        STATE_READS,
        "Reads of a shard's state after a write, and those skipped"
    );
    describe_counter!(
        DISCARDED,
        "Records of partitions lost or given up unfinished"
    );
    describe_counter!(
        MAPS_IGNORED,
        "Maps of finished records, read with a committed offset, that were unusable"
    );
    describe_gauge!(
        HEAD_OF_LINE_MS,
        ::metrics::Unit::Milliseconds,
        "How long the oldest unfinished record of an assigned partition has been in hand"
    );
}

/// A counter that alarms are about is there before its first event: the first is an increase, too.
pub(crate) fn start_at_zero() {
    ::metrics::counter!(DISCARDED).increment(0);
    for fault in ["foreign", "damaged", "other-offset"] {
        ::metrics::counter!(MAPS_IGNORED, "fault" => fault).increment(0);
    }
}
