//! From the configuration to the settings of each service and adapter.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use delayq_aws::AwsSettings;
use delayq_core::handover::HandoverTimes;
use delayq_core::headers::{HeaderNames, UnknownControls};
use delayq_core::outputs::Outputs;
use delayq_core::priority::Priority;
use delayq_core::route::{KnownOutputs, Policy};
use delayq_core::routes::{HighPriority, Route, RouteMatch};
use delayq_delivery::payloads::PayloadSettings;
use delayq_delivery::publish::PublishSettings;
use delayq_delivery::queue::QueueSettings;
use delayq_delivery::registry::RegistrySettings;
use delayq_emitter::EmitterSettings;
use delayq_kafka::{Compression, KafkaSettings, SinkSettings, SourceSettings};
use delayq_router::RouterSettings;
use delayq_runtime::config::{self, Config, HighRule, RouteConfig, RoutePriority, UnknownHeaders};
use delayq_scheduler::SchedulerSettings;

/// Room for the reason in a dead letter, beyond the largest record.
pub const DEAD_LETTER_ROOM_BYTES: u64 = 65_536;
/// What the router gives up of the adapter's revoke time-out, so that its answer is still in time.
const REVOKE_MARGIN: Duration = Duration::from_secs(1);
/// Records handed to the sink at once by the router's direct path.
const ROUTER_UNDER_WAY: usize = 20_000;
/// Long poll of the tick queue, at most.
const TICK_WAIT: Duration = Duration::from_secs(10);
/// Large records written to or read from the payload table at once: each takes some MiB for that time.
const PAYLOADS_AT_ONCE: usize = 8;
/// How soon a jump of the wall clock is noticed; one that follows NTP makes none worth more.
pub const CLOCK_CHECK: Duration = Duration::from_secs(1);
/// Sources remembered within one bucket.
const REMEMBERED_SOURCES: usize = 200_000;

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Times in which the long path takes seconds, in proportions that keep the promises: what is due in over 14 s goes to
/// the long tier, in buckets of 2 s that are handed over 10 s ahead. For the demo and for tests.
pub const COMPRESSED: [&str; 15] = [
    "delays.direct=400ms",
    "delays.short=14s",
    "packing.max_wait=1s",
    "long.bucket=2s",
    "long.lead=10s",
    "scheduler.tick=1s",
    "scheduler.work_limit=2s",
    "scheduler.lease=6s",
    "aws.connect_timeout=1s",
    "aws.call_timeout=3s",
    "emitter.early=1s",
    "emitter.wait=1s",
    "emitter.visibility=30s",
    "router.commit_interval=200ms",
    "tracked.lease=5s",
];

/// The cluster, without what logging in by `kafka.auth` takes (`cluster::kafka`).
#[must_use]
pub fn kafka(config: &Config) -> KafkaSettings {
    KafkaSettings {
        bootstrap_servers: config.kafka.bootstrap_servers.clone(),
        client_id: config.kafka.client_id.clone(),
        properties: config
            .kafka
            .properties
            .iter()
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect(),
        tokens: None,
    }
}

/// The consumer of the delay topics.
#[must_use]
pub fn source(config: &Config) -> SourceSettings {
    SourceSettings {
        group_id: config.kafka.group_id.clone(),
        topics: config.topics.delay.clone(),
        session_timeout: config.kafka.session_timeout,
        revoke_timeout: config.kafka.revoke_timeout,
        ..SourceSettings::default()
    }
}

/// The producer.
#[must_use]
pub fn sink(config: &Config) -> SinkSettings {
    SinkSettings {
        linger_ms: u32::try_from(config.kafka.linger.as_millis()).unwrap_or(u32::MAX),
        compression: match config.kafka.compression {
            config::Compression::None => Compression::None,
            config::Compression::Gzip => Compression::Gzip,
            config::Compression::Snappy => Compression::Snappy,
            config::Compression::Lz4 => Compression::Lz4,
            config::Compression::Zstd => Compression::Zstd,
        },
        queue_kbytes: u32::try_from(config.kafka.sink_queue.as_u64() / 1024).unwrap_or(u32::MAX),
        message_timeout: config.kafka.message_timeout,
        // Dead letters carry the reason on top of the largest record.
        message_max_bytes: u32::try_from(
            config.kafka.message_max.as_u64() + DEAD_LETTER_ROOM_BYTES,
        )
        .unwrap_or(u32::MAX),
        ..SinkSettings::default()
    }
}

/// SQS and DynamoDB.
#[must_use]
pub fn aws(config: &Config) -> AwsSettings {
    let aws = &config.aws;
    AwsSettings {
        sqs_endpoint: aws.sqs_endpoint.clone(),
        dynamodb_endpoint: aws.dynamodb_endpoint.clone(),
        access_key_id: aws.access_key_id.clone(),
        secret_access_key: aws
            .secret_access_key
            .as_ref()
            .map(|secret| secret.reveal().to_owned()),
        connect_timeout: aws.connect_timeout,
        attempt_timeout: aws.call_timeout,
        operation_timeout: aws.call_timeout + aws.connect_timeout,
        ..AwsSettings::for_region(&aws.region)
    }
}

/// The handover's times.
#[must_use]
pub fn times(config: &Config) -> HandoverTimes {
    HandoverTimes {
        bucket_ms: ms(config.long.bucket),
        lead_ms: ms(config.long.lead),
        skip_read_ms: ms(config.long.skip_state_read),
        max_skew_ms: ms(config.long.max_skew),
    }
}

/// Where records go.
///
/// # Errors
/// A glob that the validation should have refused.
pub fn policy(config: &Config) -> anyhow::Result<Policy> {
    let topics = &config.topics;
    let headers = config.headers.effective();
    let times = times(config);
    Ok(Policy {
        names: HeaderNames {
            delay_ms: headers.delay_ms,
            deliver_at: headers.deliver_at,
            deliver_at_ms: headers.deliver_at_ms,
            deliver_at_s: headers.deliver_at_s,
            target: headers.target,
            target_key: headers.target_key,
            priority: headers.priority,
            id: headers.id,
            action: headers.action,
            replaces: headers.replaces,
            unknown: match headers.unknown {
                UnknownHeaders::Refuse => UnknownControls::Refuse,
                UnknownHeaders::Pass => UnknownControls::Pass,
            },
        },
        allowed: topics.allowed().context("topics.allow")?,
        allowed_patterns: topics.allow.clone(),
        default_target: topics.default_target.clone(),
        routes: config.routes.iter().map(route).collect::<Result<_, _>>()?,
        message_type_header: headers.message_type,
        own_topics: topics.own(),
        canary_topic: config
            .canary
            .enabled
            .then(|| Arc::from(config.canary.topic.as_str())),
        output_template: topics.output.clone(),
        known_outputs: KnownOutputs::default(),
        max_delay_ms: ms(config.delays.max),
        direct_ms: ms(config.delays.direct),
        short_ms: ms(config.delays.short),
        max_timestamp_skew_ms: ms(config.delays.max_timestamp_skew),
        message_max_bytes: config.kafka.message_max.as_usize(),
        bucket_ms: times.bucket_ms,
        long_room_ms: ms(config.long_room()),
    })
}

fn route(route: &RouteConfig) -> anyhow::Result<Route> {
    let [delay_topic, target] = route
        .matches
        .globs()
        .with_context(|| format!("match of route {}", route.name))?;
    Ok(Route {
        name: Arc::from(route.name.as_str()),
        matches: RouteMatch {
            delay_topic,
            target,
            message_type: route.matches.message_type.clone(),
        },
        target: route.target.clone(),
        priority: route.priority.map(|priority| match priority {
            RoutePriority::High => Priority::High,
            RoutePriority::Standard => Priority::Standard,
            RoutePriority::Low => Priority::Low,
        }),
        standard_delay_ms: route.delay.standard.map(ms),
        low_delay_ms: route.delay.low.map(ms),
        high: match route.high {
            HighRule::Bypass => HighPriority::Bypass,
            HighRule::BypassAll => HighPriority::BypassAll,
        },
        max_delay_ms: route.max_delay.map(ms),
        output_template: route.output.clone(),
        spread_ms: ms(route.spread),
        limited: route.max_rate.is_some(),
    })
}

fn payloads(config: &Config) -> PayloadSettings {
    PayloadSettings {
        zstd_level: config.packing.zstd_level,
        expire_after_ms: ms(config.long.expire_after),
        retry_first: config.router.retry_first,
        retry_max: config.router.retry_max,
        concurrency: PAYLOADS_AT_ONCE,
    }
}

fn registry(config: &Config) -> RegistrySettings {
    RegistrySettings {
        claimant: Arc::from(process_name()),
        claim_lead_ms: ms(config.tracked.claim_lead),
        lease_ms: ms(config.tracked.lease),
        retry_first: config.router.retry_first,
        retry_max: config.router.retry_max,
        concurrency: count(config.tracked.concurrency),
    }
}

fn publish(config: &Config, service: &'static str, max_under_way: usize) -> PublishSettings {
    PublishSettings {
        service,
        dead_letter_topic: Arc::from(config.topics.dead_letter.as_str()),
        attempts: config.publish.attempts,
        retry_first: config.publish.retry_first,
        retry_max: config.publish.retry_max,
        breaker_probe: config.publish.breaker_probe,
        max_under_way,
        floor_every: config.emitter.floor_every(),
        clock_check: CLOCK_CHECK,
    }
}

fn queue(config: &Config, concurrency: u32) -> QueueSettings {
    QueueSettings {
        message_bytes: config.packing.message_bytes.as_usize(),
        memory_bytes: config.packing.batch_raw_bytes.as_usize(),
        zstd_level: config.packing.zstd_level,
        early_ms: ms(config.emitter.early),
        retry_first: config.router.retry_first,
        retry_max: config.router.retry_max,
        concurrency: count(concurrency),
    }
}

/// The router.
///
/// # Errors
/// As [`policy`].
pub fn router(config: &Config) -> anyhow::Result<RouterSettings> {
    Ok(RouterSettings {
        policy: policy(config)?,
        publish: publish(config, "router", ROUTER_UNDER_WAY),
        queue: queue(config, config.router.send_concurrency),
        payloads: payloads(config),
        registry: registry(config),
        times: times(config),
        shards: config.long.shards,
        writer: process_name(),
        expire_after_ms: ms(config.long.expire_after),
        store_zstd_level_max: config.packing.zstd_level_max.max(config.packing.zstd_level),
        store_batch_bytes: config.packing.store_batch_bytes.as_usize(),
        store_concurrency: count(config.router.send_concurrency),
        memory_bytes: config.router.memory.as_usize(),
        group_raw_bytes: config.packing.batch_raw_bytes.as_usize(),
        group_records: count(config.packing.batch_records),
        max_wait_ms: ms(config.packing.max_wait),
        commit_interval: config.router.commit_interval,
        metadata_max_bytes: config.router.metadata_max_bytes.as_usize(),
        revoke_timeout: config.kafka.revoke_timeout.saturating_sub(REVOKE_MARGIN),
        stall_after: config.router.stall_after,
        stop_timeout: config.router.stop_timeout,
    })
}

/// The scheduler.
#[must_use]
pub fn scheduler(config: &Config) -> SchedulerSettings {
    SchedulerSettings {
        owner: process_name(),
        times: times(config),
        queue: queue(config, config.scheduler.send_concurrency),
        tick: config.scheduler.tick,
        work_limit: config.scheduler.work_limit,
        lease: config.scheduler.lease,
        wait: config.scheduler.tick.min(TICK_WAIT),
        workers: count(config.long.shards).min(16),
        remembered_sources: REMEMBERED_SOURCES,
        stop_timeout: config.scheduler.stop_timeout,
    }
}

/// The emitter.
///
/// # Errors
/// A pattern that is none; a checked configuration has no such.
pub fn emitter(config: &Config) -> anyhow::Result<EmitterSettings> {
    let emitter = &config.emitter;
    Ok(EmitterSettings {
        outputs: Outputs::of(&policy(config)?),
        publish: publish(config, "emitter", count(emitter.in_flight)),
        queue: queue(config, config.router.send_concurrency),
        payloads: payloads(config),
        registry: registry(config),
        rates: config
            .routes
            .iter()
            .filter_map(|route| Some((Arc::from(route.name.as_str()), route.max_rate?)))
            .collect(),
        memory_bytes: emitter.memory.as_usize(),
        reserve_percent: count(emitter.reserve_percent),
        hold_max_ms: ms(emitter.hold_max),
        visibility: emitter.visibility,
        receive_concurrency: count(emitter.receive_concurrency),
        wait: emitter.wait,
        recent_sources: count(emitter.recent_sources),
        stall_after: emitter.stall_after,
        stop_publish_within_ms: ms(emitter.stop_publish_within),
        stop_timeout: emitter.stop_timeout,
    })
}

/// Unique for each start: two processes never write the same sort key.
fn process_name() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}
