//! Routes: what the operator decided for a kind of record, by delay topic, target and message type.

use std::sync::Arc;

use globset::GlobMatcher;

use crate::clock::EpochMs;
use crate::priority::Priority;
use crate::record::Source;

/// What high priority leaves aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HighPriority {
    /// Delays that a route sets; a delay that the producer asks for is honoured.
    #[default]
    Bypass,
    /// All delays, the producer's own as well.
    BypassAll,
}

/// Which records a route is for: all that it names must hold, and nothing named means every record.
#[derive(Debug, Clone, Default)]
pub struct RouteMatch {
    /// Delay topic.
    pub delay_topic: Option<GlobMatcher>,
    /// Target, the default target included.
    pub target: Option<GlobMatcher>,
    /// Value of the message-type header.
    pub message_type: Option<String>,
}

/// A route. The first that matches decides; where it is silent, the general policy does.
#[derive(Debug, Clone, Default)]
pub struct Route {
    /// Name, for messages and for the limit of its rate; unique.
    pub name: Arc<str>,
    /// For which records.
    pub matches: RouteMatch,
    /// Target of records that name none. Only with `matches.target` empty: what a record asks for is matched first.
    pub target: Option<String>,
    /// Priority of records that name none.
    pub priority: Option<Priority>,
    /// Delay of standard records that ask for none, in ms.
    pub standard_delay_ms: Option<i64>,
    /// Delay of low records that ask for none, in ms.
    pub low_delay_ms: Option<i64>,
    /// What high priority leaves aside.
    pub high: HighPriority,
    /// Longest delay, in place of the general one.
    pub max_delay_ms: Option<i64>,
    /// Output topic, in place of the general one; `{target}` and `{priority}` are replaced.
    pub output_template: Option<String>,
    /// Standard and low records are spread over this much time after their due time; 0: not at all.
    pub spread_ms: i64,
    /// Whether the emitter limits its rate.
    pub limited: bool,
}

impl Route {
    /// Whether it is for such a record.
    #[must_use]
    pub fn is_for(
        &self,
        delay_topic: &str,
        target: Option<&str>,
        message_type: Option<&str>,
    ) -> bool {
        let RouteMatch {
            delay_topic: topics,
            target: targets,
            message_type: wanted,
        } = &self.matches;
        topics
            .as_ref()
            .is_none_or(|glob| glob.is_match(delay_topic))
            && targets
                .as_ref()
                .is_none_or(|glob| target.is_some_and(|t| glob.is_match(t)))
            && wanted.as_ref().is_none_or(|w| message_type == Some(w))
    }

    /// The delay of a record that asks for none.
    #[must_use]
    pub const fn delay_ms(&self, priority: Priority) -> Option<i64> {
        match priority {
            Priority::High => None,
            Priority::Standard => self.standard_delay_ms,
            Priority::Low => self.low_delay_ms,
        }
    }

    /// How long after its due time a record is published, by its source alone: the same for each attempt.
    #[must_use]
    pub fn spread_of(&self, source: &Source, priority: Priority) -> EpochMs {
        if self.spread_ms <= 0 || priority == Priority::High {
            return 0;
        }
        let topic = crc32c::crc32c(source.at.topic.as_bytes());
        let hash = crc32c::crc32c_append(topic, &source.at.partition.to_le_bytes());
        let hash = crc32c::crc32c_append(hash, &source.offset.to_le_bytes());
        // The fraction hash / 2³² of the window: the product fits, a window has fewer than 2³¹ ms.
        let window = u64::try_from(self.spread_ms).unwrap_or(0).min(1 << 31);
        i64::try_from((u64::from(hash) * window) >> 32).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::TopicPartition;
    use globset::Glob;

    fn glob(pattern: &str) -> Option<GlobMatcher> {
        Some(Glob::new(pattern).unwrap().compile_matcher())
    }

    #[test]
    fn all_that_is_named_must_hold() {
        let route = Route {
            matches: RouteMatch {
                delay_topic: None,
                target: glob("orders*"),
                message_type: Some("payment".into()),
            },
            ..Route::default()
        };
        assert!(route.is_for("d", Some("orders.eu"), Some("payment")));
        assert!(!route.is_for("d", Some("orders.eu"), None));
        assert!(!route.is_for("d", None, Some("payment")));
        assert!(!route.is_for("d", Some("bills"), Some("payment")));
        assert!(
            Route::default().is_for("d", None, None),
            "nothing named: every record"
        );
    }

    #[test]
    fn a_burst_is_spread_evenly_over_its_window_and_high_is_not() {
        let route = Route {
            spread_ms: 10_000,
            ..Route::default()
        };
        let of = |offset, priority| {
            let at = TopicPartition::new("d", 3);
            route.spread_of(&Source { at, offset }, priority)
        };
        let mut tenths = [0; 10];
        for offset in 0..10_000 {
            let after_ms = of(offset, Priority::Standard);
            tenths[usize::try_from(after_ms / 1000).unwrap()] += 1;
        }
        assert!(tenths.iter().all(|n| (900..1100).contains(n)), "{tenths:?}");
        assert_eq!(of(7, Priority::Low), of(7, Priority::Low));
        assert_eq!(of(7, Priority::High), 0);
    }
}
