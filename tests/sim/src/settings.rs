//! Settings of the simulated services: delayq's defaults, or times compressed to seconds in the same proportions, and limits that
//! are small enough to be met.

use std::sync::Arc;
use std::time::Duration;

use delayq_core::handover::HandoverTimes;
use delayq_core::headers::HeaderNames;
use delayq_core::outputs::Outputs;
use delayq_core::route::{KnownOutputs, Policy};
use delayq_core::routes::{Route, RouteMatch};
use delayq_delivery::payloads::PayloadSettings;
use delayq_delivery::publish::PublishSettings;
use delayq_delivery::queue::QueueSettings;
use delayq_delivery::registry::RegistrySettings;
use delayq_emitter::EmitterSettings;
use delayq_router::RouterSettings;
use delayq_scheduler::SchedulerSettings;
use globset::{Glob, GlobSet, GlobSetBuilder};

/// The delay topic.
pub const DELAY_TOPIC: &str = "sim.delay";
/// The dead-letter topic.
pub const DEAD_LETTER_TOPIC: &str = "sim.dead";
/// The routers' group.
pub const GROUP: &str = "sim-router";
/// The target whose rate is limited.
pub const LIMITED_TARGET: &str = "slow";
/// The target whose output topics do not exist.
pub const MISSING_TARGET: &str = "missing";
/// All targets that are allowed.
pub const TARGETS: [&str; 4] = ["orders", "mail", LIMITED_TARGET, MISSING_TARGET];
/// Longest delay.
pub const MAX_DELAY_MS: i64 = 7 * 24 * 3_600_000;

/// Times of the tiers, in ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// Published by the router itself.
    pub direct_ms: i64,
    /// To the queues.
    pub short_ms: i64,
    /// A bucket.
    pub bucket_ms: i64,
    /// Handed over so long before it starts.
    pub lead_ms: i64,
    /// Longest wait to be packed.
    pub max_wait_ms: i64,
    /// Early by.
    pub early_ms: i64,
    /// Held at most.
    pub hold_max_ms: i64,
    /// A call at most.
    pub call_ms: i64,
    tick_s: u64,
    work_limit_s: u64,
    lease_s: u64,
    wait_s: u64,
    visibility_s: u64,
    commit_ms: u64,
}

impl Times {
    /// The defaults.
    pub const DEFAULT: Self = Self {
        direct_ms: 2_000,
        short_ms: 900_000,
        bucket_ms: 300_000,
        lead_ms: 420_000,
        max_wait_ms: 60_000,
        early_ms: 1_500,
        hold_max_ms: 30_000,
        call_ms: 30_000,
        tick_s: 30,
        work_limit_s: 60,
        lease_s: 60,
        wait_s: 20,
        visibility_s: 60,
        commit_ms: 1_000,
    };
    /// As the demo and the tests on the real stack have them, with leases that outlast the calls of a simulated network.
    pub const COMPRESSED: Self = Self {
        direct_ms: 400,
        short_ms: 60_000,
        bucket_ms: 5_000,
        lead_ms: 50_000,
        max_wait_ms: 1_000,
        early_ms: 1_000,
        hold_max_ms: 30_000,
        call_ms: 3_000,
        tick_s: 2,
        work_limit_s: 5,
        lease_s: 30,
        wait_s: 1,
        visibility_s: 60,
        commit_ms: 200,
    };

    /// See `Config::long_room`.
    #[must_use]
    pub const fn long_room_ms(&self) -> i64 {
        self.lead_ms + self.max_wait_ms + self.call_ms
    }

    fn handover(&self) -> HandoverTimes {
        HandoverTimes {
            bucket_ms: self.bucket_ms,
            lead_ms: self.lead_ms,
            skip_read_ms: 900_000,
            max_skew_ms: 60_000,
        }
    }
}

/// What differs from seed to seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Knobs {
    /// Times.
    pub times: Times,
    /// Shards.
    pub shards: u32,
    /// Memory of a router, and of an emitter, in bytes.
    pub memory_bytes: usize,
    /// Most records of a group.
    pub group_records: usize,
    /// Largest batch in the store: records over it are references.
    pub store_batch_bytes: usize,
    /// Largest commit metadata.
    pub metadata_max_bytes: usize,
    /// Sources that an emitter remembers.
    pub recent_sources: usize,
}

fn targets() -> GlobSet {
    let mut set = GlobSetBuilder::new();
    for target in TARGETS {
        if let Ok(glob) = Glob::new(target) {
            set.add(glob);
        }
    }
    set.build().unwrap_or_default()
}

fn routes() -> Vec<Route> {
    let target = Glob::new(LIMITED_TARGET).ok();
    let limited = Route {
        name: Arc::from("limited"),
        matches: RouteMatch {
            target: target.map(|glob| glob.compile_matcher()),
            ..RouteMatch::default()
        },
        limited: true,
        ..Route::default()
    };
    vec![limited]
}

impl Knobs {
    fn policy(&self) -> Policy {
        let times = &self.times;
        Policy {
            names: HeaderNames::default(),
            allowed: targets(),
            allowed_patterns: TARGETS.map(str::to_owned).into(),
            default_target: None,
            routes: routes(),
            message_type_header: "message-type".to_owned(),
            own_topics: [DELAY_TOPIC, DEAD_LETTER_TOPIC].map(str::to_owned).into(),
            output_template: "{target}.{priority}".to_owned(),
            known_outputs: KnownOutputs::default(),
            max_delay_ms: MAX_DELAY_MS,
            direct_ms: times.direct_ms,
            short_ms: times.short_ms,
            max_timestamp_skew_ms: 60_000,
            message_max_bytes: 1_000_000,
            bucket_ms: times.bucket_ms,
            long_room_ms: times.long_room_ms(),
            canary_topic: None,
        }
    }

    fn publish(&self, service: &'static str) -> PublishSettings {
        PublishSettings {
            service,
            dead_letter_topic: Arc::from(DEAD_LETTER_TOPIC),
            attempts: 3,
            retry_first: Duration::from_millis(100),
            retry_max: Duration::from_secs(5),
            breaker_probe: Duration::from_secs(1),
            max_under_way: 20_000,
            floor_every: 10,
            clock_check: Duration::from_secs(1),
        }
    }

    fn queue(&self) -> QueueSettings {
        QueueSettings {
            message_bytes: 256 * 1024,
            memory_bytes: 4 << 20,
            zstd_level: 1,
            early_ms: self.times.early_ms,
            retry_first: Duration::from_millis(100),
            retry_max: Duration::from_secs(10),
            concurrency: 32,
        }
    }

    fn registry(&self, claimant: &str) -> RegistrySettings {
        RegistrySettings {
            claimant: claimant.into(),
            claim_lead_ms: 300,
            lease_ms: 30_000,
            retry_first: Duration::from_millis(100),
            retry_max: Duration::from_secs(10),
            concurrency: 32,
        }
    }

    fn payloads(&self) -> PayloadSettings {
        PayloadSettings {
            zstd_level: 1,
            expire_after_ms: 30 * 24 * 3_600_000,
            retry_first: Duration::from_millis(100),
            retry_max: Duration::from_secs(10),
            concurrency: 8,
        }
    }

    /// A router called `writer`.
    #[must_use]
    pub fn router(&self, writer: &str) -> RouterSettings {
        let times = &self.times;
        RouterSettings {
            policy: self.policy(),
            publish: self.publish("router"),
            queue: self.queue(),
            payloads: self.payloads(),
            registry: self.registry(writer),
            times: times.handover(),
            shards: self.shards,
            writer: writer.to_owned(),
            expire_after_ms: 30 * 24 * 3_600_000,
            store_zstd_level_max: 1,
            store_batch_bytes: self.store_batch_bytes,
            store_concurrency: 32,
            memory_bytes: self.memory_bytes,
            group_raw_bytes: 4 << 20,
            group_records: self.group_records,
            max_wait_ms: times.max_wait_ms,
            commit_interval: Duration::from_millis(times.commit_ms),
            metadata_max_bytes: self.metadata_max_bytes,
            stall_after: Duration::from_secs(180),
            revoke_timeout: Duration::from_secs(9),
            stop_timeout: Duration::from_secs(90),
        }
    }

    /// A scheduler called `owner`.
    #[must_use]
    pub fn scheduler(&self, owner: &str) -> SchedulerSettings {
        let times = &self.times;
        SchedulerSettings {
            owner: owner.to_owned(),
            times: times.handover(),
            queue: self.queue(),
            tick: Duration::from_secs(times.tick_s),
            work_limit: Duration::from_secs(times.work_limit_s),
            lease: Duration::from_secs(times.lease_s),
            wait: Duration::from_secs(times.tick_s.min(10)),
            workers: usize::try_from(self.shards).unwrap_or(1).min(16),
            remembered_sources: 200_000,
            stop_timeout: Duration::from_secs(30),
        }
    }

    /// An emitter called `name`.
    #[must_use]
    pub fn emitter(&self, name: &str) -> EmitterSettings {
        let times = &self.times;
        EmitterSettings {
            publish: self.publish("emitter"),
            queue: self.queue(),
            payloads: self.payloads(),
            registry: self.registry(name),
            outputs: Outputs::of(&self.policy()),
            rates: [(Arc::from("limited"), 2)].into(),
            memory_bytes: self.memory_bytes.max(8 << 20),
            reserve_percent: 20,
            hold_max_ms: times.hold_max_ms,
            visibility: Duration::from_secs(times.visibility_s),
            stall_after: Duration::from_secs(60),
            receive_concurrency: 2,
            wait: Duration::from_secs(times.wait_s),
            recent_sources: self.recent_sources,
            stop_publish_within_ms: 3_000,
            stop_timeout: Duration::from_secs(90),
        }
    }
}
