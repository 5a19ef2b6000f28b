//! How hard batches of the long tier are compressed. They have minutes to spare and are billed by the KB, so the processor's idle
//! time is put into making them small, on threads that nothing on time waits for, as long as that takes little of one.
//!
//! There are two levels and none between: on JSON events zstd's levels 2 to 12 take up to twelve times the time of level 1 and
//! gain less than 2 %; level 15 takes 50 to 80 times as long, and 6 to 10 % less room (`bench cost` says what that is worth). Below
//! 1 batches grow by half.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

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

/// zstd levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Levels {
    /// Always affordable.
    pub fast: i32,
    /// While there is time.
    pub small: i32,
}

/// Chooses between them.
#[derive(Debug)]
pub struct Compression {
    levels: Levels,
    seen: Mutex<Seen>,
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
    /// Nothing was compressed yet.
    #[must_use]
    pub const fn new(levels: Levels, now: Instant) -> Self {
        Self {
            levels,
            seen: Mutex::new(Seen {
                window_began: now,
                window_bytes: 0.0,
                bytes_per_s: 0.0,
                s_per_byte: FIRST_S_PER_BYTE,
            }),
        }
    }

    /// The level that takes next to no time.
    #[must_use]
    pub const fn fast(&self) -> i32 {
        self.levels.fast
    }

    /// The level for records that take so many bytes of memory, which are compressed now.
    #[must_use]
    pub fn level(&self, bytes: usize, now: Instant) -> i32 {
        let Ok(mut seen) = self.seen.lock() else {
            return self.levels.fast;
        };
        let takes_s = bytes as f64 * seen.s_per_byte;
        let share = seen.bytes_per_s_with(bytes, now) * seen.s_per_byte;
        if takes_s <= AT_ONCE.as_secs_f64() && share <= SHARE {
            self.levels.small
        } else {
            self.levels.fast
        }
    }

    /// What it took to compress them.
    pub fn took(&self, level: i32, bytes: usize, took: Duration) {
        if level != self.levels.small || bytes == 0 {
            return;
        }
        if let Ok(mut seen) = self.seen.lock() {
            let measured = took.as_secs_f64() / bytes as f64;
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
    use super::*;

    const LEVELS: Levels = Levels { fast: 1, small: 15 };
    const BATCH_BYTES: usize = 25_000;

    /// How many of the batches of some seconds, so many each, were made small; one takes so long.
    fn small(compression: &Compression, from: Instant, batches_per_s: u32, took: Duration) -> u32 {
        let seconds = 20;
        let mut small = 0;
        for n in 0..seconds * batches_per_s {
            let now = from + Duration::from_secs(1) * n / batches_per_s;
            let level = compression.level(BATCH_BYTES, now);
            compression.took(level, BATCH_BYTES, took);
            small += u32::from(level == LEVELS.small);
        }
        small * 100 / (seconds * batches_per_s)
    }

    const QUICK: Duration = Duration::from_micros(1_700);

    #[test]
    fn few_records_are_made_small_and_many_are_packed_fast() {
        let now = Instant::now();
        let at = |rate| small(&Compression::new(LEVELS, now), now, rate, QUICK);
        assert_eq!(at(1), 100);
        assert_eq!(at(40), 100, "1,000 records/s");
        assert!(at(400) < 30, "{}", at(400));
    }

    #[test]
    fn a_flood_changes_the_level_at_once_and_its_end_within_seconds() {
        let now = Instant::now();
        let compression = Compression::new(LEVELS, now);
        assert!(small(&compression, now, 4_000, QUICK) < 3);
        let later = now + Duration::from_secs(21);
        assert_eq!(compression.level(BATCH_BYTES, later), LEVELS.fast);
        let later = later + WINDOW;
        assert_eq!(compression.level(BATCH_BYTES, later), LEVELS.small);
    }

    #[test]
    fn a_slow_processor_makes_nothing_small_but_a_batch_at_times() {
        let now = Instant::now();
        let compression = Compression::new(LEVELS, now);
        let slow = QUICK * 20;
        let share = small(&compression, now, 40, slow);
        assert!(share <= 5, "{share} in a hundred");
        let later = now + Duration::from_secs(20);
        let tried_again = (0..300).any(|s| {
            let now = later + Duration::from_secs(s);
            compression.level(BATCH_BYTES, now) == LEVELS.small
        });
        assert!(tried_again);
    }

    #[test]
    fn a_batch_that_would_take_long_is_packed_fast() {
        let now = Instant::now();
        let compression = Compression::new(LEVELS, now);
        assert_eq!(compression.level(600_000, now), LEVELS.fast);
        assert_eq!(compression.level(400_000, now), LEVELS.small);
    }
}
