//! Which shards are said to be behind, and from when on.

#![allow(clippy::expect_used, reason = "helpers of tests")]

use std::sync::Arc;
use std::time::Duration;

use delayq_core::bucket::{Bucket, ShardId};
use delayq_core::clock::ManualClock;
use delayq_core::handover::{HandoverTimes, ShardRow};
use delayq_core::ports::ShardState;
use delayq_embedded::{MemoryHealth, MemoryShardState};
use delayq_scheduler::watch::ShardWatch;
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio_util::sync::CancellationToken;

const TIMES: HandoverTimes = HandoverTimes {
    bucket_ms: 300_000,
    lead_ms: 420_000,
    skip_read_ms: 900_000,
    max_skew_ms: 60_000,
};
/// The next bucket to hand over, and when its lead begins.
const NEXT: Bucket = Bucket(6_000_000);
const LEAD_BEGINS_MS: i64 = NEXT.0 * 300_000 - 420_000;
/// Three quarters of the lead.
const TOO_LATE_MS: i64 = 315_000;

fn row(shard: u32, epoch: u64) -> ShardRow {
    ShardRow {
        watermark: NEXT.previous(),
        closing: NEXT.previous(),
        epoch,
        ..ShardRow::initial(ShardId(shard), 0, TIMES.bucket_ms)
    }
}

fn watch(now_ms: i64) -> (ShardWatch, Arc<ManualClock>, Arc<MemoryHealth>) {
    let (clock, health) = (
        Arc::new(ManualClock::at(now_ms)),
        Arc::new(MemoryHealth::default()),
    );
    let watch = ShardWatch::new(TIMES, clock.clone(), health.clone());
    (watch, clock, health)
}

#[test]
fn a_shard_that_has_used_up_three_quarters_of_its_lead_is_named() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    let _here = metrics::set_default_local_recorder(&recorder);
    let (watch, clock, health) = watch(LEAD_BEGINS_MS + TOO_LATE_MS);
    watch.look(&[row(3, 5)], None);
    assert_eq!(health.ready("shard 3"), Some(true));
    let shown = metrics.render();
    for line in [
        "delayq_scheduler_behind_ms{shard=\"3\"} 315000",
        "delayq_scheduler_watermark_age_ms{shard=\"3\"} -105000",
        "delayq_scheduler_epoch{shard=\"3\"} 5",
    ] {
        assert!(shown.lines().any(|one| one == line), "{line} in {shown}");
    }
    clock.advance(1);
    watch.look(&[row(3, 5)], None);
    assert_eq!(health.ready("shard 3"), Some(false));
    clock.advance(-TOO_LATE_MS - 2);
    watch.look(&[row(3, 5)], None);
    assert_eq!(health.ready("shard 3"), Some(true), "ahead of its lead");
    let behind = "delayq_scheduler_behind_ms{shard=\"3\"} 0";
    assert!(metrics.render().contains(behind), "never below zero");
}

#[test]
fn a_row_just_made_is_as_far_behind_as_it_is_old() {
    // Its watermark is an hour old.
    let made_ms = LEAD_BEGINS_MS + 3_600_000;
    for (epoch, expected) in [(0, true), (1, true), (2, false)] {
        let (watch, clock, health) = watch(made_ms);
        watch.look(&[row(0, epoch)], None);
        assert_eq!(health.ready("shard 0"), Some(expected), "epoch {epoch}");
        clock.advance(TOO_LATE_MS);
        watch.look(&[row(0, epoch)], None);
        assert_eq!(health.ready("shard 0"), Some(expected), "epoch {epoch}");
        clock.advance(1);
        watch.look(&[row(0, epoch)], None);
        assert_eq!(health.ready("shard 0"), Some(false), "epoch {epoch}");
    }
}

#[test]
fn a_row_that_is_gone_is_nobodys_concern() {
    let (watch, _, health) = watch(LEAD_BEGINS_MS + 1_000_000);
    watch.look(&[row(0, 5), row(1, 5)], None);
    assert_eq!(health.ready("shard 0"), Some(false));
    assert_eq!(health.ready("shard 1"), Some(false));
    watch.look(&[row(1, 5)], None);
    assert_eq!(health.ready("shard 0"), None);
    assert_eq!(health.ready("shard 1"), Some(false));
}

#[tokio::test(start_paused = true)]
async fn rows_are_read_one_by_one_as_often_as_told() {
    let shards = MemoryShardState::new();
    for shard in [0, 2, 7] {
        let made = shards.create_if_absent(row(shard, 0)).await;
        made.expect("a row");
    }
    let (watch, clock, health) = watch(LEAD_BEGINS_MS);
    let stop = CancellationToken::new();
    let every = Duration::from_secs(10);
    let looking = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(health.ready("shard states"), Some(true));
        let seen = ["shard 0", "shard 1", "shard 2", "shard 7"].map(|name| health.ready(name));
        assert_eq!(seen, [Some(true), None, Some(true), None], "the first four");
        clock.advance(1_000_000);
        tokio::time::sleep(Duration::from_secs(8)).await;
        assert_eq!(health.ready("shard 0"), Some(true), "not looked at yet");
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(health.ready("shard 0"), Some(false));
        stop.cancel();
    };
    tokio::join!(watch.run(&shards, 4, every, stop.clone()), looking);
}
