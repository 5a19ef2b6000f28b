//! The output topic of a record: which target, whether it is allowed, what its name makes of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::headers::Refusal;
use crate::priority::Priority;
use crate::record::Incoming;
use crate::route::Policy;
use crate::routes::Route;

/// Where a record comes out, if it may: its target, or the route's, or the policy's, in the template.
pub(super) fn output_topic(
    incoming: &Incoming,
    asked: Option<&str>,
    priority: Priority,
    route: Option<&Route>,
    policy: &Policy,
) -> Result<Arc<str>, Refusal> {
    let delay_topic = incoming.source.at.topic.as_ref();
    let target = asked
        .or_else(|| route?.target.as_deref())
        .or(policy.default_target.as_deref())
        .ok_or_else(|| {
            Refusal::new(
                "missing-target",
                format!(
                    "set {} to the target topic ({delay_topic} has no configured one)",
                    policy.names.target
                ),
            )
        })?;
    let template = route
        .and_then(|route| route.output_template.as_ref())
        .unwrap_or(&policy.output_template);
    if let Some(known) = policy.known_outputs.get(target, priority, template) {
        return Ok(known);
    }
    let output = template
        .replace("{target}", target)
        .replace("{priority}", priority.as_str());
    for name in [target, output.as_str()] {
        if !is_topic_name(name) {
            return Err(Refusal::new(
                "invalid-target",
                format!(
                    "{name:?} is no topic name: 1–249 letters, digits, dots, hyphens and underscores"
                ),
            ));
        }
        let own = policy.own_topics.contains(name) || policy.canary_topic.as_deref() == Some(name);
        if own || name.starts_with("__") {
            return Err(Refusal::new(
                "target-not-allowed",
                format!("{name:?} is a topic of Kafka's or delayq's own"),
            ));
        }
    }
    if !policy.allowed.is_match(target) {
        let allowed = policy.allowed_patterns.join(", ");
        let meant = nearest(target, &policy.allowed_patterns)
            .map_or_else(String::new, |name| format!("; did you mean {name}?"));
        return Err(Refusal::new(
            "target-not-allowed",
            format!(
                "{target:?} is not an allowed target; allowed (topics.allow): {allowed}{meant}"
            ),
        ));
    }
    let output = Arc::from(output);
    policy
        .known_outputs
        .remember(target, priority, template, &output);
    Ok(output)
}

/// The pattern without wildcards that is the most like a name, if one is by a slip of the finger.
fn nearest<'a>(name: &str, patterns: &'a [String]) -> Option<&'a str> {
    const SLIP: usize = 2;
    let names = patterns.iter().filter(|pattern| is_topic_name(pattern));
    let distances = names.map(|pattern| (strsim::levenshtein(name, pattern), pattern.as_str()));
    let (_, pattern) = distances.filter(|(far, _)| *far <= SLIP).min()?;
    Some(pattern)
}

/// Kafka's rule for topic names.
/// <https://github.com/apache/kafka/blob/trunk/clients/src/main/java/org/apache/kafka/common/internals/Topic.java>
#[must_use]
pub fn is_topic_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..")
        && name.len() <= 249
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// Output topics by target, priority and template: what the policy says of them does not change, and to ask it for each record
/// would be a tenth of the router's work.
#[derive(Debug, Default)]
pub struct KnownOutputs(Mutex<OutputsByTarget>);

type OutputsByTarget = HashMap<Box<str>, Vec<KnownOutput>>;

#[derive(Debug)]
struct KnownOutput {
    priority: Priority,
    template: Box<str>,
    topic: Arc<str>,
}

/// Targets remembered; then all are forgotten. Producers choose them, within `topics.allow`.
const KNOWN_TARGETS: usize = 10_000;

impl Clone for KnownOutputs {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl KnownOutputs {
    fn get(&self, target: &str, priority: Priority, template: &str) -> Option<Arc<str>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |one: &&KnownOutput| one.priority == priority && *one.template == *template;
        known
            .get(target)
            .and_then(|of_target| of_target.iter().find(same))
            .map(|one| one.topic.clone())
    }

    fn remember(&self, target: &str, priority: Priority, template: &str, topic: &Arc<str>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_TARGETS {
            known.clear();
        }
        known.entry(target.into()).or_default().push(KnownOutput {
            priority,
            template: template.into(),
            topic: topic.clone(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_misspelt_is_told_from_one_that_is_another() {
        let patterns = ["order", "mail", "ord*"].map(str::to_owned);
        assert_eq!(nearest("orders", &patterns), Some("order"));
        assert_eq!(nearest("payments", &patterns), None);
    }

    #[test]
    fn an_output_is_known_by_target_priority_and_template() {
        let known = KnownOutputs::default();
        for (priority, template, topic) in [
            (Priority::High, "one", "x"),
            (Priority::Low, "one", "y"),
            (Priority::High, "two", "z"),
        ] {
            known.remember("a", priority, template, &Arc::from(topic));
        }
        let get = |target, priority, template| known.get(target, priority, template);
        assert_eq!(get("a", Priority::High, "one").as_deref(), Some("x"));
        assert_eq!(get("a", Priority::Low, "one").as_deref(), Some("y"));
        assert_eq!(get("a", Priority::High, "two").as_deref(), Some("z"));
        assert_eq!(get("a", Priority::Low, "two"), None);
        assert_eq!(get("b", Priority::High, "one"), None);
    }
}
