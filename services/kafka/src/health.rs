//! What is wrong with the connection, as far as is known; tells only changes. Pure.

use std::collections::BTreeMap;

use delayq_core::error::{ErrorClass, PortError};
use delayq_core::ports::SourceEvent;

/// What is wrong, by what would mend it.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// No broker, no authentication: mended by any answer.
    broker: Option<PortError>,
    /// The group refuses us: mended by an assignment.
    group: Option<PortError>,
    /// Topics that are missing or forbidden: mended by metadata that shows them.
    topics: BTreeMap<String, PortError>,
    told: Option<PortError>,
}

impl Health {
    pub(crate) fn broker_failed(&mut self, error: PortError) {
        // "All brokers down" follows every refused authentication; the cause is worth more than the consequence.
        let keeps = self.broker.as_ref().is_some_and(|known| {
            known.class == ErrorClass::Misconfigured && error.class != ErrorClass::Misconfigured
        });
        if !keeps {
            self.broker = Some(error);
        }
    }

    pub(crate) fn broker_answered(&mut self) {
        self.broker = None;
    }

    pub(crate) fn group_failed(&mut self, error: PortError) {
        self.group = Some(error);
    }

    /// Records or an assignment: broker and group are well.
    pub(crate) fn group_answered(&mut self) {
        self.broker = None;
        self.group = None;
    }

    pub(crate) fn topic_failed(&mut self, topic: &str, error: PortError) {
        self.topics.insert(topic.to_owned(), error);
    }

    pub(crate) fn topic_found(&mut self, topic: &str) {
        self.topics.remove(topic);
    }

    /// What to report now; a topic is named before nothing, the broker before all.
    pub(crate) fn problem(&self) -> Option<&PortError> {
        self.broker
            .as_ref()
            .or(self.group.as_ref())
            .or_else(|| self.topics.values().next())
    }

    /// The event to send, if there is news.
    pub(crate) fn news(&mut self) -> Option<SourceEvent> {
        let now = self.problem().cloned();
        if now == self.told {
            return None;
        }
        self.told.clone_from(&now);
        Some(now.map_or(SourceEvent::Healthy, SourceEvent::Unhealthy))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(class: ErrorClass, detail: &str) -> PortError {
        PortError::new(class, "kafka consumer", detail)
    }

    fn told(health: &mut Health) -> Option<String> {
        health.news().map(|event| match event {
            SourceEvent::Unhealthy(error) => error.detail,
            SourceEvent::Healthy => "healthy".to_owned(),
            other => format!("{other:?}"),
        })
    }

    #[test]
    fn only_changes_are_told() {
        let mut health = Health::default();
        assert_eq!(told(&mut health), None);
        health.broker_failed(error(ErrorClass::Transient, "down"));
        assert_eq!(told(&mut health).as_deref(), Some("down"));
        health.broker_failed(error(ErrorClass::Transient, "down"));
        assert_eq!(told(&mut health), None);
        health.broker_answered();
        assert_eq!(told(&mut health).as_deref(), Some("healthy"));
        assert_eq!(told(&mut health), None);
    }

    #[test]
    fn the_cause_outlives_its_consequence() {
        let mut health = Health::default();
        health.broker_failed(error(ErrorClass::Misconfigured, "password"));
        health.broker_failed(error(ErrorClass::Transient, "down"));
        assert_eq!(told(&mut health).as_deref(), Some("password"));
    }

    #[test]
    fn a_missing_topic_stays_until_it_is_seen() {
        let mut health = Health::default();
        health.topic_failed("a", error(ErrorClass::Misconfigured, "a is missing"));
        assert_eq!(told(&mut health).as_deref(), Some("a is missing"));
        health.group_answered();
        assert_eq!(told(&mut health), None, "records of b say nothing about a");
        health.topic_found("a");
        assert_eq!(told(&mut health).as_deref(), Some("healthy"));
    }

    #[test]
    fn metadata_says_nothing_about_the_group() {
        let mut health = Health::default();
        health.group_failed(error(ErrorClass::Misconfigured, "forbidden"));
        health.broker_answered();
        assert_eq!(told(&mut health).as_deref(), Some("forbidden"));
        health.group_answered();
        assert_eq!(told(&mut health).as_deref(), Some("healthy"));
    }
}
