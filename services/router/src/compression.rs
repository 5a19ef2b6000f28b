//! How hard batches of the long tier are compressed. They have minutes to spare and are billed by the KB, so the processor's idle
//! time is put into making them small, on threads that nothing on time waits for, as long as that takes little of one.
//!
//! There are two levels and none between: on JSON events zstd's levels 2 to 12 take up to twelve times the time of level 1 and
//! gain less than 2 %; level 15 takes 50 to 80 times as long, and 6 to 10 % less room (`bench cost` says what that is worth). Below
//! 1 batches grow by half.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use delayq_core::packer::{EncodedBatch, PackingRatio, SizeLimits, encode_within};
use delayq_core::record::Scheduled;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use crate::metrics as names;

/// Of one processor's time, what small batches may take.
const SHARE: f64 = 0.2;
/// A batch that would take longer is compressed fast: memory that it holds is held meanwhile.
const AT_ONCE: Duration = Duration::from_millis(50);
/// What a byte takes, in seconds, until it is known; what is not measured any more drifts back to it.
const FIRST_S_PER_BYTE: f64 = 100e-9;
/// How fast what is known follows what is measured.
const WEIGHT: f64 = 0.1;
/// How fast it drifts back, a window.
const DRIFT: f64 = 0.1;
/// The rate is looked at this often: groups whose time comes at once are no flood yet.
const WINDOW: Duration = Duration::from_secs(5);

/// How long a batch waits for its turn to be made small.
const TURN_WAIT: Duration = Duration::from_secs(1);

/// Batches, and the records that fit none.
pub type Encoded<T> = (Vec<EncodedBatch<T>>, Vec<(Scheduled, T)>);

/// Chooses between the level that is always affordable and the one that makes batches small.
#[derive(Debug)]
pub struct Compression {
    small_level: i32,
    seen: Mutex<Seen>,
    /// One batch at a time is made small.
    turns: Arc<Semaphore>,
}

#[derive(Debug)]
struct Seen {
    window_began: Instant,
    window_bytes: f64,
    /// Of the last window.
    bytes_per_s: f64,
    /// At the small level.
    s_per_byte: f64,
}

impl Compression {
    /// Nothing was compressed yet. `small_level`: zstd's while there is time.
    #[must_use]
    pub fn new(small_level: i32, now: Instant) -> Self {
        Self {
            small_level,
            seen: Mutex::new(Seen {
                window_began: now,
                window_bytes: 0.0,
                bytes_per_s: 0.0,
                s_per_byte: FIRST_S_PER_BYTE,
            }),
            turns: Arc::new(Semaphore::new(1)),
        }
    }

    /// Encodes a group as [`encode_within`] does: made small while there is time, else at the level of `limits`.
    pub async fn encode<T: Send + 'static>(
        &self,
        items: Vec<(Scheduled, T)>,
        limits: SizeLimits,
        ratio: &Arc<PackingRatio>,
    ) -> Encoded<T> {
        if items.is_empty() {
            return (Vec::new(), Vec::new());
        }
        let bytes = items.iter().map(|(record, _)| record.memory_bytes()).sum();
        let turn = match self.small_level == limits.zstd_level {
            true => None,
            false => self.turn(bytes).await,
        };
        let zstd_level = match turn {
            Some(_) => self.small_level,
            None => limits.zstd_level,
        };
        metrics::gauge!(names::LONG_ZSTD_LEVEL).set(f64::from(zstd_level));
        let limits = SizeLimits {
            zstd_level,
            ..limits
        };
        let Some(turn) = turn else {
            return encode_within(items, limits, ratio);
        };
        let ratio = ratio.clone();
        let encoding = tokio::task::spawn_blocking(move || {
            let began = Instant::now();
            let encoded = encode_within(items, limits, &ratio);
            drop(turn);
            (encoded, began.elapsed())
        });
        match encoding.await {
            Ok((encoded, took)) => {
                self.took(bytes, took);
                encoded
            }
            // Its records are gone from here: only a restart repeats them.
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime ends, and nothing was confirmed.
            Err(_) => (Vec::new(), Vec::new()),
        }
    }

    /// The turn of records to be made small; `None`: there is no time for it.
    async fn turn(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        if !self.has_time(bytes, Instant::now()) {
            return None;
        }
        let turn = timeout(TURN_WAIT, self.turns.clone().acquire_owned());
        turn.await.ok()?.ok()
    }

    /// Whether there is time to make records small that take so many bytes of memory and are compressed now.
    fn has_time(&self, bytes: usize, now: Instant) -> bool {
        self.seen.lock().is_ok_and(|mut seen| {
            let takes_s = bytes as f64 * seen.s_per_byte;
            let share = seen.bytes_per_s_with(bytes, now) * seen.s_per_byte;
            takes_s <= AT_ONCE.as_secs_f64() && share <= SHARE
        })
    }

    /// What it took to make them small.
    fn took(&self, bytes: usize, took: Duration) {
        if let Ok(mut seen) = self.seen.lock() {
            let measured = took.as_secs_f64() / bytes.max(1) as f64;
            seen.s_per_byte += (measured - seen.s_per_byte) * WEIGHT;
        }
    }
}

impl Seen {
    /// The rate of late, or of now, if that is higher.
    fn bytes_per_s_with(&mut self, bytes: usize, now: Instant) -> f64 {
        let took = now.saturating_duration_since(self.window_began);
        if took >= WINDOW {
            self.bytes_per_s = self.window_bytes / took.as_secs_f64();
            self.s_per_byte += (FIRST_S_PER_BYTE - self.s_per_byte) * DRIFT;
            (self.window_began, self.window_bytes) = (now, 0.0);
        }
        self.window_bytes += bytes as f64;
        self.bytes_per_s
            .max(self.window_bytes / WINDOW.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use delayq_core::priority::Priority;
    use delayq_core::record::{Path, Record, Source, TopicPartition};

    use super::*;

    const FAST: i32 = 1;
    const SMALL: i32 = 15;
    const BATCH_BYTES: usize = 25_000;

    /// How many of the batches of some seconds, so many each, were made small; one takes so long.
    fn small(compression: &Compression, from: Instant, batches_per_s: u32, took: Duration) -> u32 {
        let seconds = 20;
        let mut small = 0;
        for n in 0..seconds * batches_per_s {
            let now = from + Duration::from_secs(1) * n / batches_per_s;
            if compression.has_time(BATCH_BYTES, now) {
                compression.took(BATCH_BYTES, took);
                small += 1;
            }
        }
        small * 100 / (seconds * batches_per_s)
    }

    const QUICK: Duration = Duration::from_micros(1_700);

    #[test]
    fn few_records_are_made_small_and_many_are_packed_fast() {
        let now = Instant::now();
        let at = |rate| small(&Compression::new(SMALL, now), now, rate, QUICK);
        assert_eq!(at(1), 100);
        assert_eq!(at(40), 100, "1,000 records/s");
        assert!(at(400) < 30, "{}", at(400));
    }

    #[test]
    fn a_flood_changes_the_level_at_once_and_its_end_within_seconds() {
        let now = Instant::now();
        let compression = Compression::new(SMALL, now);
        assert!(small(&compression, now, 4_000, QUICK) < 3);
        let later = now + Duration::from_secs(21);
        assert!(!compression.has_time(BATCH_BYTES, later));
        let later = later + WINDOW;
        assert!(compression.has_time(BATCH_BYTES, later));
    }

    #[test]
    fn a_slow_processor_makes_nothing_small_but_a_batch_at_times() {
        let now = Instant::now();
        let compression = Compression::new(SMALL, now);
        let slow = QUICK * 20;
        let share = small(&compression, now, 40, slow);
        assert!(share <= 5, "{share} in a hundred");
        let later = now + Duration::from_secs(20);
        let tried_again = (0..300).any(|s| {
            let now = later + Duration::from_secs(s);
            compression.has_time(BATCH_BYTES, now)
        });
        assert!(tried_again);
    }

    #[test]
    fn a_batch_that_would_take_long_is_packed_fast() {
        let now = Instant::now();
        let compression = Compression::new(SMALL, now);
        assert!(!compression.has_time(600_000, now));
        assert!(compression.has_time(400_000, now));
    }

    /// Encoded bytes of 30 records, and how many there are after.
    async fn encoded(compression: &Compression) -> (usize, usize) {
        let items = (0..30).map(|n| {
            let record = Scheduled {
                source: Source {
                    at: TopicPartition::new("orders.delay", 0),
                    offset: n,
                },
                output_topic: "orders".into(),
                priority: Priority::Standard,
                due_ms: n,
                timestamp_ms: n,
                id: None,
                path: Path::Long,
                record: Record {
                    value: Some(format!("{n}{n}{n}").repeat(100).into()),
                    ..Record::default()
                },
                payload: None,
                limit: None,
            };
            (record, n)
        });
        let limits = SizeLimits {
            wanted_bytes: 350_000,
            largest_bytes: 350_000,
            memory_bytes: 4 << 20,
            zstd_level: FAST,
        };
        let ratio = Arc::default();
        let (batches, too_large) = compression.encode(items.collect(), limits, &ratio).await;
        assert!(too_large.is_empty());
        let bytes = batches.iter().map(|batch| batch.bytes.len()).sum();
        (bytes, batches.iter().map(|batch| batch.items.len()).sum())
    }

    #[tokio::test]
    async fn small_batches_hold_the_same_records_in_less_room() {
        let with = |small_level| Compression::new(small_level, Instant::now());
        let ((fast, all), (small, all_too)) =
            (encoded(&with(FAST)).await, encoded(&with(SMALL)).await);
        assert_eq!((all, all_too), (30, 30));
        assert!(small < fast, "{small} of {fast}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_gets_no_turn_is_packed_fast() {
        let compression = Compression::new(SMALL, Instant::now());
        let held = compression.turns.clone().acquire_owned().await;
        let without_turn = encoded(&compression).await;
        drop(held);
        let fast = Compression::new(FAST, Instant::now());
        assert_eq!(without_turn, encoded(&fast).await);
    }
}
