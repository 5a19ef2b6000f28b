//! Rules between fields, each argued by its worst case.

use std::time::Duration;

use humantime::format_duration;

use super::Config;
use super::fault::ConfigErrors;
use super::values::ByteSize;

/// SQS's longest `DelaySeconds` (AWS: 0 to 900).
const SQS_DELAY_MAX: Duration = Duration::from_secs(900);
/// How long a tick lives in the FIFO queue (DESIGN §5), being worked on or not.
const TICK_RETENTION: Duration = Duration::from_secs(300);
/// librdkafka's `max.poll.interval.ms` unless a property says otherwise.
const MAX_POLL_INTERVAL_MS: u64 = 300_000;

impl Config {
    /// How long before its bucket's start a record must be routed to go to the long tier: the lead, and the time in which
    /// it surely is written (it waits to be packed, then one call).
    #[must_use]
    pub fn long_room(&self) -> Duration {
        self.long.lead + self.packing.max_wait + self.aws.call_timeout
    }
}

pub(super) fn check(config: &Config, faults: &mut ConfigErrors) {
    tiers(config, faults);
    scheduler(config, faults);
    emitter(config, faults);
    kafka(config, faults);
    stops(config, faults);
    stalls(config, faults);
    memory(config, faults);
}

/// What takes its time must not pass for what stands still.
fn stalls(config: &Config, faults: &mut ConfigErrors) {
    // A direct record waits until it is due, any other for company; then comes one call.
    let in_hand = config.delays.direct.max(config.packing.max_wait) + config.aws.call_timeout;
    if config.router.stall_after < in_hand {
        faults.add(
            &[
                "router.stall_after",
                "delays.direct",
                "packing.max_wait",
                "aws.call_timeout",
            ],
            format!(
                "a record may be in hand for {} with all as it should be, and its partition would be called stalled",
                format_duration(in_hand)
            ),
            "raise stall_after or lower the others",
        );
    }
}

/// Every record that goes to SQS must be due within what SQS can delay, whichever way it goes there.
fn tiers(config: &Config, faults: &mut ConfigErrors) {
    let Config {
        delays,
        long,
        packing,
        ..
    } = config;
    if delays.direct >= delays.short {
        faults.add(
            &["delays.direct", "delays.short"],
            format!(
                "direct ({}) is not below short ({}): nothing would go to SQS",
                format_duration(delays.direct),
                format_duration(delays.short)
            ),
            "lower direct or raise short",
        );
    }
    if delays.short > SQS_DELAY_MAX {
        faults.add(
            &["delays.short"],
            format!(
                "{} is longer than SQS can delay a message (15m)",
                format_duration(delays.short)
            ),
            "lower it to 15m or less; the long tier takes what is later",
        );
    }
    // A record is routed up to long_room before its bucket; had it less, it goes to SQS, up to a bucket later than that.
    // Handed over by the scheduler it waits lead + bucket at most, which is less.
    let longest = config.long_room() + long.bucket;
    if longest > SQS_DELAY_MAX {
        faults.add(
            &[
                "long.lead",
                "long.bucket",
                "packing.max_wait",
                "aws.call_timeout",
            ],
            format!(
                "together {}, so a record with too little room for the long tier would wait longer in SQS than it can (15m)",
                format_duration(longest)
            ),
            "shorten the lead or the bucket",
        );
    }
    // A record due just after `short` lies in a bucket that starts up to one bucket earlier; were that within the lead, the
    // bucket would be closing already, and the long tier only a detour.
    if delays.short <= long.lead + long.bucket {
        faults.add(
            &["delays.short", "long.lead", "long.bucket"],
            format!(
                "a record due in {} may lie in a bucket that is being handed over already ({} before its end)",
                format_duration(delays.short),
                format_duration(long.lead + long.bucket)
            ),
            "make short longer than lead and bucket together",
        );
    }
    if packing.max_wait >= delays.short {
        faults.add(
            &["packing.max_wait", "delays.short"],
            "a record could wait to be packed until it is due",
            "make max_wait shorter than short",
        );
    }
}

/// The lease of a shard: held while its holder lives, given up before anything is late when it does not.
fn scheduler(config: &Config, faults: &mut ConfigErrors) {
    let Config {
        scheduler,
        long,
        aws,
        ..
    } = config;
    // The last extension was answered; a third of the lease later the next is sent and is answered, at worst, after a whole
    // call. The lease must still hold then. (If not the epoch still fences, but batches are sent twice.)
    let every = scheduler.lease / 3;
    if scheduler.lease <= every + aws.call_timeout {
        faults.add(
            &["scheduler.lease", "aws.call_timeout"],
            format!(
                "the lease ({}) is extended every {}, and a slow answer ({}) would let it lapse under its holder",
                format_duration(scheduler.lease),
                format_duration(every),
                format_duration(aws.call_timeout)
            ),
            "make the lease longer than one and a half times call_timeout",
        );
    }
    if scheduler.work_limit < scheduler.tick {
        faults.add(
            &["scheduler.work_limit", "scheduler.tick"],
            "the work on a tick ends before the next tick comes: under backlog the scheduler would idle in between",
            "make work_limit at least as long as tick",
        );
    }
    // A tick that is deleted by retention while it is worked on frees its shard for a second holder, so one that is too old when
    // it is received is not worked on. One must be young enough: up to two intervals old, sent by a clock that is ahead.
    let worst = scheduler.tick * 2 + long.max_skew + scheduler.work_limit + scheduler.lease;
    if worst > TICK_RETENTION {
        faults.add(
            &[
                "scheduler.work_limit",
                "scheduler.lease",
                "scheduler.tick",
                "long.max_skew",
            ],
            format!(
                "a tick could expire in its queue (5m) while it is worked on: twice tick, max_skew, work_limit and lease are {}",
                format_duration(worst)
            ),
            "make them together 5m or less",
        );
    }
    // A holder dies at once after a takeover: its lease lapses, the next tick comes, and one round of work follows.
    let takeover = scheduler.lease + scheduler.tick + scheduler.work_limit;
    if takeover >= long.lead {
        faults.add(
            &[
                "long.lead",
                "scheduler.lease",
                "scheduler.tick",
                "scheduler.work_limit",
            ],
            format!(
                "a takeover may last {} (lease, tick, work_limit), and a bucket has a lead of {}: records would be late",
                format_duration(takeover),
                format_duration(long.lead)
            ),
            "lengthen the lead or shorten the others",
        );
    }
}

fn emitter(config: &Config, faults: &mut ConfigErrors) {
    let Config { emitter, aws, .. } = config;
    // What has a third of its visibility behind it is extended at the emitter's next round, a sixth later at most. A call
    // that is then cut off at its time-out has failed; one that succeeds was answered before.
    if emitter.visibility / 2 < aws.call_timeout {
        faults.add(
            &["emitter.visibility", "aws.call_timeout"],
            format!(
                "visibility ({}) is extended when half of it is left, and a slow answer ({}) would show a held batch to another emitter",
                format_duration(emitter.visibility),
                format_duration(aws.call_timeout)
            ),
            "make visibility at least twice call_timeout",
        );
    }
    // The common batch comes `early`, is published and deleted within a call: no extension should be needed for it.
    if emitter.visibility <= emitter.early + aws.call_timeout {
        faults.add(
            &["emitter.visibility", "emitter.early", "aws.call_timeout"],
            "a batch that is received early could become visible again before it is published and deleted",
            "make visibility longer than early and call_timeout together",
        );
    }
    // DelaySeconds are whole, so a batch comes up to a second before `early`, and its records lie within one second more. A
    // shorter hold would put every batch back for ever.
    if emitter.hold_max < emitter.early + Duration::from_secs(2) {
        faults.add(
            &["emitter.hold_max", "emitter.early"],
            "batches that arrive on time would be put back",
            "make hold_max at least 2s longer than early",
        );
    }
    // A held batch is in flight for its hold and then for the produce; SQS hides no message longer than 12 h in all.
    let produce = config
        .kafka
        .message_timeout
        .saturating_mul(config.publish.attempts)
        .saturating_add(
            config
                .publish
                .retry_max
                .saturating_mul(config.publish.attempts),
        );
    if emitter.hold_max.saturating_add(produce) >= Duration::from_secs(12 * 3600) {
        faults.add(
            &[
                "emitter.hold_max",
                "kafka.message_timeout",
                "publish.attempts",
                "publish.retry_max",
            ],
            "a held batch could outlive the 12 h that SQS hides a message, and be published twice",
            "shorten hold_max, or the tries to produce",
        );
    }
}

fn kafka(config: &Config, faults: &mut ConfigErrors) {
    let kafka = &config.kafka;
    if kafka.revoke_timeout >= kafka.session_timeout {
        faults.add(
            &["kafka.revoke_timeout", "kafka.session_timeout"],
            "the broker could give partitions away before their flush is over: duplicates in a rebalance",
            "make revoke_timeout shorter than session_timeout",
        );
    }
    // While a revoke is flushed nothing is polled.
    let poll_key = "kafka.properties.max.poll.interval.ms";
    let poll_ms = kafka
        .properties
        .get("max.poll.interval.ms")
        .map_or(Ok(MAX_POLL_INTERVAL_MS), |text| text.parse::<u64>());
    match poll_ms {
        Err(_) => faults.add(&[poll_key], "is not a number", "give milliseconds"),
        Ok(poll_ms) if kafka.revoke_timeout >= Duration::from_millis(poll_ms) => faults.add(
            &["kafka.revoke_timeout", poll_key],
            "a revoke may last longer than the consumer may go without a poll",
            "make revoke_timeout shorter",
        ),
        // librdkafka refuses to start otherwise.
        Ok(poll_ms) if kafka.session_timeout > Duration::from_millis(poll_ms) => faults.add(
            &["kafka.session_timeout", poll_key],
            "session_timeout is longer than the consumer may go without a poll",
            "make session_timeout shorter",
        ),
        Ok(_) => {}
    }
    if kafka.linger >= kafka.message_timeout {
        faults.add(
            &["kafka.linger", "kafka.message_timeout"],
            "a record would expire before it is sent",
            "make linger shorter than message_timeout",
        );
    }
}

/// Each service must be done before it is killed, whatever it holds at SIGTERM.
fn stops(config: &Config, faults: &mut ConfigErrors) {
    let Config {
        router,
        scheduler,
        emitter,
        aws,
        kafka,
        ..
    } = config;
    // Flush what is packed (one call), then revoke: confirm, commit, leave.
    let router_stop = aws.call_timeout + kafka.revoke_timeout;
    if router.stop_timeout < router_stop {
        faults.add(
            &[
                "router.stop_timeout",
                "aws.call_timeout",
                "kafka.revoke_timeout",
            ],
            format!(
                "a clean stop may need {} (a flush, then a revoke)",
                format_duration(router_stop)
            ),
            "raise stop_timeout or lower the others",
        );
    }
    if scheduler.stop_timeout < aws.call_timeout {
        faults.add(
            &["scheduler.stop_timeout", "aws.call_timeout"],
            "the call in hand could outlast the stop",
            "make stop_timeout at least as long as call_timeout",
        );
    }
    // Publish what is due soon, then put the rest back: send it anew, delete the old.
    let emitter_stop = emitter.stop_publish_within + aws.call_timeout * 2;
    if emitter.stop_timeout < emitter_stop {
        faults.add(
            &[
                "emitter.stop_timeout",
                "emitter.stop_publish_within",
                "aws.call_timeout",
            ],
            format!(
                "a clean stop may need {} (publish what is due soon, then two calls to put the rest back)",
                format_duration(emitter_stop)
            ),
            "raise stop_timeout or lower the others",
        );
    }
}

/// A budget that cannot hold the largest single thing stands still for ever when that thing comes.
fn memory(config: &Config, faults: &mut ConfigErrors) {
    let Config {
        kafka,
        packing,
        router,
        emitter,
        ..
    } = config;
    // A batch unpacked, and one record too large for a batch (Kafka's 1 MiB) beside it.
    let largest = ByteSize::bytes(
        packing
            .batch_raw_bytes
            .as_u64()
            .saturating_add(kafka.message_max.as_u64()),
    );
    if router.memory < largest {
        faults.add(
            &[
                "router.memory",
                "packing.batch_raw_bytes",
                "kafka.message_max",
            ],
            format!(
                "{} cannot hold one batch and one largest record ({largest})",
                router.memory
            ),
            "raise the budget or lower the others",
        );
    }
    if emitter.reserve() < largest {
        faults.add(
            &[
                "emitter.memory",
                "emitter.reserve_percent",
                "packing.batch_raw_bytes",
                "kafka.message_max",
            ],
            format!(
                "the share reserved for a priority ({}) cannot hold one batch and one largest record ({largest})",
                emitter.reserve()
            ),
            "raise memory or reserve_percent, or lower the others",
        );
    }
    if kafka.sink_queue < kafka.message_max {
        faults.add(
            &["kafka.sink_queue", "kafka.message_max"],
            format!(
                "the producer's queue ({}) cannot hold one largest record ({})",
                kafka.sink_queue, kafka.message_max
            ),
            "raise sink_queue",
        );
    }
    if packing.batch_raw_bytes < packing.message_bytes {
        faults.add(
            &["packing.batch_raw_bytes", "packing.message_bytes"],
            "a batch could never fill a message",
            "raise batch_raw_bytes or lower message_bytes",
        );
    }
}
