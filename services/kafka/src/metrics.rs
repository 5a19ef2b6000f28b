//! Names of this crate's metrics, with unit and help.

use metrics::Unit;

/// A metric: name, kind, unit and help.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Name.
    pub name: &'static str,
    /// Unit.
    pub unit: Unit,
    /// Help text; labels are named here.
    pub help: &'static str,
}

const fn count(name: &'static str, help: &'static str) -> Metric {
    Metric {
        name,
        unit: Unit::Count,
        help,
    }
}

/// Records taken from the delay topics.
pub const RECEIVED: Metric = count(
    "delayq_kafka_received_records_total",
    "Records taken from the delay topics",
);
/// Key, value and header bytes of those records.
pub const RECEIVED_BYTES: Metric = Metric {
    name: "delayq_kafka_received_bytes_total",
    unit: Unit::Bytes,
    help: "Key, value and header bytes taken from the delay topics",
};
/// Records of a delay topic that are not yet taken, by `topic`.
pub const LAG: Metric = count(
    "delayq_kafka_lag_records",
    "Records of this process's partitions that it has not taken yet, by topic",
);
/// Records that cannot be represented faithfully.
pub const MALFORMED: Metric = count(
    "delayq_kafka_malformed_records_total",
    "Records with a header name that is not UTF-8",
);
/// Partitions gained or given up, by `kind`.
pub const REBALANCED: Metric = count(
    "delayq_kafka_rebalanced_partitions_total",
    "Partitions by kind: assigned, revoked, lost",
);
/// Revocations that the router did not answer in time.
pub const REVOKE_TIMEOUTS: Metric = count(
    "delayq_kafka_revoke_timeouts_total",
    "Revocations whose last commits did not come in time: their open records will be delivered again",
);
/// Commits, by `outcome`.
pub const COMMITS: Metric = count(
    "delayq_kafka_commits_total",
    "Offset commits of one partition by outcome: ok, failed, fenced (no longer assigned)",
);
/// Commit metadata that could not be had when a partition was assigned.
pub const METADATA_UNKNOWN: Metric = count(
    "delayq_kafka_commit_metadata_unknown_total",
    "Partitions taken over without their commit metadata: records finished beyond the head may be delivered again",
);
/// Times the whole consumer was paused because its reader fell behind.
pub const BACKPRESSURE: Metric = count(
    "delayq_kafka_backpressure_pauses_total",
    "Times all partitions were paused because the router took no events",
);
/// Errors reported by librdkafka, by `client` and `code`.
pub const CLIENT_ERRORS: Metric = count(
    "delayq_kafka_client_errors_total",
    "Errors reported by librdkafka by client (consumer, producer) and code",
);
/// Records acknowledged by the brokers.
pub const PUBLISHED: Metric = count(
    "delayq_kafka_published_records_total",
    "Records acknowledged by all in-sync replicas",
);
/// Records not acknowledged, by `class`.
pub const PUBLISH_FAILED: Metric = count(
    "delayq_kafka_publish_failures_total",
    "Records the sink gave up on by class: invalid, transient",
);
/// Refused hand-overs.
pub const SINK_FULL: Metric = count(
    "delayq_kafka_sink_full_total",
    "Records given back because the producer's queue was full",
);
/// Producers and consumers rebuilt after a fatal error, by `client`.
pub const REBUILT: Metric = count(
    "delayq_kafka_client_rebuilds_total",
    "Clients rebuilt after a fatal error by client: consumer, producer",
);

/// Clients that had no broker left to ask, by `client`.
pub const BROKERS_LOST: Metric = count(
    "delayq_kafka_brokers_lost_total",
    "Times the cluster named no broker and kafka.bootstrap_servers were asked again, by client: consumer, producer",
);

/// All metrics of this crate.
pub const ALL: [Metric; 14] = [
    RECEIVED,
    RECEIVED_BYTES,
    MALFORMED,
    REBALANCED,
    REVOKE_TIMEOUTS,
    COMMITS,
    METADATA_UNKNOWN,
    BACKPRESSURE,
    CLIENT_ERRORS,
    PUBLISHED,
    PUBLISH_FAILED,
    SINK_FULL,
    REBUILT,
    BROKERS_LOST,
];

/// Tells the installed recorder units and help texts. All metrics of this crate but the lag are counters.
pub fn describe() {
    for metric in ALL {
        metrics::describe_counter!(metric.name, metric.unit, metric.help);
    }
    metrics::describe_gauge!(LAG.name, LAG.unit, LAG.help);
}
