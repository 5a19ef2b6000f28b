//! What AWS bills for a call, and what that costs: for meters and plans. Pure.
//!
//! Sources: <https://aws.amazon.com/sqs/pricing/>, <https://aws.amazon.com/dynamodb/pricing/on-demand/>,
//! <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html>.

/// SQS bills each started 64 KiB of what a call carries as a request.
const SQS_STEP_BYTES: u64 = 64 * 1024;
/// DynamoDB bills each started KiB of an item as a write unit.
const WRITE_STEP_BYTES: u64 = 1024;
/// DynamoDB bills each started 4 KiB of what is read as a read unit (strongly consistent; half of it otherwise).
const READ_STEP_BYTES: u64 = 4 * 1024;

/// What is billed by the piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unit {
    /// A request to a standard queue.
    SqsRequest,
    /// A request to a FIFO queue.
    SqsFifoRequest,
    /// A write unit of a table on demand.
    WriteUnit,
    /// A read unit of a table on demand, as a strongly consistent read takes it.
    ReadUnit,
}

impl Unit {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::SqsRequest,
        Self::SqsFifoRequest,
        Self::WriteUnit,
        Self::ReadUnit,
    ];

    /// Stable name: a metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SqsRequest => "sqs-request",
            Self::SqsFifoRequest => "sqs-fifo-request",
            Self::WriteUnit => "dynamodb-write-unit",
            Self::ReadUnit => "dynamodb-read-unit",
        }
    }
}

/// Requests billed for an SQS call that carries so many bytes of messages, sent or received. One that carries none is one, too.
#[must_use]
pub const fn sqs_requests(message_bytes: u64) -> u64 {
    steps(message_bytes, SQS_STEP_BYTES)
}

/// Write units of an item of this size. An update is billed by the larger of the item before and after; a condition that
/// fails is billed as well.
#[must_use]
pub const fn write_units(item_bytes: u64) -> u64 {
    steps(item_bytes, WRITE_STEP_BYTES)
}

/// Read units of a strongly consistent `GetItem` of an item of this size, or of a `Query` of this size in sum, before any filter.
/// One that finds nothing is one unit, too. A `BatchGetItem` is billed item by item.
#[must_use]
pub const fn read_units(read_bytes: u64) -> u64 {
    steps(read_bytes, READ_STEP_BYTES)
}

const fn steps(bytes: u64, step_bytes: u64) -> u64 {
    let started = bytes.div_ceil(step_bytes);
    if started == 0 { 1 } else { started }
}

/// A list of prices, in billionths of a US dollar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prices {
    /// The month in which it was looked up.
    pub as_of: &'static str,
    /// The region that it is of.
    pub region: &'static str,
    /// A request to a standard queue, beyond the free million a month.
    pub sqs_request: u64,
    /// A request to a FIFO queue.
    pub sqs_fifo_request: u64,
    /// A write unit, on demand.
    pub write_unit: u64,
    /// A read unit, on demand.
    pub read_unit: u64,
}

/// List prices without volume discounts or free tiers. Others are from 0 % to some 60 % above.
pub const LIST_PRICES: Prices = Prices {
    as_of: "2026-11",
    region: "us-east-1",
    sqs_request: 400,
    sqs_fifo_request: 500,
    write_unit: 625,
    read_unit: 125,
};

impl Prices {
    /// The price of one unit, in billionths of a US dollar.
    #[must_use]
    pub const fn of(&self, unit: Unit) -> u64 {
        match unit {
            Unit::SqsRequest => self.sqs_request,
            Unit::SqsFifoRequest => self.sqs_fifo_request,
            Unit::WriteUnit => self.write_unit,
            Unit::ReadUnit => self.read_unit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_started_is_billed() {
        let kib = 1024;
        let of = |unit: fn(u64) -> u64, sizes: &[u64]| -> Vec<u64> {
            sizes.iter().map(|bytes| unit(*bytes)).collect()
        };
        let sizes = [0, 1, 64 * kib, 64 * kib + 1, 256 * kib, 1024 * kib];
        assert_eq!(of(sqs_requests, &sizes), [1, 1, 1, 2, 4, 16]);
        let sizes = [0, 1, kib, kib + 1, 350_000, 400 * kib];
        assert_eq!(of(write_units, &sizes), [1, 1, 1, 2, 342, 400]);
        let sizes = [0, 1, 4 * kib, 4 * kib + 1, 1024 * kib];
        assert_eq!(of(read_units, &sizes), [1, 1, 1, 2, 256]);
    }

    #[test]
    fn a_million_units_cost_what_the_list_says() {
        let dollars = |unit| LIST_PRICES.of(unit) as f64 * 1e6 / 1e9;
        assert_eq!(Unit::ALL.map(dollars), [0.4, 0.5, 0.625, 0.125]);
        let names = Unit::ALL.map(Unit::as_str);
        assert_eq!(
            names,
            [
                "sqs-request",
                "sqs-fifo-request",
                "dynamodb-write-unit",
                "dynamodb-read-unit"
            ]
        );
    }
}
