//! The records of a seed, and what must become of each.

use bytes::Bytes;
use delayq_core::priority::Priority;
use delayq_core::record::{Header, Record};

use crate::settings::{LIMITED_TARGET, MAX_DELAY_MS, MISSING_TARGET, Times};

/// What must become of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// Published in this topic.
    Published(String),
    /// In the dead-letter topic, with this code.
    Dead(&'static str),
    /// Nothing: it is a cancel.
    Nothing,
}

/// A record to be produced.
#[derive(Debug, Clone)]
pub struct Planned {
    /// When, in ms after the start.
    pub at_ms: u64,
    /// Partition of the delay topic.
    pub partition: i32,
    /// Offsets left out before it, as control records leave them.
    pub gap: u32,
    /// The record.
    pub record: Record,
    /// Its delay.
    pub delay_ms: i64,
    /// What must become of it, if it is not superseded or cancelled.
    pub expected: Expected,
    /// The number of its id, if it is tracked.
    pub id: Option<usize>,
}

/// What the records of a seed are like.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// How many.
    pub records: usize,
    /// Produced within this time, in ms.
    pub over_ms: u64,
    /// Partitions of the delay topic.
    pub partitions: i32,
    /// Longest delay, in ms.
    pub longest_ms: i64,
    /// Some are large.
    pub large_bytes: usize,
    /// Some cannot be honoured.
    pub poison: bool,
    /// Some go to the target with a rate limit.
    pub limited: bool,
}

/// The records, in order of time.
#[must_use]
pub fn records(rng: &mut fastrand::Rng, shape: &Shape, times: &Times) -> Vec<Planned> {
    let burst_ms = delay(rng, shape, times);
    let mut all: Vec<_> = (0..shape.records)
        .map(|number| record(rng, number, shape, times, burst_ms))
        .collect();
    all.sort_by_key(|planned| planned.at_ms);
    all
}

fn record(
    rng: &mut fastrand::Rng,
    number: usize,
    shape: &Shape,
    times: &Times,
    burst_ms: i64,
) -> Planned {
    let delay_ms = if rng.u8(0..4) == 0 {
        burst_ms
    } else {
        delay(rng, shape, times)
    };
    let priority = *rng.choice(&Priority::ALL).unwrap_or(&Priority::Standard);
    let target = match rng.u8(0..20) {
        0..2 if shape.limited => LIMITED_TARGET,
        2 if shape.poison => MISSING_TARGET,
        dice if dice % 2 == 0 => "orders",
        _ => "mail",
    };
    let mut headers = vec![
        Header::text("delay-target", target),
        Header::text("delay-ms", delay_ms.to_string()),
        Header::text("delay-priority", priority.as_str()),
        Header::text("note", "one"),
        Header::text("note", "two"),
    ];
    let mut expected = if target == MISSING_TARGET {
        Expected::Dead("publish-failed")
    } else {
        Expected::Published(format!("{target}.{priority}"))
    };
    if shape.poison && rng.u8(0..12) == 0 {
        expected = Expected::Dead(spoil(rng, &mut headers));
    }
    let bytes = match rng.u16(0..40) {
        0 => shape.large_bytes,
        1 => 0,
        _ => rng.usize(10..200),
    };
    let text = format!("record {number} ");
    let noise = (0..bytes).map(|_| rng.u8(..));
    let value: Vec<u8> = text.bytes().chain(noise).collect();
    Planned {
        at_ms: rng.u64(0..=shape.over_ms),
        partition: rng.i32(0..shape.partitions),
        gap: if rng.u8(0..30) == 0 { rng.u32(1..4) } else { 0 },
        record: Record {
            key: rng
                .bool()
                .then(|| Bytes::from(format!("key-{}", rng.u8(0..20)))),
            value: (rng.u8(0..30) > 0).then(|| Bytes::from(value)),
            headers,
        },
        delay_ms,
        expected,
        id: None,
    }
}

/// Delays of every path, and those on the borders between them.
fn delay(rng: &mut fastrand::Rng, shape: &Shape, times: &Times) -> i64 {
    let borders = [
        0,
        times.direct_ms,
        times.short_ms,
        times.lead_ms,
        times.long_room_ms(),
        times.long_room_ms() + times.bucket_ms,
        times.lead_ms + times.bucket_ms,
    ];
    let delay_ms = match rng.u8(0..8) {
        0 => rng.i64(0..=times.direct_ms),
        1..4 => rng.i64(0..=times.short_ms),
        4 => {
            let border_ms = rng.choice(&borders).copied().unwrap_or(0);
            border_ms + rng.i64(-2..=2)
        }
        _ => rng.i64(times.short_ms.min(shape.longest_ms)..=shape.longest_ms),
    };
    delay_ms.clamp(0, shape.longest_ms)
}

/// Makes the headers such that they must be refused; answers with the code.
fn spoil(rng: &mut fastrand::Rng, headers: &mut Vec<Header>) -> &'static str {
    let mut set = |name: &str, value: &str| {
        headers.retain(|header| header.name != name);
        headers.push(Header::text(name, value));
    };
    match rng.u8(0..6) {
        0 => {
            set("delay-ms", "soon");
            "invalid-delay"
        }
        1 => {
            set("delay-target", DELAY_TARGET);
            "target-not-allowed"
        }
        2 => {
            set("delay-ms", &(MAX_DELAY_MS + 1).to_string());
            "due-too-far"
        }
        3 => {
            set("delay-mss", "5");
            "unknown-header"
        }
        4 => {
            set("deliver-at-ms", "1800000000000");
            "contradictory-due"
        }
        _ => {
            set("delay-priority", "urgent");
            "invalid-priority"
        }
    }
}

/// A delay topic, which is never a target.
const DELAY_TARGET: &str = crate::settings::DELAY_TOPIC;
