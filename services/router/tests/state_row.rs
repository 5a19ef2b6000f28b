//! The state row that a router begins for a shard.

#![allow(clippy::expect_used, reason = "helpers of tests")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use delayq_core::bucket::{Bucket, ShardId};
use delayq_core::clock::{Clock, ManualClock};
use delayq_core::handover::HandoverTimes;
use delayq_core::packer::SizeLimits;
use delayq_core::ports::{Assigned, ShardState};
use delayq_core::priority::Priority;
use delayq_core::record::{Path, Record, Scheduled, Source, TopicPartition};
use delayq_delivery::payloads::{PayloadSettings, Payloads};
use delayq_delivery::queue::{QueueSender, QueueSettings, Sent};
use delayq_embedded::{
    MemoryBatchStore, MemoryDelayQueue, MemoryHealth, MemoryPayloadStore, MemoryShardState,
};
use delayq_router::long::{LongKey, LongSettings, LongWriter};
use delayq_router::partitions::{Delivered, Partitions};

const TIMES: HandoverTimes = HandoverTimes {
    bucket_ms: 300_000,
    lead_ms: 420_000,
    skip_read_ms: 900_000,
    max_skew_ms: 60_000,
};
const HOUR_MS: i64 = 3_600_000;
const STORE_NOW_MS: i64 = 1_800_000_000_000;

/// Writes one record due in two hours, by a router whose clock is `skew_ms` ahead of the store's; the watermark of the
/// row that it begins.
async fn watermark_begun_at_skew(skew_ms: i64) -> Bucket {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(STORE_NOW_MS + skew_ms));
    let shards = Arc::new(MemoryShardState::new());
    shards.set_clock_skew_ms(Some(skew_ms));
    let (retry_first, retry_max) = (Duration::from_millis(10), Duration::from_millis(100));
    let payloads = Arc::new(Payloads::new(
        Arc::new(MemoryPayloadStore::new(clock.clone())),
        clock.clone(),
        Arc::new(MemoryHealth::default()),
        PayloadSettings {
            zstd_level: 1,
            expire_after_ms: HOUR_MS,
            retry_first,
            retry_max,
            concurrency: 1,
        },
    ));
    let sender = Arc::new(QueueSender::new(
        Arc::new(MemoryDelayQueue::new(clock.clone())),
        None,
        clock.clone(),
        Arc::new(MemoryHealth::default()),
        QueueSettings {
            message_bytes: 262_144,
            memory_bytes: 4 << 20,
            zstd_level: 1,
            early_ms: 1_500,
            retry_first,
            retry_max,
            concurrency: 1,
        },
    ));
    let writer = LongWriter::new(
        LongSettings {
            times: TIMES,
            writer: "w".into(),
            expire_after_ms: HOUR_MS,
            limits: SizeLimits {
                wanted_bytes: 262_144,
                largest_bytes: 350_000,
                memory_bytes: 4 << 20,
                zstd_level: 1,
            },
            zstd_level_max: 15,
            concurrency: 1,
            retry_first,
            retry_max,
        },
        Arc::new(MemoryBatchStore::new(clock.clone())),
        shards.clone(),
        payloads,
        sender,
        clock,
        Arc::new(MemoryHealth::default()),
    );
    let at = TopicPartition::new("d", 0);
    let mut partitions = Partitions::default();
    partitions.assign(Assigned {
        partition: at.clone(),
        committed: Some(0),
        metadata: None,
    });
    let Delivered::New(ticket) = partitions.deliver(&at, 0, Some(1), 10, STORE_NOW_MS) else {
        panic!("a new record");
    };
    let due_ms = STORE_NOW_MS + 2 * HOUR_MS;
    let record = Scheduled {
        source: Source { at, offset: 0 },
        output_topic: "out".into(),
        priority: Priority::Standard,
        due_ms,
        timestamp_ms: STORE_NOW_MS,
        id: None,
        path: Path::Long,
        record: Record::default(),
        payload: None,
        limit: None,
    };
    let key = LongKey {
        bucket: Bucket::of(due_ms, TIMES.bucket_ms),
        shard: ShardId(0),
    };
    let confirmed = Mutex::new(0);
    writer
        .write(key, vec![(record, ticket)], |sent| match sent {
            Sent::Confirmed(tickets) => *confirmed.lock().expect("no panic") += tickets.len(),
            other => panic!("{other:?}"),
        })
        .await;
    assert_eq!(*confirmed.lock().expect("no panic"), 1);
    let row = shards.read(ShardId(0)).await.expect("read");
    row.expect("a row").watermark
}

/// By such a row all buckets of the next hour would be handed over already, while routers with good clocks write to
/// them and, since they are far away, do not look.
#[tokio::test(start_paused = true)]
async fn a_row_begins_at_the_stores_time_when_the_clock_is_far_ahead() {
    let now = Bucket::of(STORE_NOW_MS, TIMES.bucket_ms).previous();
    assert_eq!(watermark_begun_at_skew(0).await, now);
    assert_eq!(watermark_begun_at_skew(HOUR_MS).await, now);
    assert_eq!(watermark_begun_at_skew(-HOUR_MS).await, now);
}
