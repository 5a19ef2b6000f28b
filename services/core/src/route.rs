//! Where a record goes: a pure function of the record, the time and the policy.

use std::cell::LazyCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use globset::GlobSet;

use crate::bucket::Bucket;
use crate::clock::EpochMs;
use crate::headers::{ControlAction, Due, HeaderNames, Refusal, read};
use crate::priority::Priority;
use crate::record::{Incoming, Path, Record, Scheduled};
use crate::routes::{HighPriority, Route};

mod output;

use output::output_topic;
pub use output::{KnownOutputs, is_topic_name};

/// Bytes that the `delayed-…` headers add to a record at most, a `delay-id` of the largest size included.
pub const ADDED_HEADERS_MAX_BYTES: usize = 1024;

/// What the operator decided.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Names of the control headers.
    pub names: HeaderNames,
    /// Targets that producers may ask for.
    pub allowed: GlobSet,
    /// The patterns of `allowed`, for messages.
    pub allowed_patterns: Vec<String>,
    /// Target of records for which neither a header nor a route names one.
    pub default_target: Option<String>,
    /// The first that matches decides; without one the rest of this policy does.
    pub routes: Vec<Route>,
    /// Header by whose value routes tell message types apart. It is passed on.
    pub message_type_header: String,
    /// Delay and dead-letter topics: never a target, never an output.
    pub own_topics: BTreeSet<String>,
    /// Target of delayq's own canaries, and the topic they come out of: allowed, and no route decides about them.
    pub canary_topic: Option<Arc<str>>,
    /// Output topic: `{target}` and `{priority}` are replaced.
    pub output_template: String,
    /// Output topics that were found and allowed before.
    pub known_outputs: KnownOutputs,
    /// Longest time from a record's timestamp to its due time.
    pub max_delay_ms: i64,
    /// Due within this: published by the router itself.
    pub direct_ms: i64,
    /// Due within this: to the queues. Later: to the long tier.
    pub short_ms: i64,
    /// How far ahead of our clock a record's timestamp may be.
    pub max_timestamp_skew_ms: i64,
    /// Largest record that can be published, headers included.
    pub message_max_bytes: usize,
    /// Length of a bucket.
    pub bucket_ms: i64,
    /// A bucket's lead plus the room that a record must have before it: later than this, it goes to the queues.
    pub long_room_ms: i64,
}

/// What happens to a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Publish it; [`Scheduled::path`] says which way.
    Schedule(Box<Scheduled>),
    /// Publish it if the record in whose place it is to be still waits: a reschedule.
    Replace {
        /// As it is published.
        record: Box<Scheduled>,
        /// Partition and offset of the record that it replaces.
        replaces: (i32, i64),
    },
    /// Cancel a tracked record.
    Cancel {
        /// Its id.
        id: Arc<str>,
        /// The request, as it came.
        incoming: Box<Incoming>,
    },
    /// To the dead-letter topic.
    Refuse {
        /// Why.
        refusal: Refusal,
        /// The record, as it came.
        incoming: Box<Incoming>,
    },
}

/// Decides.
#[must_use]
pub fn route(incoming: Incoming, now_ms: EpochMs, policy: &Policy) -> Decision {
    match judge(&incoming, now_ms, policy) {
        Ok(Verdict::Cancel(id)) => Decision::Cancel {
            id,
            incoming: Box::new(incoming),
        },
        Ok(Verdict::Schedule {
            due_ms,
            timestamp_ms,
            priority,
            output_topic,
            id,
            key,
            limit,
            replaces,
        }) => {
            let record = Box::new(Scheduled {
                path: match path(due_ms, now_ms, policy) {
                    // Only the emitter keeps to a rate.
                    Path::Direct if limit.is_some() => Path::Short,
                    path => path,
                },
                source: incoming.source,
                output_topic,
                priority,
                due_ms,
                timestamp_ms,
                id,
                record: Record {
                    headers: policy.names.strip(incoming.record.headers),
                    key: key.or(incoming.record.key),
                    value: incoming.record.value,
                },
                payload: None,
                limit,
            });
            match replaces {
                Some(replaces) => Decision::Replace { record, replaces },
                None => Decision::Schedule(record),
            }
        }
        Err(refusal) => Decision::Refuse {
            refusal,
            incoming: Box::new(incoming),
        },
    }
}

/// Which way a record goes that is due at `due_ms`.
#[must_use]
pub fn path(due_ms: EpochMs, now_ms: EpochMs, policy: &Policy) -> Path {
    let wait_ms = due_ms.saturating_sub(now_ms);
    if wait_ms <= policy.direct_ms {
        return Path::Direct;
    }
    let bucket_start_ms = Bucket::of(due_ms, policy.bucket_ms).start_ms(policy.bucket_ms);
    if wait_ms < policy.short_ms || bucket_start_ms.saturating_sub(now_ms) < policy.long_room_ms {
        return Path::Short;
    }
    Path::Long
}

enum Verdict {
    Schedule {
        due_ms: EpochMs,
        timestamp_ms: EpochMs,
        priority: Priority,
        output_topic: Arc<str>,
        id: Option<Arc<str>>,
        key: Option<Bytes>,
        limit: Option<Arc<str>>,
        replaces: Option<(i32, i64)>,
    },
    Cancel(Arc<str>),
}

fn judge(incoming: &Incoming, now_ms: EpochMs, policy: &Policy) -> Result<Verdict, Refusal> {
    if let Some(reason) = &incoming.malformed {
        return Err(Refusal::new("malformed-record", reason.clone()));
    }
    let controls = read(&incoming.record, &policy.names)?;
    if let (ControlAction::Cancel, Some(id)) = (controls.action, &controls.id) {
        return Ok(Verdict::Cancel(id.clone()));
    }
    let timestamp_ms = incoming.timestamp_ms.ok_or_else(|| {
        Refusal::new("no-timestamp", "the record has no Kafka timestamp: set message.timestamp.type=LogAppendTime on the delay topic")
    })?;
    let ahead_ms = timestamp_ms.saturating_sub(now_ms);
    if ahead_ms > policy.max_timestamp_skew_ms {
        return Err(Refusal::new(
            "timestamp-skew",
            format!(
                "the record's timestamp is {ahead_ms} ms in the future: mend the producer's clock, or set message.timestamp.type=LogAppendTime on the delay topic"
            ),
        ));
    }
    let delay_topic = incoming.source.at.topic.as_ref();
    let message_type = LazyCell::new(|| incoming.record.header_text(&policy.message_type_header));
    let asked = controls.target;
    let canary = policy
        .canary_topic
        .as_ref()
        .filter(|topic| asked == Some(topic));
    // A canary shows how the paths are, not what a route makes of them.
    let mut routes = policy.routes.iter().filter(|_| canary.is_none());
    let route = routes.find(|route| {
        let target = asked
            .or(route.target.as_deref())
            .or(policy.default_target.as_deref());
        route.is_for(delay_topic, target, *message_type)
    });
    let priority = controls
        .priority
        .or_else(|| route?.priority)
        .unwrap_or(Priority::Standard);
    let due_ms = due_ms(controls.due, timestamp_ms, priority, route);
    let max_delay_ms = route
        .and_then(|route| route.max_delay_ms)
        .unwrap_or(policy.max_delay_ms);
    let delay_ms = due_ms.saturating_sub(timestamp_ms);
    if delay_ms > max_delay_ms {
        let setting = match route {
            Some(route) if route.max_delay_ms.is_some() => {
                format!("max_delay of route {:?}", route.name)
            }
            _ => "delays.max".to_owned(),
        };
        return Err(Refusal::new(
            "due-too-far",
            format!(
                "due {delay_ms} ms after the record's timestamp; the limit is {max_delay_ms} ms ({setting})"
            ),
        ));
    }
    let spread_ms = route.map_or(0, |route| route.spread_of(&incoming.source, priority));
    let due_ms = due_ms.saturating_add(spread_ms);
    let output_topic = match canary {
        Some(topic) => topic.clone(),
        None => output_topic(incoming, asked, priority, route, policy)?,
    };
    let size_bytes = incoming.record.payload_bytes() + ADDED_HEADERS_MAX_BYTES;
    if size_bytes > policy.message_max_bytes {
        return Err(Refusal::new(
            "record-too-large",
            format!(
                "{size_bytes} bytes with the headers that delayq adds; the limit is {} (kafka.message_max)",
                policy.message_max_bytes
            ),
        ));
    }
    Ok(Verdict::Schedule {
        due_ms,
        timestamp_ms,
        priority,
        output_topic,
        id: controls.id,
        key: controls.key,
        limit: route
            .filter(|route| route.limited)
            .map(|route| route.name.clone()),
        replaces: controls.replaces,
    })
}

/// When a record is due, before it is spread.
fn due_ms(
    asked: Option<Due>,
    timestamp_ms: EpochMs,
    priority: Priority,
    route: Option<&Route>,
) -> EpochMs {
    let after = |delay_ms| timestamp_ms.checked_add(delay_ms).unwrap_or(i64::MAX);
    let Some(route) = route else {
        return match asked {
            None => timestamp_ms,
            Some(Due::At(at_ms)) => at_ms,
            Some(Due::After(delay_ms)) => after(delay_ms),
        };
    };
    match asked {
        _ if priority == Priority::High && route.high == HighPriority::BypassAll => timestamp_ms,
        Some(Due::At(at_ms)) => at_ms,
        Some(Due::After(delay_ms)) => after(delay_ms),
        None => after(route.delay_ms(priority).unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Header, Source, TopicPartition};
    use crate::routes::RouteMatch;
    use globset::{Glob, GlobSetBuilder};
    use proptest::prelude::*;

    const NOW: i64 = 1_700_000_000_000;

    fn policy() -> Policy {
        Policy {
            names: HeaderNames::default(),
            allowed: GlobSetBuilder::new()
                .add(Glob::new("orders*").unwrap())
                .add(Glob::new("__*").unwrap())
                .build()
                .unwrap(),
            allowed_patterns: vec!["orders*".into(), "__*".into()],
            default_target: None,
            routes: vec![Route {
                matches: RouteMatch {
                    delay_topic: Some(Glob::new("defaulted.*").unwrap().compile_matcher()),
                    ..RouteMatch::default()
                },
                target: Some("orders".into()),
                ..Route::default()
            }],
            message_type_header: "message-type".into(),
            own_topics: BTreeSet::from(["orders.delay".to_owned(), "dead".to_owned()]),
            canary_topic: Some("canary".into()),
            output_template: "{target}.{priority}".into(),
            known_outputs: KnownOutputs::default(),
            max_delay_ms: 7 * 86_400_000,
            direct_ms: 2_000,
            short_ms: 900_000,
            max_timestamp_skew_ms: 60_000,
            message_max_bytes: 1_114_112,
            bucket_ms: 300_000,
            long_room_ms: 480_000,
        }
    }

    fn incoming(headers: &[(&str, &str)]) -> Incoming {
        Incoming {
            source: Source {
                at: TopicPartition::new("orders.delay", 1),
                offset: 9,
            },
            leader_epoch: Some(0),
            timestamp_ms: Some(NOW),
            record: Record {
                key: None,
                value: Some(Bytes::from_static(b"v")),
                headers: headers.iter().map(|(n, v)| Header::text(*n, *v)).collect(),
            },
            malformed: None,
        }
    }

    fn refused(incoming: Incoming) -> &'static str {
        match route(incoming, NOW, &policy()) {
            Decision::Refuse { refusal, .. } => refusal.code,
            other => panic!("not refused: {other:?}"),
        }
    }

    fn scheduled(headers: &[(&str, &str)]) -> Scheduled {
        match route(incoming(headers), NOW, &policy()) {
            Decision::Schedule(s) => *s,
            other => panic!("not scheduled: {other:?}"),
        }
    }

    #[test]
    fn paths_by_remaining_time() {
        for (delay, path) in [
            ("0", Path::Direct),
            ("2000", Path::Direct),
            ("2001", Path::Short),
            ("899999", Path::Short),
            ("900000", Path::Long),
            ("604800000", Path::Long),
        ] {
            assert_eq!(
                scheduled(&[("delay-ms", delay), ("delay-target", "orders")]).path,
                path,
                "{delay}"
            );
        }
        assert_eq!(
            scheduled(&[
                ("deliver-at-ms", "1000000000000"),
                ("delay-target", "orders")
            ])
            .path,
            Path::Direct,
            "a past due time"
        );
    }

    #[test]
    fn a_bucket_that_begins_too_soon_is_left_to_the_queues() {
        // Due in 900,000 ms, in a bucket that begins in 600,001 ms.
        let (now_ms, due_ms) = (299_999, 1_199_999);
        let with_room = |long_room_ms| {
            let policy = Policy {
                long_room_ms,
                ..policy()
            };
            super::path(due_ms, now_ms, &policy)
        };
        assert_eq!(with_room(600_001), Path::Long);
        assert_eq!(with_room(600_002), Path::Short);
        assert_eq!(with_room(900_000), Path::Short);
    }

    #[test]
    fn a_timestamp_may_be_ahead_by_the_skew_that_is_allowed() {
        let ahead = Incoming {
            timestamp_ms: Some(NOW + 60_000),
            ..incoming(&[("delay-target", "orders")])
        };
        assert!(matches!(
            route(ahead, NOW, &policy()),
            Decision::Schedule(_)
        ));
    }

    #[test]
    fn output_topics() {
        assert_eq!(
            &*scheduled(&[("delay-target", "orders"), ("delay-priority", "high")]).output_topic,
            "orders.high"
        );
        let mut defaulted = incoming(&[]);
        defaulted.source.at.topic = "defaulted.delay".into();
        let Decision::Schedule(s) = route(defaulted, NOW, &policy()) else {
            panic!("refused")
        };
        assert_eq!(&*s.output_topic, "orders.standard");
    }

    #[test]
    fn a_canary_needs_no_permission_and_no_route_decides_about_it() {
        let mut policy = policy();
        policy.routes.insert(
            0,
            Route {
                high: HighPriority::BypassAll,
                limited: true,
                output_template: Some("elsewhere.{target}".into()),
                ..Route::default()
            },
        );
        let headers = [
            ("delay-target", "canary"),
            ("delay-priority", "high"),
            ("delay-ms", "5000"),
        ];
        let Decision::Schedule(canary) = route(incoming(&headers), NOW, &policy) else {
            panic!("refused")
        };
        assert_eq!(&*canary.output_topic, "canary");
        assert_eq!((canary.path, canary.due_ms), (Path::Short, NOW + 5_000));
        assert_eq!(canary.limit, None);
        // What others send does not come out there, and without canaries the name is nobody's.
        policy.routes.clear();
        policy.output_template = "canary{priority}".replace("{priority}", "");
        let Decision::Refuse { refusal, .. } =
            route(incoming(&[("delay-target", "orders")]), NOW, &policy)
        else {
            panic!("an output of delayq's own")
        };
        assert_eq!(refusal.code, "target-not-allowed");
        policy.canary_topic = None;
        let refused = route(incoming(&headers), NOW, &policy);
        assert!(matches!(refused, Decision::Refuse { .. }));
    }

    #[test]
    fn refusals() {
        assert_eq!(refused(incoming(&[])), "missing-target");
        assert_eq!(
            refused(incoming(&[("delay-target", "payments")])),
            "target-not-allowed"
        );
        assert_eq!(
            refused(incoming(&[("delay-target", "orders.delay")])),
            "target-not-allowed"
        );
        assert_eq!(
            refused(incoming(&[("delay-target", "__consumer_offsets")])),
            "target-not-allowed"
        );
        assert_eq!(
            refused(incoming(&[("delay-target", "orders/../x")])),
            "invalid-target"
        );
        assert_eq!(
            refused(incoming(&[("delay-target", "orders\r\nx")])),
            "invalid-target"
        );
        assert_eq!(
            refused(incoming(&[
                ("delay-target", "orders"),
                ("delay-ms", "604800001")
            ])),
            "due-too-far"
        );
        assert_eq!(
            refused(incoming(&[
                ("delay-target", "orders"),
                ("delay-ms", &i64::MAX.to_string())
            ])),
            "due-too-far"
        );
        assert_eq!(
            refused(Incoming {
                timestamp_ms: None,
                ..incoming(&[("delay-target", "orders")])
            }),
            "no-timestamp"
        );
        assert_eq!(
            refused(Incoming {
                timestamp_ms: Some(NOW + 60_001),
                ..incoming(&[("delay-target", "orders")])
            }),
            "timestamp-skew"
        );
        assert_eq!(
            refused(Incoming {
                malformed: Some("x".into()),
                ..incoming(&[("delay-target", "orders")])
            }),
            "malformed-record"
        );
        let mut large = incoming(&[("delay-target", "orders")]);
        large.record.value = Some(Bytes::from(vec![0; 1_114_112]));
        assert_eq!(refused(large), "record-too-large");
    }

    #[test]
    fn the_largest_record_has_room_for_the_headers_that_are_added() {
        let of_bytes = |bytes: usize| {
            let mut one = incoming(&[("delay-target", "orders")]);
            let others = one.record.payload_bytes() - 1;
            one.record.value = Some(Bytes::from(vec![0; bytes - others]));
            one
        };
        let largest = policy().message_max_bytes - ADDED_HEADERS_MAX_BYTES;
        let fits = route(of_bytes(largest), NOW, &policy());
        assert!(matches!(fits, Decision::Schedule(_)), "{fits:?}");
        assert_eq!(refused(of_bytes(largest + 1)), "record-too-large");
    }

    fn by(route: Route, headers: &[(&str, &str)]) -> Decision {
        let policy = Policy {
            routes: vec![route],
            ..policy()
        };
        super::route(incoming(headers), NOW, &policy)
    }

    fn due_after(route: &Route, headers: &[(&str, &str)]) -> i64 {
        match by(route.clone(), headers) {
            Decision::Schedule(s) => s.due_ms - NOW,
            other => panic!("not scheduled: {other:?}"),
        }
    }

    #[test]
    fn a_routes_delay_is_for_those_who_ask_for_none_and_high_bypasses_it() {
        let mut route = Route {
            standard_delay_ms: Some(60_000),
            low_delay_ms: Some(600_000),
            ..Route::default()
        };
        let to = ("delay-target", "orders");
        let (high, low, asked) = (
            ("delay-priority", "high"),
            ("delay-priority", "low"),
            ("delay-ms", "5000"),
        );
        assert_eq!(due_after(&route, &[to]), 60_000);
        assert_eq!(due_after(&route, &[to, low]), 600_000);
        assert_eq!(due_after(&route, &[to, high]), 0);
        assert_eq!(due_after(&route, &[to, asked]), 5_000);
        assert_eq!(
            due_after(&route, &[to, high, asked]),
            5_000,
            "asked for explicitly"
        );
        route.high = HighPriority::BypassAll;
        assert_eq!(due_after(&route, &[to, high, asked]), 0);
        assert_eq!(due_after(&route, &[to, low, asked]), 5_000);
        route.priority = Some(Priority::High);
        assert_eq!(
            due_after(&route, &[to]),
            0,
            "the route's priority is the record's"
        );
    }

    #[test]
    fn a_route_has_its_own_output_limit_and_longest_delay() {
        let route = Route {
            name: "slow".into(),
            output_template: Some("{target}".into()),
            max_delay_ms: Some(1_000),
            limited: true,
            ..Route::default()
        };
        let Decision::Schedule(s) = by(route.clone(), &[("delay-target", "orders")]) else {
            panic!("refused")
        };
        assert_eq!(
            (&*s.output_topic, s.limit.as_deref()),
            ("orders", Some("slow"))
        );
        assert_eq!(s.path, Path::Short, "only the emitter keeps to a rate");
        let far = [("delay-target", "orders"), ("delay-ms", "1001")];
        let Decision::Refuse { refusal, .. } = by(route.clone(), &far) else {
            panic!("not refused")
        };
        assert!(
            refusal.code == "due-too-far" && refusal.detail.contains("slow"),
            "{refusal}"
        );
        let without = Route {
            max_delay_ms: None,
            ..route
        };
        let far = [("delay-target", "orders"), ("delay-ms", "604800001")];
        let Decision::Refuse { refusal, .. } = by(without, &far) else {
            panic!("not refused")
        };
        assert!(refusal.detail.contains("(delays.max)"), "{refusal}");
    }

    #[test]
    fn message_types_are_told_apart_and_their_header_passed_on() {
        let route = Route {
            matches: RouteMatch {
                message_type: Some("reminder".into()),
                ..RouteMatch::default()
            },
            standard_delay_ms: Some(9_000),
            ..Route::default()
        };
        let to = ("delay-target", "orders");
        assert_eq!(
            due_after(&route, &[to, ("message-type", "reminder")]),
            9_000
        );
        assert_eq!(due_after(&route, &[to, ("message-type", "other")]), 0);
        assert_eq!(due_after(&route, &[to]), 0);
        let Decision::Schedule(s) = by(route, &[to, ("message-type", "reminder")]) else {
            panic!("refused")
        };
        assert_eq!(s.record.header_text("message-type"), Some("reminder"));
    }

    #[test]
    fn the_added_headers_stay_within_their_bound() {
        let mut s = scheduled(&[
            ("delay-target", "orders"),
            ("delay-id", &"x".repeat(crate::headers::ID_MAX_BYTES)),
        ]);
        s.source = Source {
            at: TopicPartition::new("t".repeat(249), i32::MAX),
            offset: i64::MAX,
        };
        s.due_ms = i64::MAX;
        assert!(
            s.to_output().record.payload_bytes() - s.record.payload_bytes()
                <= ADDED_HEADERS_MAX_BYTES
        );
    }

    proptest! {
        #[test]
        fn the_due_time_is_a_function_of_the_record(delay in 0i64..604_800_000, lag in 0i64..10_000_000) {
            let at = |now| match route(incoming(&[("delay-target", "orders"), ("delay-ms", &delay.to_string())]), now, &policy()) {
                Decision::Schedule(s) => s.due_ms,
                other => panic!("{other:?}"),
            };
            prop_assert_eq!(at(NOW), NOW + delay);
            prop_assert_eq!(at(NOW + lag), NOW + delay, "consumer lag never lengthens a delay");
        }

        #[test]
        fn a_long_record_has_room_before_its_lead(due in 0i64..2_000_000_000, now in 0i64..2_000_000_000) {
            let policy = policy();
            match path(due, now, &policy) {
                Path::Long => prop_assert!(Bucket::of(due, policy.bucket_ms).start_ms(policy.bucket_ms) - now >= policy.long_room_ms),
                Path::Direct => prop_assert!(due - now <= policy.direct_ms),
                Path::Short => prop_assert!(due - now > policy.direct_ms),
            }
        }
    }
}
