//! How large the model is, and in what it differs from the code when it is to fail.

use delayq_core::bucket::Bucket;
use delayq_core::handover::HandoverTimes;

/// The service's defaults.
pub const TIMES: HandoverTimes = HandoverTimes {
    bucket_ms: 300_000,
    lead_ms: 420_000,
    skip_read_ms: 900_000,
    max_skew_ms: 60_000,
};

/// What the processes do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// What the code does.
    AsBuilt,
    /// The router reads the row first, then writes the batch.
    RouterReadsBeforeWriting,
    /// The router never reads the row.
    RouterSkipsReading,
    /// The router lets go of the offsets before the records it must send too are confirmed.
    RouterFinishesBeforeSending,
    /// The scheduler reads the bucket, and then writes `closing`.
    PagesBeforeClosing,
    /// The scheduler saves the cursor before the page is confirmed.
    CursorBeforeSending,
    /// A write that is not answered counts as done: the row is not read again.
    UnansweredCountsAsDone,
    /// Nothing is asked of a write to the row.
    UpdatesWithoutCondition,
    /// A write to the row needs the epoch, but may move the row back.
    UpdatesByEpochOnly,
    /// A write to the row may not move it back, but needs no epoch. Loses nothing, but is no lock: pages are sent twice.
    UpdatesForwardOnly,
    /// The scheduler trusts its own clock, whatever it sees of the store's.
    SchedulerByOwnClock,
    /// A router creates the row by its own clock, whatever it sees of the store's.
    RowByOwnClock,
    /// The router skips its reading at any skew.
    SkipsAtAnySkew,
}

/// Where an attempt at writing a batch puts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Sub-partition.
    pub sub: u8,
    /// Position within it.
    pub sort: u8,
}

/// Records that a router has taken from Kafka.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Who has it.
    pub router: usize,
    /// Where it belongs.
    pub bucket: Bucket,
    /// Places by attempt; after a crash it is written anew under another key. The last serves all further attempts.
    pub places: Vec<Place>,
}

/// Time.
#[derive(Debug, Clone)]
pub enum Time {
    /// Clocks play no part: the lead of every bucket has begun, a scheduler may start on any whenever it gets to it, and
    /// routers read the row after each write. A router may create the row as of any bucket.
    Free,
    /// The true time goes through these instants, in ms; each process's clock is off by one of its skews.
    Instants {
        /// Ascending.
        at_ms: Vec<i64>,
        /// Of the routers' clocks, in ms; positive: ahead.
        router_skews_ms: Vec<i64>,
        /// Of the schedulers' clocks.
        scheduler_skews_ms: Vec<i64>,
    },
}

/// What is explored.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Routers.
    pub routers: usize,
    /// Schedulers.
    pub schedulers: usize,
    /// The first bucket of the model.
    pub first: Bucket,
    /// How many buckets are closed.
    pub buckets: u8,
    /// Batches, at most 8 with at most 16 places in all; a router takes on its own in this order.
    pub batches: Vec<Batch>,
    /// Crashes, lapsed leases, failed and unanswered calls, in all.
    pub faults: u8,
    /// Batches a page.
    pub page_batches: usize,
    /// Time.
    pub time: Time,
    /// What the processes do.
    pub variant: Variant,
}

const FIRST: Bucket = Bucket(10);

impl Bounds {
    /// Two routers, two schedulers, three batches in two buckets, of which two share a sub-partition: what CI explores.
    #[must_use]
    pub fn standard() -> Self {
        let batch = |router, bucket, first: (u8, u8), second: (u8, u8)| Batch {
            router,
            bucket,
            places: [first, second]
                .map(|(sub, sort)| Place { sub, sort })
                .into(),
        };
        Self {
            routers: 2,
            schedulers: 2,
            first: FIRST,
            buckets: 2,
            batches: vec![
                // The second attempt lands before, after, and beside the first.
                batch(0, FIRST, (0, 1), (0, 3)),
                batch(1, FIRST, (0, 2), (15, 0)),
                batch(1, FIRST.next(), (0, 1), (0, 0)),
            ],
            faults: 2,
            page_batches: 1,
            time: Time::Free,
            variant: Variant::AsBuilt,
        }
    }

    /// As [`Bounds::standard`], with one batch more, so that each router writes to both buckets.
    #[must_use]
    pub fn large() -> Self {
        let mut bounds = Self::standard();
        bounds.batches.push(Batch {
            router: 0,
            bucket: FIRST.next(),
            places: vec![Place { sub: 0, sort: 2 }, Place { sub: 1, sort: 0 }],
        });
        bounds
    }

    /// One router that writes and one that creates the row, one scheduler, one batch, and clocks that are off by at most
    /// `skew_ms`, from 25 minutes before the bucket's lead begins until it has begun, in steps of `step_ms`.
    #[must_use]
    pub fn clocks(skew_ms: i64, step_ms: i64) -> Self {
        let lead_begins_ms = FIRST.start_ms(TIMES.bucket_ms) - TIMES.lead_ms;
        let steps = (25 * 60_000_i64).div_euclid(step_ms.max(1));
        let skews = vec![-skew_ms, 0, skew_ms];
        Self {
            routers: 2,
            schedulers: 1,
            buckets: 1,
            batches: vec![Batch {
                router: 0,
                bucket: FIRST,
                places: vec![Place { sub: 0, sort: 0 }],
            }],
            faults: 1,
            time: Time::Instants {
                at_ms: (-steps..=1)
                    .map(|step| lead_begins_ms + step * step_ms)
                    .collect(),
                router_skews_ms: skews.clone(),
                scheduler_skews_ms: skews,
            },
            ..Self::standard()
        }
    }

    /// The same, with processes that behave otherwise.
    #[must_use]
    pub fn with(self, variant: Variant) -> Self {
        Self { variant, ..self }
    }

    /// The same, with up to `faults` faults.
    #[must_use]
    pub fn with_faults(self, faults: u8) -> Self {
        Self { faults, ..self }
    }

    /// The last bucket of the model.
    #[must_use]
    pub fn last(&self) -> Bucket {
        Bucket(self.first.0 + i64::from(self.buckets) - 1)
    }
}
