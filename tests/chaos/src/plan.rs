//! What is done to whom and when: a pure function of seed and length, so that a run can be repeated with the same faults.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use delayq::role::Role;
use delayq_stack::Component;

use crate::random::Random;

/// Replicas of each role.
pub(crate) const REPLICAS: u8 = 2;
/// Nothing is done in the first seconds: how late records are in peace is read from them.
pub(crate) const CALM: Duration = Duration::from_secs(12);

/// A place for a process of delayq; whoever is restarted there is the same slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Slot {
    pub(crate) role: Role,
    pub(crate) replica: u8,
}

impl Slot {
    pub(crate) fn all() -> Vec<Self> {
        let of = |role| (1..=REPLICAS).map(move |replica| Self { role, replica });
        Role::ALL.into_iter().flat_map(of).collect()
    }
}

/// Name of a role, as in the command line.
pub(crate) fn role_name(role: Role) -> &'static str {
    match role {
        Role::Router => "router",
        Role::Scheduler => "scheduler",
        Role::Emitter => "emitter",
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", role_name(self.role), self.replica)
    }
}

/// A connection that passes a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Line {
    Kafka,
    Sqs,
    DynamoDb,
}

impl Line {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Sqs => "sqs",
            Self::DynamoDb => "dynamodb",
        }
    }
}

/// What a proxy does to the requests, or bytes, that pass while it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum NetFault {
    /// Each takes up to this many milliseconds longer.
    Delay(u64),
    /// Each, without exception, takes this many milliseconds longer, and some are throttled: a service under load.
    Slow { ms: u64, throttled_percent: u64 },
    /// The connection is reset before the request is passed on.
    ResetRequest,
    /// The request is passed on, and takes effect; the connection is reset instead of the answer.
    ResetAnswer,
    /// Accepted, never passed on, never answered.
    Silent,
    /// Passed on, never answered.
    SilentAnswer,
    /// HTTP 500 or 503.
    ServerError,
    /// The service's own way to say "too fast".
    Throttle,
    /// HTTP 200 in which some entries failed; half of those took effect all the same.
    Partial,
}

impl NetFault {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Delay(_) => "delay",
            Self::Slow { .. } => "slow",
            Self::ResetRequest => "reset-request",
            Self::ResetAnswer => "reset-answer",
            Self::Silent => "half-open",
            Self::SilentAnswer => "half-open-answer",
            Self::ServerError => "http-5xx",
            Self::Throttle => "throttle",
            Self::Partial => "partial",
        }
    }
}

/// One fault. Each undoes itself when its time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL; started again after the time.
    Kill(Slot),
    /// SIGSTOP, SIGCONT after the time.
    Freeze(Slot),
    /// SIGTERM; started again when it has ended.
    Restart(Slot),
    /// SIGKILL; started again after the time.
    KillStack(Component),
    /// SIGSTOP, SIGCONT after the time.
    FreezeStack(Component),
    /// A proxy misbehaves.
    Network(Line, NetFault),
}

impl Fault {
    /// Such as `kill router`; what reports count by.
    pub(crate) fn kind(self) -> String {
        match self {
            Self::Kill(slot) => format!("kill {}", role_name(slot.role)),
            Self::Freeze(slot) => format!("stop {}", role_name(slot.role)),
            Self::Restart(slot) => format!("restart {}", role_name(slot.role)),
            Self::KillStack(component) => format!("kill {component}"),
            Self::FreezeStack(component) => format!("stop {component}"),
            Self::Network(line, fault) => format!("{} {}", line.name(), fault.name()),
        }
    }

    pub(crate) fn subject(self) -> Subject {
        match self {
            Self::Kill(slot) | Self::Freeze(slot) | Self::Restart(slot) => Subject::Slot(slot),
            Self::KillStack(component) | Self::FreezeStack(component) => Subject::Stack(component),
            Self::Network(line, _) => Subject::Line(line),
        }
    }
}

/// To whom a fault is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    Slot(Slot),
    Stack(Component),
    Line(Line),
}

/// A fault with its moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Planned {
    /// After the start.
    pub(crate) at: Duration,
    pub(crate) lasts: Duration,
    pub(crate) fault: Fault,
}

/// Time that a subject is left alone after a fault: a restarted broker needs it to be there again.
const REST: Duration = Duration::from_secs(4);
const REST_OF_STACK: Duration = Duration::from_secs(12);

/// The faults of a run of `lasts`, all over by its end.
pub(crate) fn plan(seed: u64, lasts: Duration) -> Vec<Planned> {
    let mut random = Random::new(seed ^ 0x00c4_a05c);
    let mut busy: HashMap<Subject, Duration> = HashMap::new();
    let mut planned = Vec::new();
    let mut at = CALM.min(lasts / 4);
    while at < lasts {
        let (fault, lasts_for) = choose(&mut random);
        let subject = fault.subject();
        let free = busy.get(&subject).is_none_or(|until| *until <= at);
        if free && at + lasts_for <= lasts {
            let rest = if matches!(subject, Subject::Stack(_)) {
                REST_OF_STACK
            } else {
                REST
            };
            busy.insert(subject, at + lasts_for + rest);
            planned.push(Planned {
                at,
                lasts: lasts_for,
                fault,
            });
        }
        at += Duration::from_millis(random.between(400, 3_200));
    }
    planned
}

fn choose(random: &mut Random) -> (Fault, Duration) {
    let ms = Duration::from_millis;
    match random.between(0, 99) {
        0..=44 => {
            let slot = Slot {
                role: random.pick(Role::Router, &[Role::Scheduler, Role::Emitter]),
                replica: u8::try_from(random.between(1, REPLICAS.into())).unwrap_or(1),
            };
            match random.between(0, 2) {
                0 => (Fault::Kill(slot), ms(random.between(100, 3_000))),
                // Half of them outlast every lease: session 10 s, visibility 12 s, shard 6 s.
                1 if random.chance(50) => (Fault::Freeze(slot), ms(random.between(13_500, 16_000))),
                1 => (Fault::Freeze(slot), ms(random.between(500, 5_000))),
                _ => (Fault::Restart(slot), ms(random.between(0, 2_000))),
            }
        }
        45..=64 => {
            let component = random.pick(
                Component::Kafka,
                &[Component::ElasticMq, Component::DynamoDb],
            );
            if random.chance(60) {
                (Fault::KillStack(component), ms(random.between(100, 2_500)))
            } else {
                (
                    Fault::FreezeStack(component),
                    ms(random.between(500, 8_000)),
                )
            }
        }
        _ => {
            let lasts = ms(random.between(2_000, 7_000));
            let line = random.pick(Line::Kafka, &[Line::Sqs, Line::Sqs, Line::DynamoDb]);
            let fault = match line {
                Line::Kafka => random.pick(
                    NetFault::Delay(40),
                    &[
                        NetFault::Delay(400),
                        NetFault::ResetRequest,
                        NetFault::ResetAnswer,
                        NetFault::Silent,
                        NetFault::SilentAnswer,
                    ],
                ),
                Line::Sqs | Line::DynamoDb => random.pick(
                    NetFault::Delay(300),
                    &[
                        // Longer than a call may take (3 s).
                        NetFault::Delay(5_000),
                        NetFault::ResetRequest,
                        NetFault::ResetAnswer,
                        NetFault::Silent,
                        NetFault::SilentAnswer,
                        NetFault::ServerError,
                        NetFault::Throttle,
                        NetFault::Partial,
                        NetFault::Partial,
                    ],
                ),
            };
            (Fault::Network(line, fault), lasts)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LASTS: Duration = Duration::from_secs(600);

    #[test]
    fn a_seed_is_a_plan_and_another_seed_another() {
        assert_eq!(plan(7, LASTS), plan(7, LASTS));
        assert_ne!(plan(7, LASTS), plan(8, LASTS));
    }

    #[test]
    fn all_is_over_in_time_and_nobody_is_hurt_twice_at_once() {
        for seed in 0..50 {
            let planned = plan(seed, LASTS);
            let mut busy: HashMap<Subject, Duration> = HashMap::new();
            for one in &planned {
                assert!(one.at >= CALM && one.at + one.lasts <= LASTS);
                let until = busy.insert(one.fault.subject(), one.at + one.lasts);
                assert!(until.is_none_or(|until| until < one.at), "seed {seed}");
            }
        }
    }

    #[test]
    fn a_few_seeds_have_every_kind_of_fault() {
        let kinds: std::collections::BTreeSet<_> = (0..20)
            .flat_map(|seed| plan(seed, LASTS))
            .map(|one| one.fault.kind())
            .collect();
        // 3 roles × 3, 3 components × 2, Kafka's line 5, the others' 8 each.
        assert_eq!(kinds.len(), 9 + 6 + 5 + 8 + 8, "{kinds:?}");
    }
}
