//! `[topics]`: what is consumed, what may be a target, where refusals go.

use std::collections::BTreeSet;

use globset::{Glob, GlobSet, GlobSetBuilder};
use serde::{Deserialize, Serialize};

use super::fault::ConfigErrors;
use super::values::list;

/// The priorities by name, as they stand in an output topic.
const PRIORITIES: [&str; 3] = ["high", "standard", "low"];

/// `[topics]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicsConfig {
    /// The delay topics to consume, at least one. Default `["delayq.delay"]`.
    #[serde(deserialize_with = "list")]
    pub delay: Vec<String>,
    /// Where refused records go, with the reason. Default `delayq.dead-letters`.
    pub dead_letter: String,
    /// Targets that producers may ask for, as globs such as `orders.*`. Has no default that works: name them.
    #[serde(deserialize_with = "list")]
    pub allow: Vec<String>,
    /// Target of records that name none; none by default, and such records are refused.
    pub default_target: Option<String>,
    /// Output topic; `{target}` (once) and `{priority}` are replaced. Default `{target}.{priority}`.
    pub output: String,
}

impl Default for TopicsConfig {
    fn default() -> Self {
        Self {
            delay: vec!["delayq.delay".to_owned()],
            dead_letter: "delayq.dead-letters".to_owned(),
            allow: Vec::new(),
            default_target: None,
            output: "{target}.{priority}".to_owned(),
        }
    }
}

impl TopicsConfig {
    /// The delay topics and the dead-letter topic: never a target, never an output.
    #[must_use]
    pub fn own(&self) -> BTreeSet<String> {
        self.delay
            .iter()
            .chain([&self.dead_letter])
            .cloned()
            .collect()
    }

    /// The allowlist, compiled.
    ///
    /// # Errors
    /// A glob that cannot be read; never after [`super::Config::validate`].
    pub fn allowed(&self) -> Result<GlobSet, globset::Error> {
        let mut set = GlobSetBuilder::new();
        for pattern in &self.allow {
            set.add(Glob::new(pattern)?);
        }
        set.build()
    }

    pub(super) fn check(&self, faults: &mut ConfigErrors) {
        self.check_names(faults);
        self.check_allow(faults);
        self.check_template(faults);
        self.check_outputs(faults);
        self.check_default_target(faults);
    }

    fn check_names(&self, faults: &mut ConfigErrors) {
        if self.delay.is_empty() {
            faults.add(
                &["topics.delay"],
                "no delay topic to consume",
                "name at least one",
            );
        }
        let mut seen = BTreeSet::new();
        for topic in &self.delay {
            topic_name(faults, "topics.delay", topic);
            if !seen.insert(topic) {
                faults.add(
                    &["topics.delay"],
                    format!("\"{topic}\" is listed twice"),
                    "list it once",
                );
            }
        }
        topic_name(faults, "topics.dead_letter", &self.dead_letter);
        if self.delay.contains(&self.dead_letter) {
            // Each refusal would be consumed again and refused again, for ever.
            faults.add(
                &["topics.dead_letter", "topics.delay"],
                format!("\"{}\" is a delay topic as well", self.dead_letter),
                "give dead letters a topic of their own",
            );
        }
    }

    fn check_allow(&self, faults: &mut ConfigErrors) {
        if self.allow.is_empty() {
            faults.add(
                &["topics.allow"],
                "no target is allowed, so every record would be refused",
                "list the target topics that producers may ask for, as globs such as [\"orders.*\", \"billing\"]",
            );
        }
        for pattern in &self.allow {
            if let Err(error) = Glob::new(pattern) {
                faults.add(
                    &["topics.allow"],
                    format!("\"{pattern}\" is not a glob: {}", error.kind()),
                    "mend it; * stands for any text, ? for one character, {a,b} for either",
                );
            }
        }
    }

    fn check_template(&self, faults: &mut ConfigErrors) {
        template(faults, "topics.output", &self.output);
    }

    /// An output that is a delay topic would be a loop; one that is the dead-letter topic would pass for a refusal.
    /// The template has one `{target}`, so the only target that could make a given topic is what is left between its
    /// prefix and suffix: the answer is exact, not a guess.
    fn check_outputs(&self, faults: &mut ConfigErrors) {
        let Ok(allowed) = self.allowed() else { return };
        let own = self.own();
        // A template without a priority says the same three times.
        let mut told = BTreeSet::new();
        for priority in PRIORITIES {
            let template = self.output.replace("{priority}", priority);
            let Some((prefix, suffix)) = template.split_once("{target}") else {
                return;
            };
            for topic in &own {
                let target = topic
                    .strip_prefix(prefix)
                    .and_then(|rest| rest.strip_suffix(suffix))
                    .unwrap_or_default();
                // A target that is itself one of these is refused record by record: `*` may be allowed.
                if target.is_empty()
                    || own.contains(target)
                    || !allowed.is_match(target)
                    || !told.insert((topic, target.to_owned()))
                {
                    continue;
                }
                faults.add(
                    &["topics.output", "topics.allow"],
                    format!(
                        "the allowed target \"{target}\" at priority {priority} would be published to \"{topic}\", one of delayq's own topics"
                    ),
                    "change the template, rename the topic, or narrow the allowlist",
                );
            }
        }
    }

    fn check_default_target(&self, faults: &mut ConfigErrors) {
        let Some(target) = &self.default_target else {
            return;
        };
        let key = "topics.default_target";
        topic_name(faults, key, target);
        if self.own().contains(target) {
            faults.add(
                &[key],
                format!("\"{target}\" is one of delayq's own topics"),
                "name another topic",
            );
        } else if !self.allow.is_empty()
            && self
                .allowed()
                .is_ok_and(|allowed| !allowed.is_match(target))
        {
            faults.add(
                &[key, "topics.allow"],
                format!("\"{target}\" is not allowed as a target"),
                "add it to topics.allow",
            );
        }
    }
}

/// The rule for the template of an output topic.
pub(super) fn template(faults: &mut ConfigErrors, key: &str, output: &str) {
    if output.matches("{target}").count() != 1 {
        faults.add(
            &[key],
            format!("\"{output}\" must contain {{target}} once"),
            "write it as \"{target}.{priority}\" or \"{target}\"",
        );
    }
    let rest = output.replace("{target}", "").replace("{priority}", "");
    if !rest.chars().all(is_topic_char) {
        faults.add(
            &[key],
            format!(
                "\"{output}\" has more in it than {{target}}, {{priority}} and the characters of a topic name"
            ),
            "use only the placeholders {target} and {priority}, letters, digits and . _ -",
        );
    }
}

const fn is_topic_char(char: char) -> bool {
    char.is_ascii_alphanumeric() || matches!(char, '.' | '_' | '-')
}

/// Kafka's rule (`org.apache.kafka.common.internals.Topic`): 1 to 249 of letters, digits, `.`, `_`, `-`; not `.` or `..`.
pub(super) fn topic_name(faults: &mut ConfigErrors, key: &str, topic: &str) {
    let legal = (1..=249).contains(&topic.len())
        && topic.chars().all(is_topic_char)
        && topic != "."
        && topic != "..";
    if !legal {
        faults.add(
            &[key],
            format!("\"{topic}\" is not a topic name"),
            "use 1 to 249 letters, digits and . _ -",
        );
    } else if topic.starts_with("__") {
        faults.add(
            &[key],
            format!("\"{topic}\" is one of Kafka's internal topics"),
            "use a name that does not start with __",
        );
    }
}
