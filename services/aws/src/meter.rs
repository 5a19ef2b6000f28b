//! Counts what AWS will bill for each call, by tier, at list prices.
//!
//! An answered call is billed, one whose condition failed too. One without an answer may be, and is counted. What AWS throttled or
//! refused is not.

use aws_sdk_dynamodb::types::AttributeValue;
use delayq_core::billing::{LIST_PRICES, Unit, read_units, sqs_requests, write_units};
use delayq_core::error::{ErrorClass, PortError};

use crate::attributes::Item;
use crate::metrics::{BILLED_UNITS_TOTAL, COST_NANODOLLARS_TOTAL};

/// What the calls of a queue or table are counted as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tier {
    /// The delay queues and their dead-letter queues.
    Queues,
    /// The ticks of the schedulers.
    Ticks,
    /// The batches table.
    Batches,
    /// The state rows of the shards.
    Shards,
    /// The payloads of large records.
    Payloads,
    /// The rows of tracked records.
    Tracked,
    /// Counts of what comes due.
    Upcoming,
}

impl Tier {
    const ALL: [Self; 7] = [
        Self::Queues,
        Self::Ticks,
        Self::Batches,
        Self::Shards,
        Self::Payloads,
        Self::Tracked,
        Self::Upcoming,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Queues => "queues",
            Self::Ticks => "ticks",
            Self::Batches => "batches",
            Self::Shards => "shards",
            Self::Payloads => "payloads",
            Self::Tracked => "tracked",
            Self::Upcoming => "upcoming",
        }
    }

    /// What a request to it is.
    const fn request(self) -> Unit {
        match self {
            Self::Ticks => Unit::SqsFifoRequest,
            _ => Unit::SqsRequest,
        }
    }

    /// Counts a call to a queue that carried so many bytes of messages, sent or received; hands its result on.
    pub(crate) fn queue_call<T>(
        self,
        message_bytes: usize,
        result: Result<T, PortError>,
    ) -> Result<T, PortError> {
        if is_billed(&result) {
            count(self, self.request(), sqs_requests(message_bytes as u64));
        }
        result
    }

    /// Counts a write of an item of this size; hands its result on.
    pub(crate) fn write<T>(
        self,
        item_bytes: usize,
        result: Result<T, PortError>,
    ) -> Result<T, PortError> {
        if is_billed(&result) {
            count(self, Unit::WriteUnit, write_units(item_bytes as u64));
        }
        result
    }

    /// Counts the writes of an index that came with a write of an item of this size. Where the condition failed there are none.
    pub(crate) fn index_writes<T>(
        self,
        item_bytes: usize,
        writes: u64,
        result: &Result<T, PortError>,
    ) {
        let failed = |error: &PortError| error.class == ErrorClass::Conflict;
        if is_billed(result) && !result.as_ref().is_err_and(failed) {
            let units = writes * write_units(item_bytes as u64);
            count(self, Unit::WriteUnit, units);
        }
    }

    /// Counts reads by what the answers say was consumed, in sum: each started unit.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a small number of units"
    )]
    pub(crate) fn consumed(self, units: f64) {
        count(self, Unit::ReadUnit, units.ceil() as u64);
    }

    /// Counts strongly consistent reads, each of as many bytes as `sizes` finds in the answer; hands the result on. Without
    /// an answer it is one, of nothing.
    pub(crate) fn read<T, S: IntoIterator<Item = usize>>(
        self,
        result: Result<T, PortError>,
        sizes: impl FnOnce(&T) -> S,
    ) -> Result<T, PortError> {
        let units: u64 = match &result {
            Ok(answer) => {
                let sizes = sizes(answer).into_iter();
                sizes.map(|read_bytes| read_units(read_bytes as u64)).sum()
            }
            Err(_) => read_units(0),
        };
        if is_billed(&result) {
            count(self, Unit::ReadUnit, units);
        }
        result
    }
}

fn is_billed<T>(result: &Result<T, PortError>) -> bool {
    match result {
        Ok(_) => true,
        Err(error) => match error.class {
            ErrorClass::Transient | ErrorClass::Conflict => true,
            ErrorClass::Invalid | ErrorClass::Throttled | ErrorClass::Misconfigured => false,
        },
    }
}

fn count(tier: Tier, unit: Unit, units: u64) {
    let tier = tier.as_str();
    metrics::counter!(BILLED_UNITS_TOTAL, "tier" => tier, "unit" => unit.as_str()).increment(units);
    metrics::counter!(COST_NANODOLLARS_TOTAL, "tier" => tier)
        .increment(units.saturating_mul(LIST_PRICES.of(unit)));
}

/// The costs are there before the first call: what has cost nothing yet shows as such.
pub(crate) fn start_at_zero() {
    for tier in Tier::ALL {
        metrics::counter!(COST_NANODOLLARS_TOTAL, "tier" => tier.as_str()).increment(0);
    }
}

/// The size of an item as DynamoDB counts it: names and values.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>
pub(crate) fn item_bytes(item: &Item) -> usize {
    let attribute = |(name, value): (&String, &AttributeValue)| {
        let value_bytes = match value {
            AttributeValue::S(text) => text.len(),
            AttributeValue::N(digits) => number_bytes(digits),
            AttributeValue::B(bytes) => bytes.as_ref().len(),
            // A boolean. No other kind is written here.
            _ => 1,
        };
        name.len() + value_bytes
    };
    item.iter().map(attribute).sum()
}

/// The size of several items in sum: of a page, or of one item or none.
pub(crate) fn items_bytes<'a>(items: impl IntoIterator<Item = &'a Item>) -> usize {
    items.into_iter().map(item_bytes).sum()
}

/// A byte for two significant digits, one more, and one for a sign.
fn number_bytes(number: &str) -> usize {
    let digits = number.trim_start_matches('-');
    let significant = digits.trim_matches('0').len().max(1);
    significant.div_ceil(2) + 1 + usize::from(number.starts_with('-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::{number, text};
    use aws_sdk_dynamodb::primitives::Blob;

    #[test]
    fn items_are_as_large_as_dynamodb_says() {
        let item = Item::from([
            ("k".to_owned(), text("5666667#2#7")),
            ("größe".to_owned(), number(1_702_592_000)),
            ("b".to_owned(), AttributeValue::B(Blob::new(vec![0; 1_000]))),
        ]);
        // 1 + 11, then 7 (UTF-8) + 7 significant digits in 4 bytes + 1, then 1 + 1,000.
        assert_eq!(item_bytes(&item), 12 + 12 + 1_001);
        assert_eq!(item_bytes(&Item::new()), 0);
    }

    #[test]
    fn numbers_take_a_byte_for_two_digits() {
        let sizes = ["0", "7", "-7", "10", "100200", "18446744073709551615"];
        let sizes = sizes.map(number_bytes);
        assert_eq!(sizes, [2, 2, 3, 2, 3, 11]);
    }

    #[test]
    fn what_aws_did_not_do_is_not_billed() {
        let error = |class| Err::<(), _>(PortError::new(class, "op", "why"));
        assert!(is_billed(&Ok::<_, PortError>(())));
        assert!(is_billed(&error(ErrorClass::Conflict)));
        assert!(is_billed(&error(ErrorClass::Transient)));
        for class in [
            ErrorClass::Throttled,
            ErrorClass::Invalid,
            ErrorClass::Misconfigured,
        ] {
            assert!(!is_billed(&error(class)));
        }
    }
}
