//! `[kafka]`: the connection to the brokers.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::{duration_between, not_blank, size_between};
use super::fault::ConfigErrors;
use super::values::{ByteSize, Properties};

/// How produced batches are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip: small, slow.
    Gzip,
    /// snappy.
    Snappy,
    /// lz4: the fastest here (FACTS §3: 415k records/s, zstd 233k).
    Lz4,
    /// zstd: smaller, about half the speed.
    Zstd,
}

impl Compression {
    /// The value of librdkafka's `compression.codec`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// How delayq logs in to the brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KafkaAuth {
    /// As `kafka.properties` say; not at all without them.
    Properties,
    /// With the AWS credentials of `[aws]`, as MSK wants it: SASL/OAUTHBEARER with signed tokens, over TLS.
    AwsIam,
}

/// `[kafka]`: brokers, group, producer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaConfig {
    /// Brokers to start from, comma separated, `host:port`. Default `127.0.0.1:9092`.
    pub bootstrap_servers: String,
    /// How to log in: `properties` (as `kafka.properties` say: TLS, SCRAM, a client's certificate) or `aws-iam` (MSK, with the
    /// credentials and the region of `[aws]`, the task's role in ECS; needs a build with TLS, as the image is). Default
    /// `properties`.
    pub auth: KafkaAuth,
    /// Consumer group of the router; all its replicas share it. Default `delayq-router`.
    pub group_id: String,
    /// Name shown in the broker's logs and metrics. Default `delayq`.
    pub client_id: String,
    /// Time without heartbeat after which the broker gives a router's partitions away (6 s to 30 min).
    /// Default 45 s.
    #[serde(with = "humantime_serde")]
    pub session_timeout: Duration,
    /// Longest flush, confirm and commit when partitions are revoked. Default 10 s.
    #[serde(with = "humantime_serde")]
    pub revoke_timeout: Duration,
    /// Longest time for a produced record to be acknowledged, librdkafka's retries included. Default 120 s.
    #[serde(with = "humantime_serde")]
    pub message_timeout: Duration,
    /// How long the producer waits for more records before it sends (0 to 1 s). All of it is lateness.
    /// Default 1 ms.
    #[serde(with = "humantime_serde")]
    pub linger: Duration,
    /// `none`, `gzip`, `snappy`, `lz4` or `zstd`: every consumer must be able to read it, and kafkajs knows only gzip, kafka-python
    /// lz4 only with a package. Default `none`, which all read.
    pub compression: Compression,
    /// Bound of the producers' queues, in bytes, a third of it for each priority (librdkafka's own default is 1 GiB for one). Default 32 MiB.
    pub sink_queue: ByteSize,
    /// Largest record produced or consumed, in bytes, headers included: the delay topic's limit (1 MiB) and 64 KiB for
    /// the headers of a dead letter. Default 1,114,112.
    pub message_max: ByteSize,
    /// More librdkafka properties, for both consumer and producer (`"security.protocol" = "sasl_ssl"`). From the
    /// environment, `_` stands for `.`: `DELAYQ_KAFKA__PROPERTIES__SASL_PASSWORD`. Those that carry delayq's promises
    /// (acks, offsets, isolation …) are refused. The router asks for 64 KiB at a time and waits at most 10 ms for them
    /// (`fetch.min.bytes`, `fetch.wait.max.ms`): with 1 byte, a record whose delay is shorter than that is sooner, and each
    /// costs more. Default none.
    pub properties: Properties,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            bootstrap_servers: "127.0.0.1:9092".to_owned(),
            auth: KafkaAuth::Properties,
            group_id: "delayq-router".to_owned(),
            client_id: "delayq".to_owned(),
            session_timeout: Duration::from_secs(45),
            revoke_timeout: Duration::from_secs(10),
            message_timeout: Duration::from_secs(120),
            linger: Duration::from_millis(1),
            compression: Compression::None,
            sink_queue: ByteSize::mib(32),
            message_max: ByteSize::bytes(1_114_112),
            properties: Properties::default(),
        }
    }
}

/// Properties with a field of their own.
const HAVE_A_FIELD: [(&str, &str); 12] = [
    ("bootstrap.servers", "kafka.bootstrap_servers"),
    ("metadata.broker.list", "kafka.bootstrap_servers"),
    ("group.id", "kafka.group_id"),
    ("client.id", "kafka.client_id"),
    ("session.timeout.ms", "kafka.session_timeout"),
    ("message.timeout.ms", "kafka.message_timeout"),
    ("delivery.timeout.ms", "kafka.message_timeout"),
    ("linger.ms", "kafka.linger"),
    ("queue.buffering.max.ms", "kafka.linger"),
    ("compression.codec", "kafka.compression"),
    ("compression.type", "kafka.compression"),
    ("message.max.bytes", "kafka.message_max"),
];

/// Properties that carry a promise of delayq: with another value records could be lost, doubled or torn from
/// their siblings.
const CARRY_A_PROMISE: [&str; 13] = [
    "acks",
    "request.required.acks",
    "enable.idempotence",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "auto.commit.enable",
    "auto.offset.reset",
    "isolation.level",
    "partition.assignment.strategy",
    "partitioner",
    "transactional.id",
    "enable.gapless.guarantee",
    "group.instance.id",
];

impl KafkaConfig {
    pub(super) fn check(&self, faults: &mut ConfigErrors) {
        not_blank(faults, "kafka.bootstrap_servers", &self.bootstrap_servers);
        not_blank(faults, "kafka.group_id", &self.group_id);
        not_blank(faults, "kafka.client_id", &self.client_id);
        // The broker's group.min/max.session.timeout.ms.
        duration_between(
            faults,
            "kafka.session_timeout",
            self.session_timeout,
            Duration::from_secs(6),
            Duration::from_secs(1800),
        );
        duration_between(
            faults,
            "kafka.revoke_timeout",
            self.revoke_timeout,
            Duration::from_millis(100),
            Duration::from_secs(300),
        );
        duration_between(
            faults,
            "kafka.message_timeout",
            self.message_timeout,
            Duration::from_secs(1),
            Duration::from_secs(900),
        );
        duration_between(
            faults,
            "kafka.linger",
            self.linger,
            Duration::ZERO,
            Duration::from_secs(1),
        );
        size_between(
            faults,
            "kafka.message_max",
            self.message_max,
            ByteSize::kib(64),
            ByteSize::mib(64),
        );
        // queue.buffering.max.kbytes is a 32-bit number.
        size_between(
            faults,
            "kafka.sink_queue",
            self.sink_queue,
            ByteSize::mib(1),
            ByteSize::mib(1 << 20),
        );
        self.check_properties(faults);
    }

    fn check_properties(&self, faults: &mut ConfigErrors) {
        for (name, value) in self.properties.iter() {
            let key = format!("kafka.properties.{name}");
            if let Some((_, field)) = HAVE_A_FIELD.iter().find(|(own, _)| own == name) {
                faults.add(
                    &[&key],
                    "has a field of its own",
                    format!("set {field} instead"),
                );
            } else if CARRY_A_PROMISE.contains(&name.as_str()) {
                faults.add(
                    &[&key],
                    "is decided by delayq: another value could lose or double records",
                    "remove it",
                );
            } else if self.auth == KafkaAuth::AwsIam && name.starts_with("sasl.") {
                faults.add(
                    &[&key],
                    "is decided by kafka.auth = \"aws-iam\"",
                    "remove it, or set kafka.auth = \"properties\"",
                );
            } else if self.auth == KafkaAuth::Properties && asks_for_tokens(name, value) {
                faults.add(
                    &[&key],
                    "asks for tokens, which delayq has from AWS alone",
                    "set kafka.auth = \"aws-iam\" for MSK, or another sasl.mechanism",
                );
            }
        }
    }
}

fn asks_for_tokens(name: &str, value: &str) -> bool {
    let is_mechanism = matches!(name, "sasl.mechanism" | "sasl.mechanisms");
    is_mechanism && value.eq_ignore_ascii_case("OAUTHBEARER")
}
