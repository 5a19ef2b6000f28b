//! Which letters a command is about: places, and filters that must all agree.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::DateTime;
use delayq_core::clock::EpochMs;
use globset::{Glob, GlobSet, GlobSetBuilder};

use super::position::Position;

/// Filters; a letter must pass each kind that is given.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct FilterArgs {
    /// Only with this reason (`delay-error`), as a glob; may be repeated, one of them must match.
    #[arg(long, value_name = "GLOB", value_parser = glob)]
    pub reason: Vec<Glob>,
    /// Only for this target or output topic, as a glob; may be repeated, one of them must match.
    #[arg(long, value_name = "GLOB", value_parser = glob)]
    pub target: Vec<Glob>,
    /// Only from this place (topic/partition/offset), as a glob such as `orders.delay/*`; may be repeated.
    #[arg(long, value_name = "GLOB", value_parser = glob)]
    pub source: Vec<Glob>,
    /// Only dead-lettered at this time or later: RFC 3339 with offset, or how long ago (2h, 3d).
    #[arg(long, value_name = "TIME", value_parser = when)]
    pub since: Option<When>,
    /// Only dead-lettered before this time: RFC 3339 with offset, or how long ago (2h, 3d).
    #[arg(long, value_name = "TIME", value_parser = when)]
    pub until: Option<When>,
}

/// A time, or how long ago it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Epoch milliseconds.
    At(EpochMs),
    /// Before now.
    Ago(Duration),
}

impl When {
    fn at_ms(self, now_ms: EpochMs) -> EpochMs {
        match self {
            Self::At(ms) => ms,
            Self::Ago(ago) => {
                now_ms.saturating_sub(i64::try_from(ago.as_millis()).unwrap_or(i64::MAX))
            }
        }
    }
}

fn when(text: &str) -> Result<When, String> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(When::At(time.timestamp_millis()));
    }
    humantime::parse_duration(text).map(When::Ago).map_err(|_| {
        "write a duration (30m, 2h, 3d) or RFC 3339 with an offset (2026-01-31T08:00:00+01:00)"
            .to_owned()
    })
}

fn glob(text: &str) -> Result<Glob, String> {
    Glob::new(text).map_err(|error| error.to_string())
}

/// What the filters look at.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Facts<'a> {
    pub(super) reason: Option<&'a str>,
    pub(super) target: Option<&'a str>,
    pub(super) output_topic: Option<&'a str>,
    pub(super) source: Option<&'a str>,
    pub(super) written_ms: Option<EpochMs>,
}

/// Filters and places, ready for use.
#[derive(Debug, Default)]
pub(super) struct Selection {
    places: BTreeSet<Position>,
    reason: Option<GlobSet>,
    target: Option<GlobSet>,
    source: Option<GlobSet>,
    since_ms: Option<EpochMs>,
    until_ms: Option<EpochMs>,
}

impl Selection {
    pub(super) fn new(
        args: &FilterArgs,
        places: &[Position],
        now_ms: EpochMs,
    ) -> Result<Self, globset::Error> {
        let (since_ms, until_ms) = (
            args.since.map(|when| when.at_ms(now_ms)),
            args.until.map(|when| when.at_ms(now_ms)),
        );
        Ok(Self {
            places: places.iter().copied().collect(),
            reason: set(&args.reason)?,
            target: set(&args.target)?,
            source: set(&args.source)?,
            since_ms,
            until_ms,
        })
    }

    /// Whether anything narrows it.
    pub(super) fn is_narrowed(&self) -> bool {
        let filters = [&self.reason, &self.target, &self.source];
        !self.places.is_empty()
            || filters.into_iter().any(Option::is_some)
            || self.since_ms.is_some()
            || self.until_ms.is_some()
    }

    /// The places in a partition that are asked for, if only places are: nothing after the last need be read.
    pub(super) fn last_place(&self, partition: i32) -> Option<Option<i64>> {
        if self.places.is_empty() {
            return None;
        }
        let here = self.places.iter().filter(|p| p.partition == partition);
        Some(here.map(|p| p.offset).max())
    }

    /// The places that were named.
    pub(super) fn places(&self) -> &BTreeSet<Position> {
        &self.places
    }

    pub(super) fn is_for(&self, at: Position, facts: &Facts<'_>) -> bool {
        (self.places.is_empty() || self.places.contains(&at)) && self.passes(facts)
    }

    /// The filters alone.
    pub(super) fn passes(&self, facts: &Facts<'_>) -> bool {
        let is = |set: &Option<GlobSet>, texts: &[Option<&str>]| match set {
            None => true,
            Some(set) => texts.iter().flatten().any(|text| set.is_match(text)),
        };
        is(&self.reason, &[facts.reason])
            && is(&self.target, &[facts.target, facts.output_topic])
            && is(&self.source, &[facts.source])
            && self
                .since_ms
                .is_none_or(|since| facts.written_ms.is_some_and(|at| at >= since))
            && self
                .until_ms
                .is_none_or(|until| facts.written_ms.is_some_and(|at| at < until))
    }
}

fn set(globs: &[Glob]) -> Result<Option<GlobSet>, globset::Error> {
    if globs.is_empty() {
        return Ok(None);
    }
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        set.add(glob.clone());
    }
    set.build().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000;
    const FACTS: Facts<'static> = Facts {
        reason: Some("publish-failed"),
        target: None,
        output_topic: Some("orders.high"),
        source: Some("d/0/5"),
        written_ms: Some(NOW - 3_600_000),
    };

    fn passes(args: &FilterArgs) -> bool {
        Selection::new(args, &[], NOW).unwrap().passes(&FACTS)
    }

    fn globs(texts: &[&str]) -> Vec<Glob> {
        texts.iter().map(|text| glob(text).unwrap()).collect()
    }

    #[test]
    fn each_kind_of_filter_must_agree_and_one_glob_of_a_kind_is_enough() {
        assert!(passes(&FilterArgs::default()));
        let mut args = FilterArgs {
            reason: globs(&["unknown-header", "publish-*"]),
            target: globs(&["orders*"]),
            source: globs(&["d/*"]),
            ..FilterArgs::default()
        };
        assert!(passes(&args));
        args.target = globs(&["payments*"]);
        assert!(!passes(&args));
    }

    #[test]
    fn times_are_from_and_up_to() {
        let at = |since: Option<&str>, until: Option<&str>| FilterArgs {
            since: since.map(|text| when(text).unwrap()),
            until: until.map(|text| when(text).unwrap()),
            ..FilterArgs::default()
        };
        assert!(passes(&at(Some("1h"), None)) && !passes(&at(Some("59m"), None)));
        assert!(!passes(&at(None, Some("1h"))) && passes(&at(None, Some("59m"))));
        assert!(passes(&at(Some("2023-11-14T22:13:20+01:00"), None)));
        assert!(!passes(&at(Some("2023-11-14T22:13:20Z"), None)));
        assert!(when("yesterday").is_err() && when("2026-01-31T08:00:00").is_err());
    }

    #[test]
    fn places_say_how_far_to_read() {
        let places = ["0/5", "0/9", "1/2"].map(|text| text.parse().unwrap());
        let selection = Selection::new(&FilterArgs::default(), &places, NOW).unwrap();
        assert!(selection.is_for(places[0], &FACTS) && selection.is_narrowed());
        assert_eq!(selection.last_place(0), Some(Some(9)));
        assert_eq!(selection.last_place(2), Some(None));
        let all = Selection::new(&FilterArgs::default(), &[], NOW).unwrap();
        assert!(all.last_place(0).is_none() && !all.is_narrowed());
    }
}
