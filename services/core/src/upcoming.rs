//! What comes due when: records counted as they are taken in, by due time, output topic and priority. Pure.
//!
//! A cell is as wide as the delay allows: a minute for delays up to 6 hours, 5 minutes up to 2 days, an hour up to 31 days, else a
//! day. So the memory is bounded whatever the backlog, about 2,000 cells a kind, and nothing has to be read to count. Nobody counts
//! down: a cell whose time is over is dropped, since by then its records are published. Kinds are kept in parts of a bounded size, so
//! that each part is one row of a table, written anew when it has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use rustc_hash::FxHashMap;

use crate::clock::EpochMs;
use crate::priority::Priority;
use crate::record::Scheduled;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Widest delay, width of its cells.
const WIDTHS_MS: [(i64, i64); 3] = [
    (6 * HOUR_MS, MINUTE_MS),
    (2 * DAY_MS, 5 * MINUTE_MS),
    (31 * DAY_MS, HOUR_MS),
];

/// Kinds in a part: with 2,000 cells each it takes 160 KB before it is compressed, so that it fits an item of DynamoDB (400 KB).
const KINDS_A_PART: usize = 16;
/// Kinds that are told apart; further output topics are counted as [`OTHER`].
const KINDS_MAX: usize = 1_024;
/// Stands for the output topics beyond the first thousand.
pub const OTHER: &str = "(other)";
/// Largest part that is read, before compression.
const PART_MAX_BYTES: usize = 1024 * 1024;
const ZSTD_LEVEL: i32 = 3;

/// What is counted of a record.
#[derive(Debug, Clone, Copy)]
pub struct Due<'a> {
    /// Where it will be published.
    pub output_topic: &'a Arc<str>,
    /// Priority.
    pub priority: Priority,
    /// Due time.
    pub due_ms: EpochMs,
    /// Timestamp of the record: with the due time it decides the cell, so that a record that is taken back finds its own.
    pub timestamp_ms: EpochMs,
}

impl<'a> From<&'a Scheduled> for Due<'a> {
    fn from(record: &'a Scheduled) -> Self {
        Self {
            output_topic: &record.output_topic,
            priority: record.priority,
            due_ms: record.due_ms,
            timestamp_ms: record.timestamp_ms,
        }
    }
}

/// Start and width of a cell, in ms.
type Place = (EpochMs, i64);

fn place(due: &Due<'_>) -> Place {
    let delay_ms = due.due_ms.saturating_sub(due.timestamp_ms);
    let width_ms = WIDTHS_MS
        .iter()
        .find(|(up_to_ms, _)| delay_ms <= *up_to_ms)
        .map_or(DAY_MS, |(_, width_ms)| *width_ms);
    (due.due_ms.div_euclid(width_ms) * width_ms, width_ms)
}

/// Records of one cell. Below zero where another counter took back what this one never had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// Output topic.
    pub output_topic: Arc<str>,
    /// Priority.
    pub priority: Priority,
    /// Its start.
    pub from_ms: EpochMs,
    /// Its width in ms.
    pub width_ms: i64,
    /// Records.
    pub count: i64,
}

/// A part of a [`Tally`], to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Which.
    pub number: u32,
    /// Its cells, for [`read`].
    pub body: Bytes,
    /// After this it says nothing any more, ms since the Unix epoch.
    pub until_ms: EpochMs,
}

/// Counts of one process.
#[derive(Debug, Default)]
pub struct Tally {
    /// Position in `kinds` by output topic and priority.
    positions: FxHashMap<Arc<str>, [Option<usize>; 3]>,
    kinds: Vec<Kind>,
    changed: BTreeSet<usize>,
}

#[derive(Debug)]
struct Kind {
    output_topic: Arc<str>,
    priority: Priority,
    cells: BTreeMap<Place, i64>,
}

impl Tally {
    /// Counts a record.
    pub fn add(&mut self, due: &Due<'_>) {
        self.count(due, 1);
    }

    /// Takes a record back that will not come due after all: cancelled, or replaced.
    pub fn take_back(&mut self, due: &Due<'_>) {
        self.count(due, -1);
    }

    fn count(&mut self, due: &Due<'_>, by: i64) {
        let position = self.position(due.output_topic, due.priority);
        if let Some(kind) = self.kinds.get_mut(position) {
            *kind.cells.entry(place(due)).or_default() += by;
            self.changed.insert(position / KINDS_A_PART);
        }
    }

    fn position(&mut self, output_topic: &Arc<str>, priority: Priority) -> usize {
        let known = self.positions.get(output_topic);
        if let Some(position) = known.and_then(|by| *by.get(priority.index())?) {
            return position;
        }
        let named = self.kinds.len() < KINDS_MAX;
        let name: Arc<str> = if named {
            output_topic.clone()
        } else {
            OTHER.into()
        };
        let next = self.kinds.len();
        let slots = self.positions.entry(name.clone()).or_default();
        let Some(slot) = slots.get_mut(priority.index()) else {
            return next;
        };
        *slot.get_or_insert_with(|| {
            self.kinds.push(Kind {
                output_topic: name,
                priority,
                cells: BTreeMap::new(),
            });
            next
        })
    }

    /// Which parts differ from what was last taken by [`Tally::part`].
    #[must_use]
    pub fn changed(&self) -> Vec<u32> {
        let numbers = self.changed.iter();
        numbers.filter_map(|n| u32::try_from(*n).ok()).collect()
    }

    /// A part as it is now, which counts as unchanged from here on; cells that are over are forgotten.
    pub fn part(&mut self, number: u32, now_ms: EpochMs) -> Part {
        let first = number as usize * KINDS_A_PART;
        let mut until_ms = now_ms;
        let mut message = TallyPart::default();
        for kind in self.kinds.iter_mut().skip(first).take(KINDS_A_PART) {
            kind.cells
                .retain(|(from_ms, width_ms), count| from_ms + width_ms > now_ms && *count != 0);
            let ends = kind
                .cells
                .keys()
                .map(|(from_ms, width_ms)| from_ms + width_ms);
            until_ms = ends.fold(until_ms, i64::max);
            message.kinds.push(kind.written());
        }
        self.changed.remove(&(number as usize));
        let plain = message.encode_to_vec();
        let packed = zstd::bulk::compress(&plain, ZSTD_LEVEL);
        Part {
            number,
            // Compression into memory does not fail; what is not compressed cannot be read, and is counted as such there.
            body: Bytes::from(packed.unwrap_or(plain)),
            until_ms,
        }
    }

    /// The part could not be stored: it counts as changed again.
    pub fn put_back(&mut self, number: u32) {
        self.changed.insert(number as usize);
    }
}

impl Kind {
    fn written(&self) -> TallyKind {
        let mut written = TallyKind {
            output_topic: self.output_topic.to_string(),
            priority: self.priority.as_str().to_owned(),
            ..TallyKind::default()
        };
        let mut before_min = 0;
        for ((from_ms, width_ms), count) in &self.cells {
            let from_min = from_ms.div_euclid(MINUTE_MS);
            written.after_min.push(from_min - before_min);
            written.width_min.push(width_ms.div_euclid(MINUTE_MS));
            written.count.push(*count);
            before_min = from_min;
        }
        written
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct TallyPart {
    #[prost(message, repeated, tag = "1")]
    kinds: Vec<TallyKind>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TallyKind {
    #[prost(string, tag = "1")]
    output_topic: String,
    #[prost(string, tag = "2")]
    priority: String,
    /// Starts, in minutes after the one before.
    #[prost(sint64, repeated, tag = "3")]
    after_min: Vec<i64>,
    #[prost(int64, repeated, tag = "4")]
    width_min: Vec<i64>,
    #[prost(sint64, repeated, tag = "5")]
    count: Vec<i64>,
}

/// Why a stored part cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a part of a tally: {0}")]
pub struct TallyFault(String);

/// The cells of a part.
///
/// # Errors
/// It is damaged, or written by a later version.
pub fn read(body: &[u8]) -> Result<Vec<Cell>, TallyFault> {
    let fault = |error: &dyn std::fmt::Display| TallyFault(error.to_string());
    // zstd takes nothing for nothing.
    if body.is_empty() {
        return Err(fault(&"it is empty"));
    }
    let plain = zstd::bulk::decompress(body, PART_MAX_BYTES).map_err(|e| fault(&e))?;
    let part = TallyPart::decode(plain.as_slice()).map_err(|e| fault(&e))?;
    let mut cells = Vec::new();
    for kind in part.kinds {
        let priority = Priority::parse(&kind.priority)
            .ok_or_else(|| fault(&format!("priority {:?}", kind.priority)))?;
        let output_topic: Arc<str> = kind.output_topic.into();
        let mut from_min = 0_i64;
        let rows = kind.after_min.iter().zip(&kind.width_min).zip(&kind.count);
        for ((after_min, width_min), count) in rows {
            from_min = from_min.saturating_add(*after_min);
            cells.push(Cell {
                output_topic: output_topic.clone(),
                priority,
                from_ms: from_min.saturating_mul(MINUTE_MS),
                width_ms: width_min.saturating_mul(MINUTE_MS).max(MINUTE_MS),
                count: *count,
            });
        }
    }
    Ok(cells)
}

/// Output topic and priority.
pub type KindName = (Arc<str>, Priority);
/// Records by start of their bucket, output topic and priority.
pub type Buckets = BTreeMap<EpochMs, BTreeMap<KindName, u64>>;

/// What comes due from now on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Upcoming {
    /// Counts; buckets without any are left out.
    pub buckets: Buckets,
    /// No cell that was counted is wider than a bucket, or reaches over the ends: none had to be spread evenly.
    pub exact: bool,
}

/// Adds up the cells of all processes, by buckets of `bucket_ms` (at least a minute) from `now_ms` to `until_ms`. A cell that
/// reaches over several buckets, or has begun already, is spread evenly over its time.
#[must_use]
pub fn by_bucket(
    cells: impl IntoIterator<Item = Cell>,
    now_ms: EpochMs,
    until_ms: EpochMs,
    bucket_ms: i64,
) -> Upcoming {
    let bucket_ms = bucket_ms.max(MINUTE_MS);
    let mut sums: BTreeMap<Place, BTreeMap<KindName, i64>> = BTreeMap::new();
    for cell in cells {
        let kinds = sums.entry((cell.from_ms, cell.width_ms)).or_default();
        *kinds.entry((cell.output_topic, cell.priority)).or_default() += cell.count;
    }
    let mut upcoming = Upcoming {
        exact: true,
        ..Upcoming::default()
    };
    for ((from_ms, width_ms), kinds) in sums {
        let end_ms = from_ms.saturating_add(width_ms);
        let (first_ms, last_ms) = (from_ms.max(now_ms), end_ms.min(until_ms));
        if first_ms >= last_ms {
            continue;
        }
        upcoming.exact &= bucket_of(from_ms, bucket_ms) == bucket_of(end_ms - 1, bucket_ms)
            && first_ms == from_ms
            && last_ms == end_ms;
        for (kind, count) in kinds {
            // Only what others took back below zero is left out.
            let Ok(count) = u64::try_from(count) else {
                continue;
            };
            let mut at_ms = first_ms;
            while at_ms < last_ms {
                let bucket = bucket_of(at_ms, bucket_ms);
                let next_ms = bucket.saturating_add(bucket_ms).min(last_ms);
                let share = part_of(count, next_ms - from_ms, width_ms)
                    - part_of(count, at_ms - from_ms, width_ms);
                if share > 0 {
                    let counts = upcoming.buckets.entry(bucket).or_default();
                    *counts.entry(kind.clone()).or_default() += share;
                }
                at_ms = next_ms;
            }
        }
    }
    upcoming
}

fn bucket_of(at_ms: EpochMs, bucket_ms: i64) -> EpochMs {
    at_ms.div_euclid(bucket_ms) * bucket_ms
}

/// `count` times `part` of `whole`, rounded down: shares of neighbouring parts add up to the whole.
fn part_of(count: u64, part: i64, whole: i64) -> u64 {
    let product = i128::from(count) * i128::from(part) / i128::from(whole.max(1));
    u64::try_from(product).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW_MS: i64 = 1_800_000_000_000;

    fn topic(name: &str) -> Arc<str> {
        Arc::from(name)
    }

    fn due(output_topic: &Arc<str>, in_ms: i64) -> Due<'_> {
        Due {
            output_topic,
            priority: Priority::High,
            due_ms: NOW_MS + in_ms,
            timestamp_ms: NOW_MS,
        }
    }

    fn stored(tally: &mut Tally) -> Vec<Cell> {
        let parts = tally.changed();
        let bodies = parts.into_iter().map(|n| tally.part(n, NOW_MS).body);
        bodies.flat_map(|body| read(&body).unwrap()).collect()
    }

    fn total(upcoming: &Upcoming) -> u64 {
        upcoming.buckets.values().flat_map(BTreeMap::values).sum()
    }

    #[test]
    fn the_longer_the_delay_the_wider_the_cell() {
        let orders = topic("orders.high");
        let width = |in_ms| place(&due(&orders, in_ms)).1;
        assert_eq!(width(0), MINUTE_MS);
        assert_eq!(width(6 * HOUR_MS), MINUTE_MS);
        assert_eq!(width(6 * HOUR_MS + 1), 5 * MINUTE_MS);
        assert_eq!(width(2 * DAY_MS + 1), HOUR_MS);
        assert_eq!(width(31 * DAY_MS), HOUR_MS);
        assert_eq!(width(3_650 * DAY_MS), DAY_MS);
    }

    #[test]
    fn counts_of_several_processes_add_up_and_near_ones_are_exact() {
        let orders = topic("orders.high");
        let mut one = Tally::default();
        let mut other = Tally::default();
        for _ in 0..3 {
            one.add(&due(&orders, 10 * MINUTE_MS));
        }
        other.add(&due(&orders, 10 * MINUTE_MS));
        other.add(&due(&orders, 90 * MINUTE_MS));
        let cells = stored(&mut one).into_iter().chain(stored(&mut other));
        let hour = by_bucket(cells, NOW_MS, NOW_MS + HOUR_MS, MINUTE_MS);
        assert!(hour.exact);
        let at = (NOW_MS + 10 * MINUTE_MS).div_euclid(MINUTE_MS) * MINUTE_MS;
        let counts = BTreeMap::from([((orders, Priority::High), 4)]);
        assert_eq!(hour.buckets, BTreeMap::from([(at, counts)]));
    }

    #[test]
    fn a_wide_cell_is_spread_evenly_and_said_to_be() {
        let orders = topic("orders.high");
        let mut tally = Tally::default();
        for _ in 0..120 {
            tally.add(&due(&orders, 5 * DAY_MS));
        }
        let cells = stored(&mut tally);
        let from_ms = cells[0].from_ms;
        let by_minute = by_bucket(cells.clone(), from_ms, from_ms + HOUR_MS, MINUTE_MS);
        assert!(!by_minute.exact);
        assert_eq!(by_minute.buckets.len(), 60);
        assert_eq!(total(&by_minute), 120);
        // Half an hour later half of them are published.
        let rest = by_bucket(cells, from_ms + HOUR_MS / 2, from_ms + HOUR_MS, MINUTE_MS);
        assert_eq!(total(&rest), 60);
    }

    #[test]
    fn what_another_process_takes_back_is_taken_off() {
        let orders = topic("orders.high");
        let mut router = Tally::default();
        router.add(&due(&orders, DAY_MS));
        router.add(&due(&orders, DAY_MS));
        let mut console = Tally::default();
        console.take_back(&due(&orders, DAY_MS));
        let both = stored(&mut router).into_iter().chain(stored(&mut console));
        assert_eq!(
            total(&by_bucket(both, NOW_MS, NOW_MS + 2 * DAY_MS, HOUR_MS)),
            1
        );
    }

    #[test]
    fn parts_change_one_by_one_and_forget_what_is_over() {
        let topics: Vec<_> = (0..KINDS_A_PART + 1)
            .map(|n| topic(&format!("t{n}")))
            .collect();
        let mut tally = Tally::default();
        for name in &topics {
            tally.add(&due(name, MINUTE_MS));
        }
        assert_eq!(tally.changed(), [0, 1]);
        stored(&mut tally);
        assert_eq!(tally.changed(), Vec::<u32>::new());
        tally.add(&due(topics.last().unwrap(), MINUTE_MS));
        assert_eq!(tally.changed(), [1]);
        let later = tally.part(1, NOW_MS + HOUR_MS);
        assert_eq!(read(&later.body).unwrap(), []);
        tally.put_back(1);
        assert_eq!(tally.changed(), [1]);
    }

    #[test]
    fn a_part_lasts_until_its_last_cell_is_over_and_no_longer() {
        let orders = topic("orders.high");
        let mut tally = Tally::default();
        tally.add(&due(&orders, MINUTE_MS / 2));
        let ends_ms = NOW_MS + MINUTE_MS;
        let before = tally.part(0, ends_ms - 1);
        assert_eq!(
            (read(&before.body).unwrap().len(), before.until_ms),
            (1, ends_ms)
        );
        let after = tally.part(0, ends_ms);
        assert_eq!(
            (read(&after.body).unwrap(), after.until_ms),
            (vec![], ends_ms)
        );
    }

    #[test]
    fn topics_without_end_are_counted_as_others() {
        let mut tally = Tally::default();
        for n in 0..KINDS_MAX + 50 {
            tally.add(&due(&topic(&format!("t{n}")), MINUTE_MS));
        }
        let cells = stored(&mut tally);
        let others: i64 = cells
            .iter()
            .filter(|c| &*c.output_topic == OTHER)
            .map(|c| c.count)
            .sum();
        assert_eq!(others, 50);
        assert_eq!(
            cells.iter().map(|c| c.count).sum::<i64>(),
            (KINDS_MAX + 50) as i64
        );
    }

    #[test]
    fn the_largest_part_fits_a_row() {
        let mut tally = Tally::default();
        // All cells that a kind can have, in an order that compresses badly.
        let names: Vec<_> = (0..KINDS_A_PART)
            .map(|n| topic(&format!("{n:0>249}")))
            .collect();
        let mut noise = 1_u64;
        for (n, name) in names.iter().enumerate() {
            for minute in 0..(n as i64 + 1) * 3_000 {
                noise = noise
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                let in_ms = i64::try_from(noise >> 32).unwrap() % (60 * DAY_MS) + minute;
                tally.add(&due(name, in_ms));
            }
            for step in 0..2_000 {
                tally.add(&due(name, step * MINUTE_MS));
            }
        }
        let part = tally.part(0, NOW_MS);
        assert!(part.body.len() < 300_000, "{} bytes", part.body.len());
        assert!(!read(&part.body).unwrap().is_empty());
    }

    #[test]
    fn damage_is_an_error() {
        assert!(read(b"").is_err());
        assert!(read(b"not a tally").is_err());
    }

    proptest! {
        #[test]
        fn nothing_is_counted_twice_or_not_at_all(
            delays_ms in prop::collection::vec(1_000..60 * DAY_MS, 1..200),
            bucket_min in 1_i64..2_000,
        ) {
            let orders = topic("orders.high");
            let mut tally = Tally::default();
            for delay_ms in &delays_ms {
                tally.add(&due(&orders, *delay_ms));
            }
            // From before the first cell, so that nothing of it is over.
            let upcoming = by_bucket(
                stored(&mut tally), NOW_MS - DAY_MS, NOW_MS + 62 * DAY_MS, bucket_min * MINUTE_MS,
            );
            prop_assert_eq!(total(&upcoming), delays_ms.len() as u64);
        }
    }
}
