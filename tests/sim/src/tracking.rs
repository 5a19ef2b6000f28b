//! Tracked records in a seed: ids used again with another due time, cancels by record and from outside, most of them about when
//! the record is due; and what the registry says of each in the end.

use std::cmp::Ordering;

use delayq_core::clock::EpochMs;
use delayq_core::record::{Header, Record, Source};
use delayq_core::tracked::{CancelAnswer, MessageKey, MessageRow, State, Version, cancel};
use delayq_delivery::registry::change;
use delayq_embedded::MemoryMessageRegistry;

use crate::ledger::Ledger;
use crate::settings::DELAY_TOPIC;
use crate::workload::{Expected, Planned};

/// One in so many records is tracked.
const TRACKED_ONE_IN: usize = 4;
/// How near to the due time most changes come, in ms.
const NEAR_MS: i64 = 600;

/// A cancel from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutsideCancel {
    /// When, in ms after the start.
    pub at_ms: u64,
    /// The number of the id.
    pub id: usize,
}

/// The id with a number.
#[must_use]
pub fn id(number: usize) -> String {
    format!("tracked-{number}")
}

fn key(number: usize) -> MessageKey {
    MessageKey {
        topic: DELAY_TOPIC.into(),
        id: id(number).into(),
    }
}

/// Gives some records ids, and adds what is done to these later. Answers with the cancels from outside.
pub fn track(
    rng: &mut fastrand::Rng,
    partitions: i32,
    records: &mut Vec<Planned>,
) -> Vec<OutsideCancel> {
    let (mut later, mut cancels) = (Vec::new(), Vec::new());
    for number in (0..records.len()).filter(|n| n % TRACKED_ONE_IN == 0) {
        let Some(planned) = records.get_mut(number) else {
            continue;
        };
        planned.id = Some(number);
        planned
            .record
            .headers
            .push(Header::text("delay-id", id(number)));
        let first = planned.clone();
        for _ in 0..rng.usize(0..3) {
            let at_ms = change_time(rng, &first);
            match rng.u8(0..4) {
                0 => cancels.push(OutsideCancel { at_ms, id: number }),
                1 => later.push(cancel_record(rng, &first, at_ms, partitions)),
                _ => later.push(again(rng, &first, at_ms, partitions)),
            }
        }
    }
    records.extend(later);
    records.sort_by_key(|planned| planned.at_ms);
    cancels
}

fn change_time(rng: &mut fastrand::Rng, first: &Planned) -> u64 {
    let at_ms = i64::try_from(first.at_ms).unwrap_or(i64::MAX);
    let due_ms = at_ms + first.delay_ms;
    let change_ms = if rng.u8(0..3) == 0 {
        rng.i64(at_ms..=due_ms)
    } else {
        due_ms + rng.i64(-NEAR_MS..=NEAR_MS / 4)
    };
    change_ms.max(at_ms).unsigned_abs()
}

/// Mostly where the first is: producers key tracked records by their id.
fn place(rng: &mut fastrand::Rng, first: &Planned, partitions: i32) -> i32 {
    if rng.u8(0..10) == 0 {
        rng.i32(0..partitions)
    } else {
        first.partition
    }
}

fn again(rng: &mut fastrand::Rng, first: &Planned, at_ms: u64, partitions: i32) -> Planned {
    let delay_ms = rng
        .i64(0..=first.delay_ms.max(1) * 2)
        .min(first.delay_ms.max(60_000));
    let mut again = Planned {
        at_ms,
        partition: place(rng, first, partitions),
        gap: 0,
        delay_ms,
        ..first.clone()
    };
    if let Some(header) = again
        .record
        .headers
        .iter_mut()
        // What is refused for its delay stays so.
        .find(|h| h.name == "delay-ms" && !matches!(first.expected, Expected::Dead(_)))
    {
        *header = Header::text("delay-ms", delay_ms.to_string());
    } else {
        again.delay_ms = first.delay_ms;
    }
    again
}

fn cancel_record(rng: &mut fastrand::Rng, first: &Planned, at_ms: u64, partitions: i32) -> Planned {
    let number = first.id.unwrap_or_default();
    Planned {
        at_ms,
        partition: place(rng, first, partitions),
        gap: 0,
        record: Record {
            headers: vec![
                Header::text("delay-id", id(number)),
                Header::text("delay-action", "cancel"),
            ],
            ..Record::default()
        },
        delay_ms: 0,
        expected: Expected::Nothing,
        id: Some(number),
    }
}

/// A cancel as the command line makes it.
pub async fn cancel_from_outside(
    registry: &MemoryMessageRegistry,
    number: usize,
    now_ms: i64,
    ledger: &Ledger,
) -> Result<CancelAnswer, String> {
    let decide = |row: Option<&MessageRow>| cancel(row, now_ms);
    let answered = change(registry, &key(number), decide).await;
    let answered = answered.map_err(|error| error.to_string())?;
    if answered.answer == CancelAnswer::Cancelled
        && let Some(row) = &answered.row
    {
        ledger.tracked(row);
    }
    Ok(answered.answer)
}

/// What the registry says in the end of a tracked record that was accepted as `source`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Nothing: it must have come out, or be a dead letter.
    Open,
    /// A later record has its id.
    Superseded,
    /// It was cancelled: it must not come out.
    Cancelled,
    /// It says that it has come out.
    Published,
    /// It says that it is a dead letter.
    Dead,
}

/// The fate of `source`, appended at `appended_ms`, whose id has that number.
#[must_use]
pub fn fate(
    rows: &[MessageRow],
    ledger: &Ledger,
    number: usize,
    source: &Source,
    appended_ms: EpochMs,
) -> Fate {
    if ledger.was_cancelled(source) {
        return Fate::Cancelled;
    }
    let key = key(number);
    let Some(row) = rows.iter().find(|row| row.key == key) else {
        return Fate::Open;
    };
    match Version::of(source, appended_ms).order(&row.version) {
        // A record that was overtaken by its cancel finds a tombstone of a later version: that of the cancel.
        Ordering::Less => return Fate::Superseded,
        Ordering::Greater => return Fate::Open,
        Ordering::Equal => {}
    }
    match &row.state {
        State::Scheduled | State::Publishing(_) => Fate::Open,
        State::Published(_) => Fate::Published,
        State::Cancelled { .. } => Fate::Cancelled,
        State::Dead { .. } => Fate::Dead,
    }
}
