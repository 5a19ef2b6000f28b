//! Rules between fields, one test each.

use super::*;

#[test]
fn direct_is_below_short() {
    one_fault(
        &["delays.direct", "delays.short"],
        "nothing would go",
        |config| {
            config.delays.direct = config.delays.short;
            config.router.stall_after = s(1_800);
        },
    );
}

#[test]
fn short_is_what_sqs_can_delay() {
    one_fault(&["delays.short"], "15m", |config| {
        config.delays.short = s(901)
    });
}

#[test]
fn nothing_waits_longer_in_sqs_than_it_can() {
    let keys = [
        "long.lead",
        "long.bucket",
        "packing.max_wait",
        "aws.call_timeout",
    ];
    // 420 + 300 + 60 + 30 = 810: 90 s to spare, and one second more is a fault.
    assert_eq!(broken(|config| config.long.lead = s(510)), []);
    one_fault(&keys, "15m 1s", |config| {
        config.long.lead = s(511);
    });
}

#[test]
fn a_record_goes_long_only_with_room_before_the_lead() {
    one_fault(
        &["delays.short", "long.lead", "long.bucket"],
        "handed over already",
        |config| config.delays.short = s(720),
    );
    assert_eq!(broken(|config| config.delays.short = s(721)), []);
}

#[test]
fn packing_ends_before_the_due_time() {
    a_fault(
        &["packing.max_wait", "delays.short"],
        "until it is due",
        |config| {
            config.packing.max_wait = s(60);
            config.delays.short = s(60);
        },
    );
}

#[test]
fn skipping_the_state_read_allows_for_two_clocks() {
    one_fault(
        &["long.skip_state_read", "long.max_skew"],
        "2m 2s apart",
        |config| config.long.skip_state_read = s(121),
    );
    assert_eq!(broken(|config| config.long.skip_state_read = s(122)), []);
}

#[test]
fn the_lease_survives_one_slow_heartbeat() {
    one_fault(
        &["scheduler.lease", "aws.call_timeout"],
        "lapse",
        |config| {
            config.scheduler.lease = s(45);
        },
    );
    assert_eq!(broken(|config| config.scheduler.lease = s(46)), []);
}

#[test]
fn the_work_fills_the_time_between_ticks() {
    one_fault(
        &["scheduler.work_limit", "scheduler.tick"],
        "idle",
        |config| {
            config.scheduler.work_limit = s(29);
        },
    );
}

#[test]
fn a_tick_does_not_expire_under_its_holder() {
    let keys = [
        "scheduler.work_limit",
        "scheduler.lease",
        "scheduler.tick",
        "long.max_skew",
    ];
    one_fault(&keys, "expire", |config| {
        config.scheduler.work_limit = s(121)
    });
    assert_eq!(broken(|config| config.scheduler.work_limit = s(120)), []);
}

#[test]
fn a_takeover_fits_into_the_lead() {
    let keys = [
        "long.lead",
        "scheduler.lease",
        "scheduler.tick",
        "scheduler.work_limit",
    ];
    one_fault(&keys, "2m 30s", |config| config.long.lead = s(150));
    assert_eq!(broken(|config| config.long.lead = s(151)), []);
}

#[test]
fn visibility_survives_one_slow_heartbeat() {
    one_fault(
        &["emitter.visibility", "aws.call_timeout"],
        "another emitter",
        |config| {
            config.emitter.visibility = s(59);
        },
    );
    assert_eq!(broken(|config| config.emitter.visibility = s(60)), []);
}

#[test]
fn a_common_batch_needs_no_heartbeat() {
    one_fault(
        &["emitter.visibility", "emitter.early", "aws.call_timeout"],
        "received early",
        |config| {
            config.emitter.early = s(30);
            config.emitter.hold_max = s(40);
        },
    );
}

#[test]
fn batches_on_time_are_held() {
    one_fault(
        &["emitter.hold_max", "emitter.early"],
        "put back",
        |config| {
            config.emitter.hold_max = s(3);
        },
    );
}

#[test]
fn no_batch_outlives_what_sqs_hides() {
    let keys = [
        "emitter.hold_max",
        "kafka.message_timeout",
        "publish.attempts",
        "publish.retry_max",
    ];
    one_fault(&keys, "12 h", |config| {
        config.emitter.hold_max = s(12 * 3600)
    });
    one_fault(&keys, "12 h", |config| {
        config.publish.attempts = 100;
        config.kafka.message_timeout = s(900);
    });
}

#[test]
fn a_revoke_fits_into_the_session() {
    one_fault(
        &["kafka.revoke_timeout", "kafka.session_timeout"],
        "give partitions away",
        |config| config.kafka.revoke_timeout = s(45),
    );
}

#[test]
fn polls_are_more_frequent_than_revoke_and_session_need() {
    let poll = "kafka.properties.max.poll.interval.ms";
    one_fault(
        &["kafka.session_timeout", poll],
        "without a poll",
        |config| {
            config.kafka.session_timeout = s(301);
            config.canary.overdue_after = s(600);
        },
    );
    one_fault(&[poll], "not a number", |config| {
        config.kafka.properties = std::collections::BTreeMap::from([(
            "max.poll.interval.ms".to_owned(),
            "5m".to_owned(),
        )])
        .into();
    });
}

#[test]
fn a_record_lingers_less_than_it_lives() {
    one_fault(
        &["kafka.linger", "kafka.message_timeout"],
        "expire",
        |config| {
            config.kafka.linger = s(1);
            config.kafka.message_timeout = s(1);
        },
    );
}

#[test]
fn each_stop_has_time_for_its_calls() {
    one_fault(
        &[
            "router.stop_timeout",
            "aws.call_timeout",
            "kafka.revoke_timeout",
        ],
        "40s",
        |config| config.router.stop_timeout = s(39),
    );
    one_fault(
        &["scheduler.stop_timeout", "aws.call_timeout"],
        "outlast",
        |config| {
            config.scheduler.stop_timeout = s(29);
        },
    );
    one_fault(
        &[
            "emitter.stop_timeout",
            "emitter.stop_publish_within",
            "aws.call_timeout",
        ],
        "1m 3s",
        |config| config.emitter.stop_timeout = s(62),
    );
}

#[test]
fn budgets_hold_the_largest_single_thing() {
    one_fault(
        &[
            "router.memory",
            "packing.batch_raw_bytes",
            "kafka.message_max",
        ],
        "cannot hold",
        |config| config.router.memory = ByteSize::mib(2),
    );
    one_fault(
        &[
            "emitter.memory",
            "emitter.reserve_percent",
            "packing.batch_raw_bytes",
            "kafka.message_max",
        ],
        "reserved for a priority",
        |config| config.emitter.reserve_percent = 2,
    );
    one_fault(
        &["kafka.sink_queue", "kafka.message_max"],
        "largest record",
        |config| {
            config.kafka.sink_queue = ByteSize::mib(1);
        },
    );
    one_fault(
        &["packing.batch_raw_bytes", "packing.message_bytes"],
        "never fill",
        |config| config.packing.batch_raw_bytes = ByteSize::kib(128),
    );
}
