//! What must hold, compared with what arrived: nothing lost, early or altered, and no duplicate without a known cause.

use std::collections::{BTreeMap, HashMap};

use delayq_core::clock::EpochMs;
use delayq_core::record::{Header, Source};
use hdrhistogram::Histogram;

use crate::inject::{Done, Rebalance, Window};
use crate::ledger::{Committed, Id, Ledger, id};
use crate::load::{End, NUMBER, sample};
use crate::plan::Fault;
use crate::reader::Arrived;

/// A revoke has 6 s, and the session that follows its failure 10 s.
const REVOKE_MS: i64 = 16_000;
/// What a fault leaves behind, retries with their backoff among it, is over after this.
const AFTERMATH_MS: i64 = 12_000;
/// Most findings that are told in words.
const TOLD: usize = 20;

/// One arrival of a record.
#[derive(Debug, Clone)]
struct Copy {
    at_ms: EpochMs,
    appended_ms: EpochMs,
    due_ms: Option<EpochMs>,
    id: Id,
}

/// Takes arrivals in.
pub(crate) struct Tally<'a> {
    seed: u64,
    target: &'a str,
    dead_letter_topic: &'a str,
    copies: HashMap<u32, Vec<Copy>>,
    early: Vec<String>,
    wrong: Vec<String>,
    published: u64,
    dead_lettered: u64,
}

/// The result.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) published: u64,
    pub(crate) dead_lettered: u64,
    /// Records, and then those of them that are told in words; so for the others.
    pub(crate) lost: u64,
    /// Not come, and not let go by the routers either.
    pub(crate) waiting: u64,
    pub(crate) early: u64,
    pub(crate) wrong: u64,
    pub(crate) duplicates: u64,
    pub(crate) by_cause: BTreeMap<String, u64>,
    pub(crate) unexplained: u64,
    pub(crate) told: Vec<String>,
    /// Of records whose whole life no fault touched; milliseconds.
    pub(crate) calm_lateness_ms: Option<Histogram<u64>>,
}

impl<'a> Tally<'a> {
    pub(crate) fn new(seed: u64, target: &'a str, dead_letter_topic: &'a str) -> Self {
        Self {
            seed,
            target,
            dead_letter_topic,
            copies: HashMap::new(),
            early: Vec::new(),
            wrong: Vec::new(),
            published: 0,
            dead_lettered: 0,
        }
    }

    /// Looks at one arrival; answers with the record's number, if it has one.
    pub(crate) fn take(&mut self, arrived: &Arrived) -> Option<u32> {
        let number = |name: &str| -> Option<i64> { arrived.record.header_text(name)?.parse().ok() };
        let n = number(NUMBER).and_then(|n| u32::try_from(n).ok());
        let source = arrived.record.header_text("delayed-source");
        let source = source.and_then(|text| text.parse::<Source>().ok());
        let (Some(n), Some(source)) = (n, source) else {
            let what = format!("a record in {} without number or source", arrived.topic);
            self.wrong.push(what);
            return None;
        };
        if let Err(what) = self.compare(n, arrived) {
            self.wrong.push(format!("record {n} ({source}): {what}"));
        }
        let due_ms = number("delayed-due-ms");
        if arrived.topic == self.dead_letter_topic {
            self.dead_lettered += 1;
        } else {
            self.published += 1;
            if due_ms.is_none_or(|due_ms| arrived.at_ms < due_ms) {
                let (at_ms, due) = (arrived.at_ms, due_ms.unwrap_or(0));
                self.early
                    .push(format!("record {n} ({source}): {} ms early", due - at_ms));
            }
        }
        self.copies.entry(n).or_default().push(Copy {
            at_ms: arrived.at_ms,
            appended_ms: number("delayed-timestamp-ms").unwrap_or(arrived.at_ms),
            due_ms,
            id: id(&source),
        });
        Some(n)
    }

    /// The record as it was sent, in the right topic, with the right due time.
    fn compare(&self, n: u32, arrived: &Arrived) -> Result<(), String> {
        let sent = sample(self.seed, n, self.target);
        let record = &arrived.record;
        if record.key != sent.record.key {
            return Err("another key".to_owned());
        }
        if record.value != sent.record.value {
            return Err("another value".to_owned());
        }
        match sent.end {
            End::DeadLetter(code) => {
                let found = record.header_text("delay-error");
                if arrived.topic != self.dead_letter_topic || found != Some(code) {
                    return Err(format!(
                        "in {} with {found:?}, should be a dead letter, {code}",
                        arrived.topic
                    ));
                }
            }
            End::Output { topic, delay_ms } => {
                if arrived.topic != topic {
                    let why = record.header_text("delay-error-detail");
                    return Err(format!("in {} and not in {topic}: {why:?}", arrived.topic));
                }
                let time = |name: &str| -> Option<i64> { record.header_text(name)?.parse().ok() };
                let due_ms = time("delayed-timestamp-ms").map(|appended| appended + delay_ms);
                if due_ms.is_none() || due_ms != time("delayed-due-ms") {
                    return Err(format!(
                        "due at {:?}, not {due_ms:?}",
                        time("delayed-due-ms")
                    ));
                }
                let own = |h: &&Header| !h.name.starts_with("delay-");
                let added = |h: &&Header| !h.name.starts_with("delayed-");
                if !record
                    .headers
                    .iter()
                    .filter(added)
                    .eq(sent.record.headers.iter().filter(own))
                {
                    return Err("other headers".to_owned());
                }
            }
        }
        Ok(())
    }

    /// Judges. `confirmed`: where the producer was told that each record is; `committed`: what the routers have let go.
    pub(crate) fn judge(
        self,
        confirmed: &[Option<Id>],
        committed: &Committed,
        ledger: &Ledger,
        done: &Done,
    ) -> Verdict {
        let mut verdict = Verdict {
            published: self.published,
            dead_lettered: self.dead_lettered,
            early: self.early.len() as u64,
            calm_lateness_ms: Histogram::new(3).ok(),
            ..Verdict::default()
        };
        let mut wrong = self.wrong;
        let mut lost = Vec::new();
        for (n, id) in confirmed.iter().enumerate() {
            let n = u32::try_from(n).unwrap_or(u32::MAX);
            let Some(id) = id else { continue };
            match self.copies.get(&n) {
                // Beyond the commits it waits in Kafka still: not lost, but the run fails for what is uncommitted.
                None if id.1 >= committed.get(&id.0).copied().unwrap_or(i64::MAX) => {
                    verdict.waiting += 1;
                }
                None => lost.push(format!("record {n} ({id:?}) is lost")),
                Some(copies) => {
                    if let Some(other) = copies.iter().find(|copy| copy.id != *id) {
                        wrong.push(format!("record {n}: source {:?}, was {id:?}", other.id));
                    }
                }
            }
        }
        let mut unexplained = Vec::new();
        for (n, copies) in &self.copies {
            let Some(first) = copies.iter().min_by_key(|copy| copy.at_ms) else {
                continue;
            };
            if let (Some(due_ms), Some(calm)) = (first.due_ms, &mut verdict.calm_lateness_ms)
                && calm_between(&done.windows, first.appended_ms, first.at_ms)
            {
                calm.saturating_record(u64::try_from(first.at_ms - due_ms).unwrap_or(0));
            }
            let again = copies.len() as u64 - 1;
            if again == 0 {
                continue;
            }
            verdict.duplicates += again;
            match cause(first, ledger, done) {
                Some(cause) => *verdict.by_cause.entry(cause.to_owned()).or_default() += again,
                None => {
                    verdict.unexplained += again;
                    let times: Vec<_> = copies.iter().map(|copy| copy.at_ms).collect();
                    unexplained.push(format!(
                        "record {n} ({:?}, appended at {}, due at {:?}) came at {times:?}, and nothing explains it",
                        first.id, first.appended_ms, first.due_ms
                    ));
                }
            }
        }
        verdict.lost = lost.len() as u64;
        verdict.wrong = wrong.len() as u64;
        for findings in [lost, self.early, wrong, unexplained] {
            verdict.told.extend(findings.into_iter().take(TOLD));
        }
        verdict
    }
}

/// Why a record may have come twice.
fn cause(first: &Copy, ledger: &Ledger, done: &Done) -> Option<&'static str> {
    if let Some(cause) = ledger.cause(first.id, first.appended_ms) {
        return Some(cause);
    }
    let revoked_under_fault = |one: &Rebalance| {
        let committed = one.committed.get(&first.id.0).copied().unwrap_or(0);
        first.id.1 >= committed
            && first.appended_ms <= one.at_ms + REVOKE_MS
            && touched(
                &done.windows,
                one.at_ms - AFTERMATH_MS,
                one.at_ms + REVOKE_MS,
            )
    };
    if done.rebalances.iter().any(revoked_under_fault) {
        return Some("revoked while a tier was away");
    }
    if ledger.sent_by_both(first.id) && touched(&done.windows, first.appended_ms, first.at_ms) {
        return Some("bucket closed under a stalled write");
    }
    None
}

/// Whether a tier or a connection was hurt in that time; clean stops hurt nobody.
fn touched(windows: &[Window], from_ms: EpochMs, to_ms: EpochMs) -> bool {
    windows
        .iter()
        .filter(|window| {
            matches!(
                window.fault,
                Fault::Network(..) | Fault::KillStack(_) | Fault::FreezeStack(_) | Fault::Freeze(_)
            )
        })
        .any(|window| window.from_ms <= to_ms && window.to_ms + AFTERMATH_MS >= from_ms)
}

fn calm_between(windows: &[Window], from_ms: EpochMs, to_ms: EpochMs) -> bool {
    windows
        .iter()
        .all(|window| window.from_ms > to_ms || window.to_ms + AFTERMATH_MS < from_ms)
}

#[cfg(test)]
mod tests {
    use delayq_core::record::TopicPartition;

    use super::*;

    const SEED: u64 = 3;
    /// Neither large nor to be refused.
    const N: u32 = 20;
    const COMMITTED: i64 = 30;

    /// What a faultless delayq makes of record `n`, at offset `n`.
    fn published(n: u32) -> Arrived {
        let sent = sample(SEED, n, "out");
        let source = Source {
            at: TopicPartition::new("delay", 0),
            offset: n.into(),
        };
        let mut record = sent.record;
        let End::Output { topic, delay_ms } = sent.end else {
            panic!("record {n} is to be refused");
        };
        record.headers.retain(|h| !h.name.starts_with("delay-"));
        let due_ms = 1_000 + delay_ms;
        for (name, value) in [
            ("delayed-due-ms", due_ms.to_string()),
            ("delayed-timestamp-ms", "1000".to_owned()),
            ("delayed-source", source.to_string()),
        ] {
            record.headers.push(Header::text(name, value));
        }
        Arrived {
            topic,
            at_ms: due_ms,
            record,
        }
    }

    fn judge(arrivals: &[Arrived], ledger: &Ledger, done: &Done) -> Verdict {
        let mut tally = Tally::new(SEED, "out", "dead");
        for one in arrivals {
            tally.take(one);
        }
        let mut confirmed = vec![None; N as usize + 2];
        confirmed[N as usize] = Some((0, i64::from(N)));
        tally.judge(&confirmed, &Committed::from([(0, COMMITTED)]), ledger, done)
    }

    fn broken(verdict: &Verdict) -> [u64; 4] {
        [
            verdict.lost,
            verdict.early,
            verdict.wrong,
            verdict.unexplained,
        ]
    }

    #[test]
    fn what_is_as_it_should_be_passes() {
        let verdict = judge(&[published(N)], &Ledger::default(), &Done::default());
        assert_eq!(broken(&verdict), [0; 4], "{:?}", verdict.told);
    }

    #[test]
    fn a_record_that_did_not_come_is_lost() {
        let verdict = judge(&[], &Ledger::default(), &Done::default());
        assert_eq!(broken(&verdict), [1, 0, 0, 0]);
    }

    #[test]
    fn what_was_never_committed_waits_and_is_not_lost() {
        let tally = Tally::new(SEED, "out", "dead");
        let confirmed = [Some((0, COMMITTED)), Some((0, COMMITTED - 1))];
        let committed = Committed::from([(0, COMMITTED)]);
        let verdict = tally.judge(&confirmed, &committed, &Ledger::default(), &Done::default());
        assert_eq!((verdict.waiting, verdict.lost), (1, 1));
    }

    #[test]
    fn a_millisecond_too_soon_is_early() {
        let mut early = published(N);
        early.at_ms -= 1;
        let verdict = judge(&[early], &Ledger::default(), &Done::default());
        assert_eq!(broken(&verdict), [0, 1, 0, 0]);
    }

    #[test]
    fn every_alteration_is_wrong() {
        let alter: [fn(&mut Arrived); 6] = [
            |one| one.record.value = Some("x".into()),
            |one| one.record.key = Some("x".into()),
            |one| one.record.headers.push(Header::text("x", "x")),
            |one| one.topic = "out.another".to_owned(),
            |one| one.topic = "dead".to_owned(),
            |one| {
                let due = one
                    .record
                    .headers
                    .iter_mut()
                    .find(|h| h.name == "delayed-due-ms");
                due.expect("due").value = Some("0".into());
            },
        ];
        for (which, alter) in alter.into_iter().enumerate() {
            let mut one = published(N);
            alter(&mut one);
            let verdict = judge(&[one], &Ledger::default(), &Done::default());
            assert_eq!(verdict.wrong, 1, "alteration {which}");
        }
    }

    #[test]
    fn a_duplicate_needs_a_cause() {
        let twice = [published(N), published(N)];
        let verdict = judge(&twice, &Ledger::default(), &Done::default());
        assert_eq!(broken(&verdict), [0, 0, 0, 1]);
        let ledger = Ledger::default();
        ledger.interrupted(crate::ledger::Interruption {
            cause: "killed",
            committed: [(0, i64::from(N))].into(),
            until_ms: 1_000,
        });
        let verdict = judge(&twice, &ledger, &Done::default());
        assert_eq!(broken(&verdict), [0; 4]);
        assert_eq!(verdict.by_cause, [("killed".to_owned(), 1)].into());
    }
}
