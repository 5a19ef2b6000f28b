//! Tracked records: what the registry keeps of each id, and how that may change. Pure: the adapters carry it out as conditional
//! writes, so that of two changes to one row exactly one succeeds and the other decides anew on what it finds.
//!
//! A row is keyed by delay topic and id and holds the latest *version*, that is the latest record with that id. Once it is
//! `publishing` nothing makes it cancellable again: a claimant that is slow, or thought dead, may still publish.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::clock::EpochMs;
use crate::record::Scheduled;

mod row;

use row::expires_s;
pub use row::{
    Claim, Details, KEPT_MS, MessageKey, MessageRow, Publication, RowStamp, State, Version,
};

/// What follows from a row as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next<A> {
    /// Write this in its place; if that succeeds, the answer holds.
    Write(Box<MessageRow>, A),
    /// Nothing is to be written; the answer holds.
    Keep(A),
}

/// Why a version is not worked on any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// A later record has its id.
    Superseded,
    /// It was cancelled.
    Cancelled,
    /// It is published: this is another delivery of it.
    Published,
    /// It is a dead letter: this is another delivery of it.
    Dead,
    /// It was to take the place of a record that does not wait any more, or never did.
    NotReplaced,
}

impl Dropped {
    /// For metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Superseded => "superseded",
            Self::Cancelled => "cancelled",
            Self::Published => "published",
            Self::Dead => "dead",
            Self::NotReplaced => "not-replaced",
        }
    }

    const fn by(state: &State) -> Option<Self> {
        match state {
            State::Scheduled | State::Publishing(_) => None,
            State::Published(_) => Some(Self::Published),
            State::Cancelled { .. } => Some(Self::Cancelled),
            State::Dead { .. } => Some(Self::Dead),
        }
    }
}

/// The router has read a record: `Ok` to go on with it. `replaces`: partition and offset of the record that must still wait, or
/// else this one is dropped.
#[must_use]
pub fn register(
    current: Option<&MessageRow>,
    key: MessageKey,
    record: &Scheduled,
    replaces: Option<(i32, i64)>,
) -> Next<Result<(), Dropped>> {
    let first = MessageRow::first(key, record);
    let Some(current) = current else {
        return match replaces {
            None => Next::Write(Box::new(first), Ok(())),
            Some(_) => Next::Keep(Err(Dropped::NotReplaced)),
        };
    };
    if current.version.is_same(&first.version) {
        return Next::Keep(Dropped::by(&current.state).map_or(Ok(()), Err));
    }
    if current.version.order(&first.version) == Ordering::Greater {
        // A tombstone says why; else a later record has taken its place.
        let dropped = match (&current.state, &current.details) {
            (State::Cancelled { .. }, None) => Dropped::Cancelled,
            _ => Dropped::Superseded,
        };
        return Next::Keep(Err(dropped));
    }
    let waits = |place| {
        let at = (current.version.partition, current.version.offset);
        at == place && current.state == State::Scheduled
    };
    if !replaces.is_none_or(waits) {
        return Next::Keep(Err(Dropped::NotReplaced));
    }
    let row = MessageRow {
        revision: current.revision + 1,
        overlaps: matches!(current.state, State::Publishing(_)),
        expires_s: current.expires_s.max(first.expires_s),
        ..first
    };
    Next::Write(Box::new(row), Ok(()))
}

/// The answer to a cancel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CancelAnswer {
    /// Will never be published. Also when it had been cancelled before.
    Cancelled,
    /// Was published before.
    Published(Publication),
    /// Is being published: it was or will be published, or becomes a dead letter.
    TooLate,
    /// A later record has this id than the one that was meant.
    Superseded,
    /// Is a dead letter, by this code.
    Dead(String),
    /// No record with this id is known.
    Unknown,
}

impl CancelAnswer {
    /// As the API and metrics write it.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Published(_) => "published",
            Self::TooLate => "too_late",
            Self::Superseded => "superseded",
            Self::Dead(_) => "dead",
            Self::Unknown => "unknown",
        }
    }
}

fn cancel_state(current: &MessageRow, now_ms: EpochMs) -> Next<CancelAnswer> {
    Next::Keep(match &current.state {
        State::Scheduled => {
            let row = current.changed(State::Cancelled { at_ms: now_ms }, now_ms);
            return Next::Write(Box::new(row), CancelAnswer::Cancelled);
        }
        State::Publishing(_) => CancelAnswer::TooLate,
        State::Published(publication) => CancelAnswer::Published(*publication),
        State::Cancelled { .. } => CancelAnswer::Cancelled,
        State::Dead { reason, .. } => CancelAnswer::Dead(reason.clone()),
    })
}

/// A person or a program asks for a cancel of what is known now.
#[must_use]
pub fn cancel(current: Option<&MessageRow>, now_ms: EpochMs) -> Next<CancelAnswer> {
    current.map_or(Next::Keep(CancelAnswer::Unknown), |current| {
        cancel_state(current, now_ms)
    })
}

/// The router has read a cancel of `version`: of the records before it. It leaves a tombstone where it knows of none: the record
/// may be on its way through another partition.
#[must_use]
pub fn cancel_by_record(
    current: Option<&MessageRow>,
    key: MessageKey,
    version: Version,
    now_ms: EpochMs,
) -> Next<CancelAnswer> {
    let Some(current) = current else {
        let tombstone = MessageRow {
            key,
            version,
            revision: 1,
            details: None,
            state: State::Cancelled { at_ms: now_ms },
            overlaps: false,
            expires_s: expires_s(now_ms, version.appended_ms),
        };
        return Next::Write(Box::new(tombstone), CancelAnswer::Unknown);
    };
    if current.version.is_same(&version) {
        return Next::Keep(CancelAnswer::Unknown);
    }
    if current.version.order(&version) == Ordering::Greater {
        return Next::Keep(CancelAnswer::Superseded);
    }
    cancel_state(current, now_ms)
}

/// The answer to a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claimed {
    /// To be published by the claimant.
    Mine,
    /// Another holds it until then.
    Busy {
        /// When it may be taken.
        until_ms: EpochMs,
    },
    /// Not to be published.
    Dropped(Dropped),
    /// The registry knows nothing of this version, though its router had registered it: rows were lost.
    Missing,
}

/// Claims `version` for `by`, for `lease_ms`.
#[must_use]
pub fn claim(
    current: Option<&MessageRow>,
    version: &Version,
    by: &Arc<str>,
    lease_ms: i64,
    now_ms: EpochMs,
) -> Next<Claimed> {
    let Some(current) = current else {
        return Next::Keep(Claimed::Missing);
    };
    if !current.version.is_same(version) {
        return Next::Keep(match current.version.order(version) {
            Ordering::Greater => Claimed::Dropped(Dropped::Superseded),
            _ => Claimed::Missing,
        });
    }
    match &current.state {
        State::Publishing(held) if held.by != *by && now_ms < held.until_ms => {
            Next::Keep(Claimed::Busy {
                until_ms: held.until_ms,
            })
        }
        State::Scheduled | State::Publishing(_) => {
            let claim = Claim {
                by: by.clone(),
                at_ms: now_ms,
                until_ms: now_ms.saturating_add(lease_ms),
            };
            let row = current.changed(State::Publishing(claim), now_ms);
            Next::Write(Box::new(row), Claimed::Mine)
        }
        ended => Next::Keep(Dropped::by(ended).map_or(Claimed::Missing, Claimed::Dropped)),
    }
}

/// The end of `version`, confirmed by the broker: `state` is [`State::Published`] or [`State::Dead`]. It is written whoever holds
/// the claim, since it is a fact; a row that has gone on keeps what it says.
#[must_use]
pub fn finish(
    current: Option<&MessageRow>,
    version: &Version,
    state: &State,
    now_ms: EpochMs,
) -> Next<()> {
    let open = current.filter(|row| {
        row.version.is_same(version) && matches!(row.state, State::Scheduled | State::Publishing(_))
    });
    open.map_or(Next::Keep(()), |row| {
        Next::Write(Box::new(row.changed(state.clone(), now_ms)), ())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::scheduled;
    use proptest::prelude::*;

    const NOW: EpochMs = 1_700_000_000_000;
    const LEASE_MS: i64 = 30_000;

    fn key() -> MessageKey {
        MessageKey {
            topic: "orders.delay".into(),
            id: "o-1".into(),
        }
    }

    fn record(offset: i64) -> Scheduled {
        let mut record = scheduled(NOW + 60_000);
        record.id = Some("o-1".into());
        record.timestamp_ms = NOW + offset;
        record.source.offset = offset;
        record
    }

    fn version(offset: i64) -> Version {
        let one = record(offset);
        Version::of(&one.source, one.timestamp_ms)
    }

    /// Carries an answer out.
    fn carry<A>(row: &mut Option<MessageRow>, next: Next<A>) -> A {
        match next {
            Next::Write(new, answer) => {
                let before = row.as_ref().map_or(0, |row| row.revision);
                assert_eq!(new.revision, before + 1);
                *row = Some(*new);
                answer
            }
            Next::Keep(answer) => answer,
        }
    }

    struct Registry(Option<MessageRow>);

    impl Registry {
        fn register(&mut self, offset: i64) -> Result<(), Dropped> {
            let next = register(self.0.as_ref(), key(), &record(offset), None);
            carry(&mut self.0, next)
        }

        fn replace(&mut self, offset: i64, replaces: i64) -> Result<(), Dropped> {
            let place = (record(replaces).source.at.partition, replaces);
            let next = register(self.0.as_ref(), key(), &record(offset), Some(place));
            carry(&mut self.0, next)
        }

        fn cancel(&mut self) -> CancelAnswer {
            let next = cancel(self.0.as_ref(), NOW);
            carry(&mut self.0, next)
        }

        fn cancel_by_record(&mut self, offset: i64) -> CancelAnswer {
            let next = cancel_by_record(self.0.as_ref(), key(), version(offset), NOW);
            carry(&mut self.0, next)
        }

        fn claim(&mut self, offset: i64, by: &str, now_ms: EpochMs) -> Claimed {
            let by = by.into();
            let next = claim(self.0.as_ref(), &version(offset), &by, LEASE_MS, now_ms);
            carry(&mut self.0, next)
        }

        fn publish(&mut self, offset: i64) -> Publication {
            let publication = Publication {
                at_ms: NOW + 60_001,
                partition: 4,
                offset: offset * 10,
            };
            let state = State::Published(publication);
            let next = finish(self.0.as_ref(), &version(offset), &state, NOW);
            carry(&mut self.0, next);
            publication
        }

        fn state(&self) -> &'static str {
            self.0.as_ref().map_or("none", |row| row.state.as_str())
        }
    }

    #[test]
    fn a_record_read_twice_is_one_version_and_ends_once() {
        let mut registry = Registry(None);
        assert_eq!(registry.register(5), Ok(()));
        assert_eq!(registry.register(5), Ok(()), "read again");
        assert_eq!(registry.claim(5, "a", NOW), Claimed::Mine);
        assert_eq!(registry.register(5), Ok(()), "not ended: work goes on");
        registry.publish(5);
        assert_eq!(registry.register(5), Err(Dropped::Published));
        assert_eq!(
            registry.claim(5, "b", NOW),
            Claimed::Dropped(Dropped::Published)
        );
        assert_eq!(registry.register(9), Ok(()), "after an end: a new schedule");
        assert_eq!(registry.state(), "scheduled");
    }

    #[test]
    fn the_last_version_wins_whatever_the_order_of_arrival() {
        for order in [[5, 9], [9, 5]] {
            let mut registry = Registry(None);
            let answers = order.map(|offset| registry.register(offset));
            let expected = if order[0] == 5 {
                [Ok(()), Ok(())]
            } else {
                [Ok(()), Err(Dropped::Superseded)]
            };
            assert_eq!(answers, expected);
            assert_eq!(
                registry.claim(5, "a", NOW),
                Claimed::Dropped(Dropped::Superseded)
            );
            assert_eq!(registry.claim(9, "a", NOW), Claimed::Mine);
        }
    }

    #[test]
    fn a_cancel_has_a_definite_answer_in_every_state() {
        let mut registry = Registry(None);
        assert_eq!(registry.cancel(), CancelAnswer::Unknown);
        assert_eq!(registry.state(), "none");
        registry.register(5).unwrap();
        assert_eq!(registry.cancel(), CancelAnswer::Cancelled);
        assert_eq!(registry.cancel(), CancelAnswer::Cancelled, "asked again");
        assert_eq!(
            registry.claim(5, "a", NOW),
            Claimed::Dropped(Dropped::Cancelled)
        );
        registry.register(6).unwrap();
        assert_eq!(registry.claim(6, "a", NOW), Claimed::Mine);
        assert_eq!(registry.cancel(), CancelAnswer::TooLate);
        let publication = registry.publish(6);
        assert_eq!(registry.cancel(), CancelAnswer::Published(publication));
        registry.register(7).unwrap();
        let dead = State::Dead {
            at_ms: NOW,
            reason: "publish-failed".into(),
        };
        let next = finish(registry.0.as_ref(), &version(7), &dead, NOW);
        carry(&mut registry.0, next);
        assert_eq!(
            registry.cancel(),
            CancelAnswer::Dead("publish-failed".into())
        );
    }

    #[test]
    fn a_cancel_that_overtakes_its_record_leaves_a_tombstone() {
        let mut registry = Registry(None);
        assert_eq!(registry.cancel_by_record(8), CancelAnswer::Unknown);
        assert_eq!(
            registry.cancel_by_record(8),
            CancelAnswer::Unknown,
            "read again"
        );
        assert_eq!(registry.register(5), Err(Dropped::Cancelled));
        assert_eq!(registry.register(9), Ok(()), "written after the cancel");
        assert_eq!(registry.cancel_by_record(8), CancelAnswer::Superseded);
        assert_eq!(registry.cancel_by_record(10), CancelAnswer::Cancelled);
    }

    #[test]
    fn a_claim_is_retaken_by_its_holder_at_once_and_by_others_after_the_lease() {
        let mut registry = Registry(None);
        registry.register(5).unwrap();
        assert_eq!(registry.claim(5, "a", NOW), Claimed::Mine);
        let until_ms = NOW + LEASE_MS;
        assert_eq!(registry.claim(5, "b", NOW + 1), Claimed::Busy { until_ms });
        assert_eq!(registry.claim(5, "a", NOW + 1), Claimed::Mine);
        let until_ms = until_ms + 1;
        assert_eq!(
            registry.claim(5, "b", until_ms - 1),
            Claimed::Busy { until_ms }
        );
        assert_eq!(registry.claim(5, "b", until_ms), Claimed::Mine);
        assert_eq!(registry.cancel(), CancelAnswer::TooLate);
    }

    #[test]
    fn a_version_that_the_registry_lost_is_missing_and_never_dropped() {
        let mut registry = Registry(None);
        assert_eq!(registry.claim(5, "a", NOW), Claimed::Missing);
        registry.register(3).unwrap();
        assert_eq!(
            registry.claim(5, "a", NOW),
            Claimed::Missing,
            "of an earlier one"
        );
    }

    #[test]
    fn a_version_that_is_being_published_is_replaced_but_not_in_time() {
        let mut registry = Registry(None);
        registry.register(5).unwrap();
        registry.claim(5, "a", NOW);
        registry.register(6).unwrap();
        assert!(registry.0.as_ref().is_some_and(|row| row.overlaps));
        registry.publish(5);
        assert_eq!(
            registry.state(),
            "scheduled",
            "the later one is what the row is of"
        );
    }

    #[test]
    fn a_record_is_rescheduled_while_it_waits_and_then_no_more() {
        let mut registry = Registry(None);
        assert_eq!(registry.replace(6, 5), Err(Dropped::NotReplaced), "no such");
        registry.register(5).unwrap();
        assert_eq!(registry.replace(7, 5), Ok(()));
        assert_eq!(registry.replace(7, 5), Ok(()), "read again");
        assert_eq!(
            registry.replace(8, 5),
            Err(Dropped::NotReplaced),
            "another was first"
        );
        registry.claim(7, "a", NOW);
        assert_eq!(registry.replace(9, 7), Err(Dropped::NotReplaced));
        registry.publish(7);
        assert_eq!(registry.replace(9, 7), Err(Dropped::NotReplaced));
        assert_eq!(registry.state(), "published");
    }

    #[test]
    fn a_row_outlives_its_due_time_and_its_last_change() {
        let row = MessageRow::first(key(), &record(0));
        assert_eq!(row.expires_s, (NOW + 60_000 + KEPT_MS) / 1000);
        let late = row.changed(State::Cancelled { at_ms: NOW }, NOW + 90_000);
        assert_eq!(late.expires_s, (NOW + 90_000 + KEPT_MS) / 1000);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Register(i64),
        Cancel,
        CancelByRecord(i64),
        Claim(i64, u8, i64),
        Publish(i64),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..6i64).prop_map(Step::Register),
            Just(Step::Cancel),
            (0..6i64).prop_map(Step::CancelByRecord),
            (0..6i64, 0..3u8, 0..100_000i64).prop_map(|(v, by, at)| Step::Claim(v, by, at)),
            (0..6i64).prop_map(Step::Publish),
        ]
    }

    proptest! {
        /// P5 on a row: what was answered "cancelled" is never given to anybody to publish after, and what was given to
        /// somebody is never answered "cancelled" after.
        #[test]
        fn cancelled_and_claimed_exclude_each_other(steps in prop::collection::vec(any_step(), 0..60)) {
            let mut registry = Registry(None);
            let mut cancelled = std::collections::HashSet::new();
            let mut claimed = std::collections::HashSet::new();
            for step in steps {
                let before = registry.0.clone();
                let of = before.as_ref().map_or(-1, |row| row.version.offset);
                match step {
                    Step::Register(v) => drop(registry.register(v)),
                    Step::Cancel => if registry.cancel() == CancelAnswer::Cancelled {
                        cancelled.insert(of);
                    },
                    Step::CancelByRecord(v) => if registry.cancel_by_record(v) == CancelAnswer::Cancelled {
                        cancelled.insert(of);
                    },
                    Step::Claim(v, by, at) => if registry.claim(v, ["a", "b", "c"][usize::from(by)], NOW + at) == Claimed::Mine {
                        claimed.insert(v);
                    },
                    Step::Publish(v) => drop(registry.publish(v)),
                }
                if let (Some(before), Some(after)) = (&before, &registry.0) {
                    prop_assert!(after.version.order(&before.version) != Ordering::Less, "a row never goes back");
                    prop_assert!(after.expires_s >= before.expires_s);
                }
                prop_assert!(cancelled.is_disjoint(&claimed));
            }
        }
    }

    #[test]
    fn answers_and_ends_are_written_as_the_api_and_metrics_have_them() {
        let published = Publication {
            at_ms: NOW,
            partition: 0,
            offset: 0,
        };
        let answers = [
            CancelAnswer::Cancelled,
            CancelAnswer::Published(published),
            CancelAnswer::TooLate,
            CancelAnswer::Superseded,
            CancelAnswer::Dead("record-too-large".into()),
            CancelAnswer::Unknown,
        ];
        assert_eq!(
            answers.map(|answer| answer.as_str()),
            [
                "cancelled",
                "published",
                "too_late",
                "superseded",
                "dead",
                "unknown"
            ]
        );
        let dropped = [
            Dropped::Superseded,
            Dropped::Cancelled,
            Dropped::Published,
            Dropped::Dead,
            Dropped::NotReplaced,
        ];
        assert_eq!(
            dropped.map(Dropped::as_str),
            [
                "superseded",
                "cancelled",
                "published",
                "dead",
                "not-replaced"
            ]
        );
    }
}
