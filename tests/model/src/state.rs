//! What is where at one moment, and what can happen next.

use stateright::Representative;

use crate::row::Row;

/// A router at work on one of its batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Router {
    /// Has nothing left to do.
    Done,
    /// Has read the batch from Kafka.
    Fresh {
        /// Which batch.
        batch: u8,
        /// Which attempt, after crashes.
        attempt: u8,
    },
    /// Only in a variant: has read the row before it writes the batch.
    Ready {
        /// Which batch.
        batch: u8,
        /// Which attempt.
        attempt: u8,
        /// Whether it must send too, by what it read.
        read: bool,
    },
    /// The write is acknowledged.
    Written {
        /// Which batch.
        batch: u8,
        /// Which attempt.
        attempt: u8,
    },
    /// The bucket is closing: the records must be sent.
    MustSend {
        /// Which batch.
        batch: u8,
        /// Which attempt.
        attempt: u8,
    },
}

/// A scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheduler {
    /// Holds nothing.
    Idle,
    /// Holds the shard, or believes so; this is the row as it knows it.
    Working(Row),
    /// A page is in its memory.
    Sending {
        /// The row as it knows it.
        row: Row,
        /// What is not confirmed yet, by place.
        pending: u16,
        /// The row once all is confirmed.
        then: Row,
        /// Whether that must still be written.
        save: bool,
    },
    /// A call failed or was not answered: the row will be read again.
    Rereading {
        /// The epoch it got.
        epoch: u8,
    },
    /// Only in a variant: has read the bucket before it wrote `closing`.
    ReadEarly {
        /// The row to be written.
        row: Row,
        /// What it has read, by place.
        pages: u16,
    },
}

/// One moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    /// The row, once it exists.
    pub row: Option<Row>,
    /// Places that hold their batch.
    pub stored: u16,
    /// Batches whose offsets are finished.
    pub finished: u8,
    /// Batches that their router sent.
    pub sent_by_router: u8,
    /// Batches that a scheduler sent.
    pub sent_by_scheduler: u8,
    /// Routers.
    pub routers: Vec<Router>,
    /// Schedulers.
    pub schedulers: Vec<Scheduler>,
    /// Writes to the row under way that nobody waits for any more.
    pub late: Vec<Row>,
    /// Faults that may still happen.
    pub faults: u8,
    /// Index into the instants of the model.
    pub instant: u8,
    /// Index into the skews, a process; routers first.
    pub skews: Vec<u8>,
}

/// What becomes of a write that is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answer {
    /// It took effect.
    LostAfter,
    /// It did not.
    LostBefore,
    /// It takes effect later, whatever happens until then.
    Late,
}

/// What can happen. Numbers are processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// A router makes sure that the row exists.
    Ensure(usize, CreatedIn),
    /// A router writes its batch, and is told so.
    Put(usize),
    /// A router's write takes effect, and it is not told: it will write again.
    PutUnanswered(usize),
    /// A router decides by clock or by the row whether it must send too; if not, the offsets are finished.
    Settle(usize),
    /// A router's send is confirmed, and the offsets are finished.
    SendToo(usize),
    /// A router dies; another reads its records again.
    RouterDies(usize),
    /// A scheduler gets the tick, and takes the shard.
    Take(usize),
    /// As [`Action::Take`], but the answer is lost.
    TakeUnanswered(usize),
    /// The holder does the next thing; calls are answered.
    Step(usize),
    /// The holder writes the row and is not answered.
    WriteUnanswered(usize, Answer),
    /// The next batch of the page is confirmed.
    Confirm(usize),
    /// Reading a page or sending it failed.
    Fail(usize),
    /// The holder reads the row again.
    Reread(usize),
    /// A scheduler dies, stops, or reaches its limit of work.
    SchedulerDies(usize),
    /// A write that nobody waits for arrives.
    Arrive(usize),
    /// Time passes.
    Pass,
}

/// By whose clock a new row begins, where clocks play no part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CreatedIn {
    /// By the creator's clock; before the first bucket where there is none.
    Now,
    /// In the first bucket, which then counts as handed over.
    FirstBucket,
}

impl Representative for State {
    /// Schedulers are alike, so their order does not matter; where clocks differ they are told apart.
    fn representative(&self) -> Self {
        let mut same = self.clone();
        if self.skews.is_empty() {
            same.schedulers.sort_unstable();
        }
        same.late.sort_unstable();
        same
    }
}
