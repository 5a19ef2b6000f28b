//! A histogram of bounded size: values by their two leading digits, so that a percentile is exact to a few percent.

use std::sync::atomic::{AtomicU64, Ordering};

use metrics::HistogramFn;

/// Values below this are counted as they are, rounded.
const EXACT: usize = 100;
/// Two leading digits: 10 to 99 for each power of ten.
const A_DECADE: usize = 90;
/// Up to 99 followed by this many zeros; above it is counted there.
const DECADES: usize = 9;

/// Counts since it was last taken.
#[derive(Debug)]
pub(super) struct Sketch(Box<[AtomicU64]>);

impl Default for Sketch {
    fn default() -> Self {
        let cells = EXACT + A_DECADE * DECADES;
        Self((0..cells).map(|_| AtomicU64::new(0)).collect())
    }
}

impl HistogramFn for Sketch {
    fn record(&self, value: f64) {
        self.record_many(value, 1);
    }

    fn record_many(&self, value: f64, count: usize) {
        if let Some(cell) = self.0.get(cell(value)) {
            cell.fetch_add(count as u64, Ordering::Relaxed);
        }
    }
}

impl Sketch {
    /// Values with their counts, in order; empties it.
    pub(super) fn take(&self) -> Vec<(f64, u64)> {
        let counts = self.0.iter().map(|cell| cell.swap(0, Ordering::Relaxed));
        let counted = counts.enumerate().filter(|(_, count)| *count > 0);
        counted.map(|(cell, count)| (value(cell), count)).collect()
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rounded and bounded"
)]
fn cell(value: f64) -> usize {
    let mut digits = value.max(0.0).round();
    if digits < EXACT as f64 {
        return digits as usize;
    }
    let mut decade = 0;
    while digits >= 100.0 && decade < DECADES {
        digits /= 10.0;
        decade += 1;
    }
    let digits = (digits as usize).clamp(10, 99);
    EXACT + (decade.max(1) - 1) * A_DECADE + digits - 10
}

fn value(cell: usize) -> f64 {
    match cell.checked_sub(EXACT) {
        None => cell as f64,
        Some(beyond) => {
            let (decade, digits) = (beyond / A_DECADE + 1, beyond % A_DECADE + 10);
            digits as f64 * 10_f64.powi(i32::try_from(decade).unwrap_or(i32::MAX))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_by_their_two_leading_digits() {
        let sketch = Sketch::default();
        for (given, back) in [
            (-3.0, 0.0),
            (0.4, 0.0),
            (25.0, 25.0),
            (99.0, 99.0),
            (100.0, 100.0),
            (129.0, 120.0),
            (999.0, 990.0),
            (1_000.0, 1_000.0),
            (61_234.0, 61_000.0),
            (9_999_999_999.0, 9_900_000_000.0),
            (f64::MAX, 99_000_000_000.0),
        ] {
            sketch.record(given);
            assert_eq!(sketch.take(), [(back, 1)], "{given}");
        }
        sketch.record(f64::NAN);
        assert_eq!(sketch.take().len(), 1, "counted, whatever it is");
    }

    #[test]
    fn taking_empties_it() {
        let sketch = Sketch::default();
        sketch.record_many(7.0, 3);
        sketch.record(2_000.0);
        assert_eq!(sketch.take(), [(7.0, 3), (2_000.0, 1)]);
        assert_eq!(sketch.take(), []);
    }
}
