//! What an emitter may publish: what a router of the same policy could have decided on. A queue is no proof of who wrote to
//! it: whoever may send to it must not be able to write to every topic that delayq's Kafka user may write to.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use globset::GlobSet;

use crate::clock::EpochMs;
use crate::headers::Refusal;
use crate::priority::Priority;
use crate::record::Scheduled;
use crate::route::{Policy, is_topic_name};

/// However short the longest delay is: due times beyond it are refused only when they are this far away as well, so that a
/// limit may be lowered while records are under way.
const DUE_ALWAYS_ALLOWED_MS: i64 = 86_400_000;

/// Topics remembered as allowed, for each priority; then all are forgotten. Producers choose them, within `topics.allow`.
const KNOWN_TOPICS: usize = 10_000;

/// Which records may be published. A record under way was decided on by the policy of its time: see
/// `docs/dead-letters.md` on changing it.
#[derive(Debug, Clone)]
pub struct Outputs {
    allowed: GlobSet,
    allowed_patterns: String,
    own_topics: BTreeSet<String>,
    /// Where canaries come out; no target leads there.
    canary_topic: Option<Arc<str>>,
    /// Of output topics; `{target}` and `{priority}` stand for what they stand for in [`Policy::output_template`].
    templates: Vec<String>,
    due_max_ms: i64,
    known: Known,
}

/// Topics found to be allowed, by priority: what the policy says of them does not change, and most records come out of few.
#[derive(Debug, Clone, Default)]
struct Known(Arc<Mutex<[HashSet<Arc<str>>; Priority::ALL.len()]>>);

impl Known {
    fn has(&self, topic: &str, priority: Priority) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .get(priority.index())
            .is_some_and(|topics| topics.contains(topic))
    }

    fn add(&self, topic: &Arc<str>, priority: Priority) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(topics) = known.get_mut(priority.index()) {
            if topics.len() >= KNOWN_TOPICS {
                topics.clear();
            }
            topics.insert(topic.clone());
        }
    }
}

impl Outputs {
    /// What this policy can lead to.
    #[must_use]
    pub fn of(policy: &Policy) -> Self {
        let routes = &policy.routes;
        let templates = std::iter::once(&policy.output_template)
            .chain(routes.iter().filter_map(|r| r.output_template.as_ref()));
        let delays = routes
            .iter()
            .map(|r| {
                let delay_ms = r.max_delay_ms.unwrap_or(policy.max_delay_ms);
                delay_ms.saturating_add(r.spread_ms)
            })
            .chain([policy.max_delay_ms, DUE_ALWAYS_ALLOWED_MS]);
        Self {
            allowed: policy.allowed.clone(),
            allowed_patterns: policy.allowed_patterns.join(", "),
            own_topics: policy.own_topics.clone(),
            canary_topic: policy.canary_topic.clone(),
            templates: templates.cloned().collect(),
            due_max_ms: delays
                .max()
                .unwrap_or(DUE_ALWAYS_ALLOWED_MS)
                .saturating_add(policy.max_timestamp_skew_ms),
            known: Known::default(),
        }
    }

    /// Whether a record from a queue may be published.
    ///
    /// # Errors
    /// `output-not-allowed`, `output-too-far`: it is a dead letter.
    pub fn check(&self, record: &Scheduled, now_ms: EpochMs) -> Result<(), Refusal> {
        self.check_topic(&record.output_topic, record.priority)?;
        let ahead_ms = record.due_ms.saturating_sub(now_ms);
        if ahead_ms > self.due_max_ms {
            return Err(Refusal::new(
                "output-too-far",
                format!(
                    "due in {ahead_ms} ms, and no route allows more than {} ms: the message was forged, or delays.max was lowered while \
                     it was under way",
                    self.due_max_ms
                ),
            ));
        }
        Ok(())
    }

    fn check_topic(&self, output: &Arc<str>, priority: Priority) -> Result<(), Refusal> {
        if self.known.has(output, priority) {
            return Ok(());
        }
        if !self.leads_to(output, priority.as_str()) {
            return Err(Refusal::new(
                "output-not-allowed",
                format!(
                    "no allowed target leads to topic {output:?} (topics.allow: {}): the message was forged, or topics.allow, topics.output or \
                     a route's output changed while it was under way; to let such records through, allow {output:?} itself",
                    self.allowed_patterns
                ),
            ));
        }
        self.known.add(output, priority);
        Ok(())
    }

    fn leads_to(&self, output: &str, priority: &str) -> bool {
        if !self.may_be_written(output) {
            return false;
        }
        self.canary_topic.as_deref() == Some(output)
            || self.allowed.is_match(output)
            || self.templates.iter().any(|template| {
                let template = template.replace("{priority}", priority);
                match target_of(&template, output) {
                    Some(Some(target)) => {
                        self.may_be_written(target) && self.allowed.is_match(target)
                    }
                    Some(None) => true,
                    None => false,
                }
            })
    }

    fn may_be_written(&self, topic: &str) -> bool {
        is_topic_name(topic) && !topic.starts_with("__") && !self.own_topics.contains(topic)
    }
}

/// The target for which `template` becomes `output`; `Some(None)` where it does so for any target, `None` where for none.
fn target_of<'o>(template: &str, output: &'o str) -> Option<Option<&'o str>> {
    const TARGET: &str = "{target}";
    let Some((before, _)) = template.split_once(TARGET) else {
        return (template == output).then_some(None);
    };
    let times = template.matches(TARGET).count();
    let literal_bytes = template.len() - times * TARGET.len();
    let target_bytes = output.len().checked_sub(literal_bytes)? / times;
    let target = output.get(before.len()..before.len() + target_bytes)?;
    (template.replace(TARGET, target) == output).then_some(Some(target))
}

#[cfg(test)]
mod tests {
    use globset::{Glob, GlobSetBuilder};
    use proptest::prelude::*;

    use super::*;
    use crate::headers::HeaderNames;
    use crate::priority::Priority;
    use crate::record::{Header, Incoming, Record, Source, TopicPartition};
    use crate::route::{Decision, route};
    use crate::routes::{Route, RouteMatch};
    use crate::testing::scheduled;

    const NOW: i64 = 1_700_000_000_000;

    fn policy(output: &str, route_output: Option<&str>) -> Policy {
        let globs = ["orders*", "__*", "d*"];
        let mut allowed = GlobSetBuilder::new();
        for glob in globs {
            allowed.add(Glob::new(glob).unwrap());
        }
        Policy {
            names: HeaderNames::default(),
            allowed: allowed.build().unwrap(),
            allowed_patterns: globs.map(str::to_owned).into(),
            default_target: None,
            routes: vec![Route {
                name: "r".into(),
                matches: RouteMatch {
                    target: Some(Glob::new("orders-r*").unwrap().compile_matcher()),
                    ..RouteMatch::default()
                },
                output_template: route_output.map(str::to_owned),
                ..Route::default()
            }],
            message_type_header: "message-type".into(),
            own_topics: ["d".to_owned(), "dead".to_owned()].into(),
            canary_topic: Some("canary".into()),
            output_template: output.into(),
            known_outputs: crate::route::KnownOutputs::default(),
            max_delay_ms: 604_800_000,
            direct_ms: 2_000,
            short_ms: 900_000,
            max_timestamp_skew_ms: 60_000,
            message_max_bytes: 1_000_000,
            bucket_ms: 300_000,
            long_room_ms: 600_000,
        }
    }

    fn code(
        outputs: &Outputs,
        topic: &str,
        priority: Priority,
        due_ms: i64,
    ) -> Option<&'static str> {
        let mut record = scheduled(NOW);
        record.output_topic = topic.into();
        record.priority = priority;
        record.due_ms = due_ms;
        outputs
            .check(&record, NOW)
            .err()
            .map(|refusal| refusal.code)
    }

    #[test]
    fn only_what_a_target_leads_to_is_published() {
        let outputs = Outputs::of(&policy("{target}.{priority}", Some("r-{target}-{target}")));
        let at_high = |topic: &str| code(&outputs, topic, Priority::High, NOW);
        let allowed = [
            "orders.high",
            "orders",
            "orders-1.low",
            "r-orders-orders",
            "canary",
        ];
        for topic in allowed {
            assert_eq!(at_high(topic), None, "{topic}");
        }
        assert_eq!(code(&outputs, "da.standard", Priority::Standard, NOW), None);
        let nul = "orders\0.high";
        let long = format!("orders{}", "x".repeat(250));
        let refused = [
            "__consumer_offsets",
            "__orders.high",
            "d",
            "dead",
            "payments.high",
            "payments",
            "r-orders-orders2",
            "../orders",
            "orders/../x",
            "",
            ".",
            "or ders.high",
            "orders\n.high",
            nul,
            &long,
            "ördërs.high",
            "x.orders.high",
        ];
        for topic in refused {
            assert_eq!(at_high(topic), Some("output-not-allowed"), "{topic:?}");
        }
    }

    #[test]
    fn a_due_time_that_no_route_allows_is_refused_and_none_overflows() {
        let outputs = Outputs::of(&policy("{target}", None));
        let due = |due_ms| code(&outputs, "orders", Priority::Low, due_ms);
        for fine in [i64::MIN, -1, 0, NOW, NOW + 604_800_000, NOW + 604_860_000] {
            assert_eq!(due(fine), None, "{fine}");
        }
        for far in [NOW + 604_860_001, i64::MAX] {
            assert_eq!(due(far), Some("output-too-far"), "{far}");
        }
        let mut record = scheduled(i64::MAX);
        record.output_topic = "orders".into();
        assert!(outputs.check(&record, i64::MIN).is_err());
    }

    #[test]
    fn what_is_remembered_of_a_topic_is_of_its_priority() {
        let outputs = Outputs::of(&policy("late.{target}.{priority}", None));
        for _ in 0..2 {
            assert_eq!(code(&outputs, "late.orders.low", Priority::Low, NOW), None);
            let as_high = code(&outputs, "late.orders.low", Priority::High, NOW);
            assert_eq!(as_high, Some("output-not-allowed"));
        }
        assert!(outputs.known.has("late.orders.low", Priority::Low));
        assert!(!outputs.known.has("late.orders.low", Priority::High));
    }

    #[test]
    fn remembered_topics_are_bounded() {
        let known = Known::default();
        for n in 0..=KNOWN_TOPICS {
            known.add(&format!("t{n}").into(), Priority::Standard);
        }
        assert!(!known.has("t0", Priority::Standard));
        assert!(known.has(&format!("t{KNOWN_TOPICS}"), Priority::Standard));
    }

    #[test]
    fn a_fixed_output_needs_no_target() {
        let outputs = Outputs::of(&policy("all.{priority}", None));
        assert_eq!(code(&outputs, "all.low", Priority::Low, NOW), None);
        let other = code(&outputs, "all.high", Priority::Low, NOW);
        assert_eq!(other, Some("output-not-allowed"));
    }

    proptest! {
        /// Whatever a router decides on, an emitter of the same policy publishes.
        #[test]
        fn what_is_routed_may_be_published(
            target in "(orders|orders-r|da|d|dead|payments)[a-z.-]{0,6}",
            priority in "high|standard|low",
            delay in 0i64..700_000_000,
            template in "(\\{target\\}|a\\.\\{target\\}|\\{target\\}\\.\\{priority\\}|all-\\{priority\\}|\\{target\\}\\{target\\}-\\{priority\\})",
            route_template in prop::option::of("(\\{target\\}|x\\.\\{target\\}\\.\\{priority\\}\\.\\{target\\}|fixed)"),
        ) {
            let policy = policy(&template, route_template.as_deref());
            let incoming = Incoming {
                source: Source { at: TopicPartition::new("d", 0), offset: 1 },
                leader_epoch: None,
                timestamp_ms: Some(NOW),
                record: Record {
                    headers: vec![
                        Header::text("delay-target", target),
                        Header::text("delay-priority", priority),
                        Header::text("delay-ms", delay.to_string()),
                    ],
                    ..Record::default()
                },
                malformed: None,
            };
            if let Decision::Schedule(record) = route(incoming, NOW, &policy) {
                let decided: Arc<str> = record.output_topic.clone();
                prop_assert_eq!(Outputs::of(&policy).check(&record, NOW), Ok(()), "{}", decided);
            }
        }
    }
}
