//! Rules within the other sections.

use super::*;

#[test]
fn header_names_are_distinct_and_not_delayqs_own() {
    one_fault(
        &["headers.deliver_at", "headers.delay_ms"],
        "both are",
        |config| {
            config.headers.deliver_at = "delay-ms".to_owned();
        },
    );
    one_fault(&["headers.id"], "delayed-", |config| {
        config.headers.id = "delayed-id".to_owned();
    });
    one_fault(&["headers.id"], "is empty", |config| {
        config.headers.id = " ".to_owned();
    });
}

#[test]
fn properties_that_carry_a_promise_are_refused() {
    let set = |name: &str| {
        let properties = [(name.to_owned(), "1".to_owned())];
        move |config: &mut Config| {
            config.kafka.properties = std::collections::BTreeMap::from(properties).into();
        }
    };
    one_fault(&["kafka.properties.acks"], "decided by delayq", set("acks"));
    one_fault(
        &["kafka.properties.group.id"],
        "field of its own",
        set("group.id"),
    );
    a_fault(
        &[
            "kafka.revoke_timeout",
            "kafka.properties.max.poll.interval.ms",
        ],
        "without a poll",
        set("max.poll.interval.ms"),
    );
}

#[test]
fn aws_keys_come_in_pairs_and_endpoints_are_urls() {
    one_fault(&["aws.secret_access_key"], "missing", |config| {
        config.aws.access_key_id = Some("a".to_owned());
    });
    one_fault(&["aws.access_key_id"], "missing", |config| {
        config.aws.secret_access_key = Some(Secret::new("a"));
    });
    one_fault(&["aws.sqs_endpoint"], "http", |config| {
        config.aws.sqs_endpoint = Some("127.0.0.1:9324".to_owned());
    });
    one_fault(&["aws.sqs_endpoint"], "password", |config| {
        config.aws.sqs_endpoint = Some("http://a:b@host".to_owned());
    });
    one_fault(&["aws.prefix"], "name of a queue", |config| {
        config.aws.prefix = "delay.q".to_owned();
    });
    one_fault(
        &["aws.connect_timeout", "aws.call_timeout"],
        "whole call",
        |config| {
            config.aws.connect_timeout = config.aws.call_timeout;
        },
    );
}

#[test]
fn the_listen_address_parses() {
    for listen in [
        "8080",
        "localhost",
        "http://localhost:1",
        ":80",
        "a:99999",
        "::1:80",
    ] {
        one_fault(&["http.listen"], "address and port", |config| {
            config.http.listen = listen.to_owned();
        });
    }
    for listen in ["0.0.0.0:80", "localhost:0", "[::1]:8080"] {
        assert_eq!(broken(|config| config.http.listen = listen.to_owned()), []);
    }
}

#[test]
fn the_level_parses() {
    one_fault(&["log.level"], "not a level", |config| {
        config.log.level = "delayq=loud".to_owned();
    });
    assert_eq!(
        broken(|config| config.log.level = "info,delayq_router=debug".to_owned()),
        []
    );
}

#[test]
fn ranges_have_two_ends() {
    for shards in [0, 1025] {
        one_fault(&["long.shards"], "1 to 1024", |config| {
            config.long.shards = shards
        });
    }
    one_fault(&["delays.max"], "outside", |config| {
        config.delays.max = s(0)
    });
    one_fault(
        &["packing.message_bytes"],
        "outside 4KiB to 1023KiB",
        |config| {
            config.packing.message_bytes = ByteSize::mib(1);
        },
    );
    one_fault(&["packing.store_batch_bytes"], "396KiB", |config| {
        config.packing.store_batch_bytes = ByteSize::kib(400);
    });
    one_fault(&["packing.zstd_level"], "1 to 19", |config| {
        config.packing.zstd_level = 0;
    });
    one_fault(&["packing.zstd_level_max"], "1 to 19", |config| {
        config.packing.zstd_level_max = 20;
    });
    one_fault(&["router.metadata_max_bytes"], "4KiB", |config| {
        config.router.metadata_max_bytes = ByteSize::bytes(4097);
    });
    one_fault(&["long.expire_after"], "15days", |config| {
        config.long.expire_after = s(14 * 24 * 3600);
    });
    one_fault(&["scheduler.lease"], "whole seconds", |config| {
        config.scheduler.lease = Duration::from_millis(60_500);
    });
    one_fault(
        &["router.retry_first", "router.retry_max"],
        "longer",
        |config| {
            config.router.retry_first = s(11);
        },
    );
}

#[test]
fn every_stop_ends_before_fargate_kills() {
    a_fault(&["router.stop_timeout"], "Fargate", |config| {
        config.router.stop_timeout = s(115);
    });
    a_fault(&["scheduler.stop_timeout"], "Fargate", |config| {
        config.scheduler.stop_timeout = s(115);
    });
    a_fault(&["emitter.stop_timeout"], "Fargate", |config| {
        config.emitter.stop_timeout = s(115);
    });
}

#[test]
fn canaries_take_each_path_and_are_told_from_those_of_others() {
    let delays = minimal().canary_delays();
    assert_eq!(delays.direct, Duration::from_secs(1));
    assert_eq!(delays.short, Some(Duration::from_secs(62)));
    assert_eq!(delays.long, Some(Duration::from_secs(16 * 60)));
    let mut config = minimal();
    config.delays.max = Duration::from_secs(600);
    assert_eq!(
        config.canary_delays().long,
        None,
        "no record may wait so long"
    );
    one_fault(
        &["canary.overdue_after", "kafka.session_timeout"],
        "a router that dies",
        |config| config.canary.overdue_after = Duration::from_secs(45),
    );
    one_fault(&["canary.interval"], "outside", |config| {
        config.canary.interval = Duration::ZERO;
    });
    let keys = ["canary.topic", "topics.delay", "topics.dead_letter"];
    one_fault(&keys, "is a delay topic", |config| {
        config.canary.topic = "delayq.delay".to_owned();
    });
    one_fault(&["canary.topic"], "not a topic name", |config| {
        config.canary.topic = "a b".to_owned();
    });
    let mut off = minimal();
    off.canary.enabled = false;
    off.canary.topic = "a b".to_owned();
    off.validate().unwrap();
}

#[test]
fn a_record_that_waits_for_company_is_no_stall() {
    let keys = [
        "router.stall_after",
        "delays.direct",
        "packing.max_wait",
        "aws.call_timeout",
    ];
    one_fault(&keys, "in hand for 1m 30s", |config| {
        config.router.stall_after = Duration::from_secs(89);
    });
    one_fault(&["emitter.stall_after"], "outside", |config| {
        config.emitter.stall_after = Duration::ZERO;
    });
}
