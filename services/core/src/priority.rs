//! Priorities, and the order in which they are served under a backlog.

use std::fmt;

/// How urgent a record is. The order is the order of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Priority {
    /// First under a backlog.
    High,
    /// The default.
    Standard,
    /// Last under a backlog, but never starved.
    Low,
}

impl Priority {
    /// All priorities, most urgent first.
    pub const ALL: [Self; 3] = [Self::High, Self::Standard, Self::Low];

    /// The name used in headers, topics and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Standard => "standard",
            Self::Low => "low",
        }
    }

    /// Position in [`Priority::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Reads a name, or a JMS digit (7–9 high, 3–6 standard, 0–2 low).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "high" | "7" | "8" | "9" => Some(Self::High),
            "standard" | "3" | "4" | "5" | "6" => Some(Self::Standard),
            "low" | "0" | "1" | "2" => Some(Self::Low),
            _ => None,
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Picks whose turn it is: high before standard before low, except that each waiting lower priority
/// gets at least one turn in every `floor_every`.
#[derive(Debug, Clone)]
pub struct PriorityPicker {
    floor_every: u32,
    passed_over: [u32; 3],
}

impl PriorityPicker {
    /// `floor_every`: a waiting priority is passed over at most `floor_every - 1` times in a row (at least 2).
    #[must_use]
    pub fn new(floor_every: u32) -> Self {
        Self {
            floor_every: floor_every.max(2),
            passed_over: [0; 3],
        }
    }

    /// The priority to serve next among those that have something waiting.
    pub fn pick(&mut self, waiting: impl Fn(Priority) -> bool) -> Option<Priority> {
        // The longest-starved first, so that two starved priorities do not push each other out for ever.
        let starved = Priority::ALL
            .into_iter()
            .filter(|p| waiting(*p) && self.passed(*p) + 1 >= self.floor_every)
            .max_by_key(|p| (self.passed(*p), std::cmp::Reverse(p.index())));
        let chosen = starved.or_else(|| Priority::ALL.into_iter().find(|p| waiting(*p)))?;
        for p in Priority::ALL {
            if let Some(count) = self.passed_over.get_mut(p.index()) {
                *count = if p == chosen || !waiting(p) {
                    0
                } else {
                    *count + 1
                };
            }
        }
        Some(chosen)
    }

    fn passed(&self, p: Priority) -> u32 {
        self.passed_over.get(p.index()).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_and_jms_digits() {
        for p in Priority::ALL {
            assert_eq!(Priority::parse(p.as_str()), Some(p));
            assert_eq!(p.to_string(), p.as_str());
        }
        let digits: Vec<_> = (0..=9)
            .map(|d| Priority::parse(&d.to_string()).unwrap().as_str())
            .collect();
        assert_eq!(
            digits.join(" "),
            "low low low standard standard standard standard high high high"
        );
        for bad in ["", "HIGH", "10", "-1", " high", "urgent"] {
            assert_eq!(Priority::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn high_goes_first_and_low_keeps_its_floor() {
        let mut picker = PriorityPicker::new(10);
        let turns: Vec<_> = (0..100).filter_map(|_| picker.pick(|_| true)).collect();
        let count = |p| turns.iter().filter(|t| **t == p).count();
        assert_eq!(turns.first(), Some(&Priority::High));
        assert!(
            (78..=82).contains(&count(Priority::High)),
            "{}",
            count(Priority::High)
        );
        assert!(
            (9..=11).contains(&count(Priority::Standard))
                && (9..=11).contains(&count(Priority::Low))
        );
    }

    #[test]
    fn low_has_every_fourth_turn_of_a_floor_of_four() {
        let mut picker = PriorityPicker::new(4);
        let turns: Vec<_> = (0..8)
            .filter_map(|_| picker.pick(|p| p != Priority::Standard))
            .collect();
        let (high, low) = (Priority::High, Priority::Low);
        assert_eq!(turns, [high, high, high, low, high, high, high, low]);
    }

    proptest! {
        #[test]
        fn nobody_waits_longer_than_the_floor(floor in 3u32..20, waits in prop::collection::vec(0u8..8, 1..400)) {
            let mut picker = PriorityPicker::new(floor);
            let mut in_a_row = [0u32; 3];
            for mask in waits {
                let waiting = |p: Priority| mask & (1 << p.index()) != 0;
                let chosen = picker.pick(waiting);
                prop_assert_eq!(chosen.is_some(), mask != 0);
                if let Some(p) = chosen { prop_assert!(waiting(p)); }
                for p in Priority::ALL {
                    in_a_row[p.index()] = if Some(p) == chosen || !waiting(p) { 0 } else { in_a_row[p.index()] + 1 };
                    prop_assert!(in_a_row[p.index()] <= floor, "{p} passed over {} times", in_a_row[p.index()]);
                }
            }
        }
    }
}
