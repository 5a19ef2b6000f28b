//! What a seed means: settings, records, replicas, and what goes wrong when.

use std::time::Duration;

use crate::settings::{Knobs, Times};
use crate::tracking::{OutsideCancel, track};
use crate::weather::{Rates, Target};
use crate::workload::{Planned, Shape, records};

/// What a seed looks at above all.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// Nothing goes wrong: all must be on time, and once.
    Calm,
    /// Replicas come and go in good order: all must come once.
    Rebalance,
    /// Faults of every kind, over some minutes in compressed times.
    Storm,
    /// The same with the default times, over an hour.
    Hour,
    /// Delays of days, with outages of 20 minutes.
    Days,
}

/// The roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Router.
    Router,
    /// Scheduler.
    Scheduler,
    /// Emitter.
    Emitter,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Router, Self::Scheduler, Self::Emitter];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Router => "router",
            Self::Scheduler => "scheduler",
            Self::Emitter => "emitter",
        }
    }
}

/// Something that goes wrong, or changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Replica `replica` of a role dies, and is started again.
    Crash(Role, usize),
    /// It dies at the so manieth poll of its main task from its next start on.
    CrashAtPoll(Role, usize, u64),
    /// It is stopped in good order, and started again.
    Restart(Role, usize),
    /// It is stopped as by SIGSTOP for that long.
    Freeze(Role, usize, Duration),
    /// Its clock is set.
    Skew(Role, usize, i64),
    /// The routers' sessions expire.
    SessionsExpire,
    /// A target is away for that long.
    Away(Target, Duration),
    /// The chances change.
    Rates(Rates),
}

/// All of a seed.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// What it looks at.
    pub profile: Profile,
    /// Settings.
    pub knobs: Knobs,
    /// Partitions of the delay topic.
    pub partitions: i32,
    /// Replicas of each role.
    pub replicas: [usize; 3],
    /// Clocks differ by up to this, either way.
    pub skew_max_ms: i64,
    /// A message received this often is given up by the queue.
    pub max_receive_count: u32,
    /// Records, in order of time.
    pub records: Vec<Planned>,
    /// Cancels from outside.
    pub cancels: Vec<OutsideCancel>,
    /// Events, in order of time, in ms after the start.
    pub events: Vec<(u64, Event)>,
    /// From then on all is well, in ms after the start.
    pub mended_ms: u64,
}

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let profile = match seed % 20 {
            0 => Profile::Calm,
            1 | 2 => Profile::Rebalance,
            3..15 => Profile::Storm,
            19 if seed.is_multiple_of(3) => Profile::Days,
            _ => Profile::Hour,
        };
        let times = match profile {
            Profile::Calm | Profile::Rebalance if rng.bool() => Times::DEFAULT,
            Profile::Hour | Profile::Days => Times::DEFAULT,
            _ => Times::COMPRESSED,
        };
        let faulty = !matches!(profile, Profile::Calm | Profile::Rebalance);
        let small = faulty && rng.bool();
        let partitions = rng.i32(1..=6);
        let compressed = times == Times::COMPRESSED;
        let over_ms = if compressed {
            2 * MINUTE_MS
        } else {
            15 * MINUTE_MS
        };
        let longest_ms = match profile {
            Profile::Days => 3 * 24 * HOUR_MS,
            _ if compressed => 3 * MINUTE_MS,
            _ => HOUR_MS,
        };
        let shape = Shape {
            records: rng.usize(20..300),
            over_ms,
            partitions,
            longest_ms: i64::try_from(longest_ms).unwrap_or(i64::MAX),
            large_bytes: if rng.u8(0..20) == 0 { 900_000 } else { 30_000 },
            poison: faulty,
            limited: faulty && rng.bool(),
        };
        let mut records = records(&mut rng, &shape, &times);
        let cancels = if rng.bool() {
            track(&mut rng, partitions, &mut records)
        } else {
            Vec::new()
        };
        let replicas = [rng.usize(1..=3), rng.usize(1..=2), rng.usize(1..=3)];
        let mended_ms = over_ms + longest_ms.min(2 * HOUR_MS);
        let mut plan = Self {
            seed,
            profile,
            knobs: Knobs {
                times,
                shards: rng.u32(1..=4),
                memory_bytes: if small {
                    rng.usize(20_000..200_000)
                } else {
                    96 << 20
                },
                group_records: if small { rng.usize(1..50) } else { 5_000 },
                store_batch_bytes: if small { 20_000 } else { 350_000 },
                metadata_max_bytes: if small { rng.usize(40..400) } else { 3_000 },
                recent_sources: 200_000,
            },
            partitions,
            replicas,
            skew_max_ms: if faulty && rng.bool() { 5_000 } else { 0 },
            max_receive_count: if faulty && rng.u8(0..4) == 0 { 4 } else { 100 },
            records,
            cancels,
            events: Vec::new(),
            mended_ms,
        };
        match profile {
            Profile::Calm => {}
            Profile::Rebalance => plan.rebalances(&mut rng),
            Profile::Storm | Profile::Hour | Profile::Days => plan.faults(&mut rng),
        }
        plan.events.sort_by_key(|(at_ms, _)| *at_ms);
        plan
    }

    fn anyone(&self, rng: &mut fastrand::Rng) -> (Role, usize) {
        let role = rng.choice(&Role::ALL).copied().unwrap_or(Role::Router);
        let [routers, schedulers, emitters] = self.replicas;
        let replicas = match role {
            Role::Router => routers,
            Role::Scheduler => schedulers,
            Role::Emitter => emitters,
        };
        (role, rng.usize(0..replicas.max(1)))
    }

    fn rebalances(&mut self, rng: &mut fastrand::Rng) {
        for _ in 0..rng.usize(1..12) {
            let (role, replica) = self.anyone(rng);
            let at_ms = rng.u64(0..self.mended_ms);
            self.events.push((at_ms, Event::Restart(role, replica)));
        }
    }

    fn faults(&mut self, rng: &mut fastrand::Rng) {
        let compressed = self.knobs.times == Times::COMPRESSED;
        let until_ms = self.mended_ms;
        let some = |rng: &mut fastrand::Rng, most: u32| {
            if rng.bool() { rng.u32(0..=most) } else { 0 }
        };
        let rates = Rates {
            transient: some(rng, 100),
            throttled: some(rng, 100),
            unanswered: some(rng, 30),
            entry: some(rng, 100),
            twice: some(rng, 100),
            crash: some(rng, if compressed { 100 } else { 20 }),
            latency_ms: rng.u64(0..100),
            slow: some(rng, 10),
        };
        self.events.push((0, Event::Rates(rates)));
        for _ in 0..rng.usize(0..12) {
            let (role, replica) = self.anyone(rng);
            let at_ms = rng.u64(0..until_ms);
            let event = match rng.u8(0..9) {
                0 | 1 => Event::Crash(role, replica),
                2 => Event::CrashAtPoll(role, replica, rng.u64(1..2_000)),
                3 => Event::Restart(role, replica),
                4 => {
                    let longest_s = if compressed { 90 } else { 200 };
                    Event::Freeze(role, replica, Duration::from_secs(rng.u64(1..longest_s)))
                }
                5 if self.skew_max_ms > 0 => {
                    let skew_ms = rng.i64(-self.skew_max_ms..=self.skew_max_ms);
                    Event::Skew(role, replica, skew_ms)
                }
                6 => Event::SessionsExpire,
                _ => {
                    let target = rng.choice(&Target::ALL).copied().unwrap_or(Target::Store);
                    let longest_s = if compressed { 60 } else { 20 * 60 };
                    Event::Away(target, Duration::from_secs(rng.u64(1..=longest_s)))
                }
            };
            self.events.push((at_ms, event));
        }
        if self.profile == Profile::Days {
            let twenty_minutes = Duration::from_secs(20 * 60);
            let at_ms = rng.u64(0..until_ms);
            self.events
                .push((at_ms, Event::Away(Target::Store, twenty_minutes)));
            self.events
                .push((at_ms, Event::Away(Target::Shards, twenty_minutes)));
        }
    }

    /// When the last record is due, in ms after the start.
    #[must_use]
    pub fn last_due_ms(&self) -> u64 {
        let due = self
            .records
            .iter()
            .map(|one| one.at_ms + u64::try_from(one.delay_ms).unwrap_or(0));
        due.max().unwrap_or(0)
    }
}
