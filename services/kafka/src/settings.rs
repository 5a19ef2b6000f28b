//! Settings of the Kafka clients, their faults, and the librdkafka configuration made of them.
//!
//! Names and meanings of the properties: <https://github.com/confluentinc/librdkafka/blob/v2.12.1/CONFIGURATION.md>.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use crate::login::Tokens;

/// Largest record of a delay topic by default (Kafka's own default, rounded to 1 MiB) plus 64 KiB for the headers
/// that delayq adds.
pub const MESSAGE_MAX_BYTES_DEFAULT: u32 = 1_114_112;

/// How soon a client that lost its brokers is noticed, and how often the lag is told, ms.
const STATISTICS_EVERY_MS: &str = "15000";

/// What delayq's promises rest on; `properties` must not change them.
const RESERVED: [&str; 21] = [
    "acks",
    "allow.auto.create.topics",
    "auto.offset.reset",
    "bootstrap.servers",
    "client.id",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "isolation.level",
    "message.max.bytes",
    "metadata.broker.list",
    "partition.assignment.strategy",
    "partitioner",
    "request.required.acks",
    "session.timeout.ms",
    "transactional.id",
];

/// The cluster, and how to reach it. Used by source, sink and admin alike.
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaSettings {
    /// `host:port`, comma separated.
    pub bootstrap_servers: String,
    /// Name shown in the brokers' logs and quotas.
    pub client_id: String,
    /// Further librdkafka properties (`security.protocol`, `sasl.mechanisms`, …), given to consumer and producer.
    /// They win over delayq's tuning, but properties that the promises rest on are refused.
    pub properties: BTreeMap<String, String>,
    /// Logs in with these tokens (SASL/OAUTHBEARER over TLS), whose maker keeps them fresh. Needs the feature `tls`.
    pub tokens: Option<Tokens>,
}

impl Default for KafkaSettings {
    fn default() -> Self {
        Self {
            bootstrap_servers: "localhost:9092".to_owned(),
            client_id: "delayq".to_owned(),
            properties: BTreeMap::new(),
            tokens: None,
        }
    }
}

impl fmt::Debug for KafkaSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let properties: BTreeMap<_, _> = self
            .properties
            .iter()
            .map(|(name, value)| {
                let shown = if is_secret(name) { "(hidden)" } else { value };
                (name, shown)
            })
            .collect();
        f.debug_struct("KafkaSettings")
            .field("bootstrap_servers", &self.bootstrap_servers)
            .field("client_id", &self.client_id)
            .field("properties", &properties)
            .field("tokens", &self.tokens)
            .finish()
    }
}

/// Whether a property's value must not be shown.
#[must_use]
pub fn is_secret(property: &str) -> bool {
    ["password", "secret", "pem", "jaas", "oauthbearer.config"]
        .iter()
        .any(|part| property.contains(part))
        || property == "sasl.username"
}

/// The consumer of the delay topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSettings {
    /// Consumer group.
    pub group_id: String,
    /// Delay topics, by name (no patterns).
    pub topics: Vec<String>,
    /// Static membership: a stable name per replica keeps partitions through a restart shorter than the session.
    pub instance_id: Option<String>,
    /// How long the group waits for this member's heartbeats. 6 s to 5 min.
    pub session_timeout: Duration,
    /// How long a revocation waits for the router's last commits. Committing them may take 5 s more.
    pub revoke_timeout: Duration,
}

impl Default for SourceSettings {
    fn default() -> Self {
        Self {
            group_id: "delayq".to_owned(),
            topics: Vec::new(),
            instance_id: None,
            session_timeout: Duration::from_secs(45),
            revoke_timeout: Duration::from_secs(10),
        }
    }
}

/// Compression of produced batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// None.
    None,
    /// gzip: small and slow.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4: nearly free; twice the throughput of zstd here.
    #[default]
    Lz4,
    /// Zstandard: smaller, twice the CPU.
    Zstd,
}

impl Compression {
    /// librdkafka's name.
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

/// The producer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkSettings {
    /// How long records wait for company. 0 costs CPU under load, 5 adds 5 ms to each record.
    pub linger_ms: u32,
    /// Compression of batches.
    pub compression: Compression,
    /// Bound of the queues of all producers together, in KiB (librdkafka's own default is 1 GiB for one).
    pub queue_kbytes: u32,
    /// Bound of a producer's queue in records.
    pub queue_records: u32,
    /// How long the sink tries to deliver a record before it gives up (a transient error).
    pub message_timeout: Duration,
    /// Largest record, headers included: the largest topic limit that is published to. Batches hold up to
    /// 1,000,000 bytes (`batch.size`) and librdkafka does not split one that a broker finds too large: where a
    /// target's `max.message.bytes` is smaller than that, set the property `batch.size` below it.
    pub message_max_bytes: u32,
    /// How long a topic unknown to the brokers may take to appear before its records fail as invalid.
    pub unknown_topic_timeout: Duration,
    /// Whether a missing topic may be created by publishing to it (if the brokers allow it at all). Off, a
    /// misspelt target ends in the dead-letter topic.
    pub create_topics: bool,
}

impl Default for SinkSettings {
    fn default() -> Self {
        Self {
            linger_ms: 1,
            compression: Compression::default(),
            queue_kbytes: 32 * 1024,
            queue_records: 100_000,
            message_timeout: Duration::from_secs(120),
            message_max_bytes: MESSAGE_MAX_BYTES_DEFAULT,
            unknown_topic_timeout: Duration::from_secs(6),
            create_topics: false,
        }
    }
}

impl KafkaSettings {
    /// What is wrong with these settings; empty when nothing is.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.bootstrap_servers.trim().is_empty() {
            faults.push("kafka.bootstrap_servers is empty".to_owned());
        }
        for name in self.properties.keys() {
            if RESERVED.contains(&name.as_str()) {
                faults.push(format!(
                    "kafka.properties.{name}: delayq sets this itself; remove it"
                ));
            }
        }
        if self.tokens.is_some() && cfg!(not(feature = "tls")) {
            faults.push(
                "this build has no TLS, and so no login with tokens (kafka.auth): build with --features tls"
                    .to_owned(),
            );
        }
        faults
    }

    fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.bootstrap_servers)
            .set("client.id", &self.client_id)
            // Brokers close idle connections all day long; that is no news.
            .set("log.connection.close", "false")
            .set("reconnect.backoff.max.ms", "2000")
            .set("socket.keepalive.enable", "true")
            // The rdkafka crate would ask the `log` crate, which nobody has set up here.
            .set_log_level(RDKafkaLogLevel::Info);
        if self.tokens.is_some() {
            config
                .set("security.protocol", "sasl_ssl")
                .set("sasl.mechanism", "OAUTHBEARER");
        }
        config
    }

    fn with_properties(&self, mut config: ClientConfig) -> ClientConfig {
        for (name, value) in &self.properties {
            if !RESERVED.contains(&name.as_str()) {
                config.set(name, value);
            }
            if name == "debug" {
                config.set_log_level(RDKafkaLogLevel::Debug);
            }
        }
        config
    }

    /// For a client that is not delayq's: the cluster, and those properties that concern it.
    pub(crate) fn outsider_config(&self, concerns: impl Fn(&str) -> bool) -> ClientConfig {
        let mut config = self.client_config();
        for (name, value) in &self.properties {
            if concerns(name) {
                config.set(name, value);
            }
        }
        config
    }

    pub(crate) fn admin_config(&self) -> ClientConfig {
        let mut config = self.client_config();
        // Asking whether a topic exists must not create it.
        config.set("allow.auto.create.topics", "false");
        self.with_properties(config)
    }

    /// A consumer of one small topic from its beginning, outside any group.
    pub(crate) fn tail_config(&self) -> ClientConfig {
        let mut config = self.client_config();
        config
            // librdkafka wants a name; nothing is committed under it, and no group is joined.
            .set("group.id", "delayq-tail")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            .set("allow.auto.create.topics", "false")
            .set("fetch.queue.backoff.ms", "5")
            // The records are few and small; beside the router's consumer this one must take no memory worth a word.
            .set("queued.max.messages.kbytes", "1024")
            .set("fetch.message.max.bytes", "65536");
        self.with_properties(config)
    }
}

impl KafkaSettings {
    /// A consumer that reads what it assigns to itself, up to the end.
    pub(crate) fn reader_config(&self, group_id: &str) -> ClientConfig {
        let mut config = self.client_config();
        config
            .set("group.id", group_id)
            .set("auto.offset.reset", "earliest")
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            .set("allow.auto.create.topics", "false")
            .set("fetch.queue.backoff.ms", "5")
            .set("queued.max.messages.kbytes", "16384")
            .set("fetch.wait.max.ms", "100")
            .set("fetch.max.bytes", "16777216");
        self.with_properties(config)
    }
}

impl SourceSettings {
    /// What is wrong with these settings; empty when nothing is.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.group_id.trim().is_empty() {
            faults.push("kafka.group_id is empty".to_owned());
        }
        if self.topics.is_empty() {
            faults.push("no delay topic is configured".to_owned());
        }
        for topic in &self.topics {
            if !is_topic_name(topic) {
                faults.push(format!(
                    "delay topic {topic:?}: a name has 1 to 249 characters of a-z A-Z 0-9 . _ - (no patterns)"
                ));
            }
        }
        let session = self.session_timeout;
        if session < Duration::from_secs(6) || session > Duration::from_secs(300) {
            faults.push(format!(
                "kafka.session_timeout is {session:?}: brokers accept 6 s to 5 min by default"
            ));
        }
        if self.revoke_timeout > Duration::from_secs(60) {
            faults.push(format!(
                "kafka.revoke_timeout is {:?}: at most 60 s, or the group gives up on this member",
                self.revoke_timeout
            ));
        }
        faults
    }

    pub(crate) fn config(&self, kafka: &KafkaSettings) -> ClientConfig {
        let mut config = kafka.client_config();
        config
            .set("group.id", &self.group_id)
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set(
                "session.timeout.ms",
                self.session_timeout.as_millis().to_string(),
            )
            .set("auto.offset.reset", "earliest")
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "false")
            .set("allow.auto.create.topics", "false")
            // For the lag, which is a metric, and brokers that are lost.
            .set("statistics.interval.ms", STATISTICS_EVERY_MS)
            // 1000 by default: a consumer whose queue filled up would sleep that long.
            .set("fetch.queue.backoff.ms", "5")
            .set("queued.max.messages.kbytes", "16384")
            // By default the first byte is answered at once: a fetch for every few records, which costs router and broker more
            // than the records. So short a wait that a record without a delay is in time; a partition that is resumed waits
            // for the end of the fetch under way.
            .set("fetch.min.bytes", "65536")
            .set("fetch.wait.max.ms", "10")
            // 50 MiB by default, in one answer, on top of the queue.
            .set("fetch.max.bytes", "16777216")
            // New partitions and topics are found within this.
            .set("topic.metadata.refresh.interval.ms", "10000");
        if let Some(instance_id) = &self.instance_id {
            config.set("group.instance.id", instance_id);
        }
        kafka.with_properties(config)
    }
}

impl SinkSettings {
    /// What is wrong with these settings; empty when nothing is.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.linger_ms > 1000 {
            faults.push(format!(
                "kafka.linger_ms is {}: every record would be that late; at most 1000",
                self.linger_ms
            ));
        }
        if !(1000..=1_000_000_000).contains(&self.message_max_bytes) {
            faults.push(format!(
                "kafka.message_max_bytes is {}: 1000 to 1000000000",
                self.message_max_bytes
            ));
        }
        if u64::from(self.queue_kbytes) * 1024 < u64::from(self.message_max_bytes) {
            faults.push(format!(
                "kafka.queue_kbytes is {}: less than one record of message_max_bytes ({})",
                self.queue_kbytes, self.message_max_bytes
            ));
        }
        if !(1..=10_000_000).contains(&self.queue_records) {
            faults.push(format!(
                "kafka.queue_records is {}: 1 to 10000000",
                self.queue_records
            ));
        }
        if self.message_timeout < Duration::from_secs(1) {
            faults.push("kafka.message_timeout is under 1 s".to_owned());
        }
        if self.unknown_topic_timeout >= self.message_timeout {
            // Otherwise a missing topic would show as a slow broker, and its records would be retried for ever.
            faults.push("kafka.unknown_topic_timeout must be below message_timeout".to_owned());
        }
        faults
    }

    /// Those of one of so many producers: a share of the queue, but room for a record.
    pub(crate) fn of_one_in(&self, producers: usize) -> Self {
        let share = self.queue_kbytes / u32::try_from(producers.max(1)).unwrap_or(u32::MAX);
        Self {
            queue_kbytes: share.max(self.message_max_bytes.div_ceil(1024)),
            ..self.clone()
        }
    }

    pub(crate) fn config(&self, kafka: &KafkaSettings) -> ClientConfig {
        let mut config = kafka.client_config();
        config
            .set("acks", "all")
            .set("enable.idempotence", "true")
            // For brokers that are lost.
            .set("statistics.interval.ms", STATISTICS_EVERY_MS)
            // As Java producers do; librdkafka's own default is another hash.
            .set("partitioner", "murmur2_random")
            .set("linger.ms", self.linger_ms.to_string())
            .set("compression.type", self.compression.as_str())
            .set("queue.buffering.max.kbytes", self.queue_kbytes.to_string())
            .set(
                "queue.buffering.max.messages",
                self.queue_records.to_string(),
            )
            .set(
                "message.timeout.ms",
                self.message_timeout.as_millis().to_string(),
            )
            .set("message.max.bytes", self.message_max_bytes.to_string())
            .set(
                "topic.metadata.propagation.max.ms",
                self.unknown_topic_timeout.as_millis().to_string(),
            )
            .set("allow.auto.create.topics", self.create_topics.to_string());
        kafka.with_properties(config)
    }
}

/// Kafka's rule for topic names: `Topic.validate` of `org.apache.kafka.common.internals`.
fn is_topic_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 249
        && name != "."
        && name != ".."
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_have_no_fault_but_the_missing_topic() {
        assert!(KafkaSettings::default().faults().is_empty());
        assert!(SinkSettings::default().faults().is_empty());
        assert_eq!(
            SourceSettings::default().faults(),
            ["no delay topic is configured"]
        );
    }

    #[test]
    fn librdkafka_accepts_what_we_set() {
        let kafka = KafkaSettings::default();
        let source = SourceSettings {
            instance_id: Some("a".to_owned()),
            ..SourceSettings::default()
        };
        assert!(source.config(&kafka).create_native_config().is_ok());
        assert!(kafka.admin_config().create_native_config().is_ok());
        for compression in [
            Compression::None,
            Compression::Gzip,
            Compression::Snappy,
            Compression::Lz4,
            Compression::Zstd,
        ] {
            let sink = SinkSettings {
                compression,
                ..SinkSettings::default()
            };
            assert!(
                sink.config(&kafka).create_native_config().is_ok(),
                "{compression:?}"
            );
        }
    }

    #[test]
    fn reserved_properties_are_refused_and_never_applied() {
        let mut kafka = KafkaSettings::default();
        kafka
            .properties
            .insert("enable.auto.commit".to_owned(), "true".to_owned());
        kafka
            .properties
            .insert("fetch.wait.max.ms".to_owned(), "70".to_owned());
        assert_eq!(kafka.faults().len(), 1);
        let config = SourceSettings::default().config(&kafka);
        assert_eq!(config.get("enable.auto.commit"), Some("false"));
        assert_eq!(config.get("fetch.wait.max.ms"), Some("70"));
    }

    #[test]
    fn every_fault_of_a_group_is_told_at_once() {
        let source = SourceSettings {
            group_id: " ".to_owned(),
            topics: vec!["^orders.*".to_owned(), "ok".to_owned()],
            session_timeout: Duration::from_secs(1),
            revoke_timeout: Duration::from_secs(120),
            instance_id: None,
        };
        assert_eq!(source.faults().len(), 4);
        let sink = SinkSettings {
            linger_ms: 5000,
            queue_kbytes: 1,
            queue_records: 0,
            message_timeout: Duration::from_millis(1),
            ..SinkSettings::default()
        };
        assert_eq!(sink.faults().len(), 5);
    }

    #[test]
    fn secrets_are_not_printed() {
        let mut kafka = KafkaSettings::default();
        for name in ["sasl.password", "ssl.key.pem", "sasl.username"] {
            kafka
                .properties
                .insert(name.to_owned(), "hunter2".to_owned());
        }
        assert!(!format!("{kafka:?}").contains("hunter2"));
    }
}
