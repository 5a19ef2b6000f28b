//! What the queues and tables are called.

use delayq_core::ports::Lane;
use delayq_core::priority::Priority;

/// Names of the SQS queues. At most 80 letters, digits, `-` and `_` each; a FIFO queue ends in `.fifo`.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_CreateQueue.html>
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueNames {
    /// Queue of the high priority.
    pub high: String,
    /// Queue of the standard priority.
    pub standard: String,
    /// Queue of the low priority.
    pub low: String,
    /// FIFO queue of the scheduler's ticks.
    pub ticks: String,
}

/// Added to a queue's name to get its dead-letter queue.
pub const DEAD_LETTERS_SUFFIX: &str = "-dead-letters";

impl QueueNames {
    /// `delayq` gives `delayq-high`, `delayq-standard`, `delayq-low` and `delayq-ticks.fifo`.
    #[must_use]
    pub fn with_prefix(prefix: &str) -> Self {
        Self {
            high: format!("{prefix}-high"),
            standard: format!("{prefix}-standard"),
            low: format!("{prefix}-low"),
            ticks: format!("{prefix}-ticks.fifo"),
        }
    }

    /// Name of the queue of a lane: `delayq-high`, `delayq-high-dead-letters`.
    #[must_use]
    pub fn lane(&self, lane: Lane) -> String {
        match lane {
            Lane::Main(priority) => self.main(priority).to_owned(),
            Lane::DeadLetter(priority) => {
                format!("{}{DEAD_LETTERS_SUFFIX}", self.main(priority))
            }
        }
    }

    fn main(&self, priority: Priority) -> &str {
        match priority {
            Priority::High => &self.high,
            Priority::Standard => &self.standard,
            Priority::Low => &self.low,
        }
    }
}

/// Names of the DynamoDB tables. 3–255 letters, digits, `-`, `_` and `.` each.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html>
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableNames {
    /// Batches of the long tier.
    pub batches: String,
    /// State rows of the shards.
    pub shards: String,
    /// Chunks of records that are too large for a batch.
    pub payloads: String,
    /// Tracked records.
    pub messages: String,
}

impl TableNames {
    /// `delayq` gives `delayq-batches`, `delayq-shards`, `delayq-payloads` and `delayq-messages`.
    #[must_use]
    pub fn with_prefix(prefix: &str) -> Self {
        Self {
            batches: format!("{prefix}-batches"),
            shards: format!("{prefix}-shards"),
            payloads: format!("{prefix}-payloads"),
            messages: format!("{prefix}-messages"),
        }
    }
}

/// All names of an installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// SQS.
    pub queues: QueueNames,
    /// DynamoDB.
    pub tables: TableNames,
}

impl Names {
    /// All names from one prefix.
    #[must_use]
    pub fn with_prefix(prefix: &str) -> Self {
        Self {
            queues: QueueNames::with_prefix(prefix),
            tables: TableNames::with_prefix(prefix),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_names_everything() {
        let names = Names::with_prefix("delayq");
        assert_eq!(
            names.queues.lane(Lane::Main(Priority::Standard)),
            "delayq-standard"
        );
        assert_eq!(
            names.queues.lane(Lane::DeadLetter(Priority::High)),
            "delayq-high-dead-letters"
        );
        assert_eq!(names.queues.ticks, "delayq-ticks.fifo");
        assert_eq!(names.tables.batches, "delayq-batches");
        assert_eq!(names.tables.shards, "delayq-shards");
        assert_eq!(names.tables.payloads, "delayq-payloads");
        assert_eq!(names.tables.messages, "delayq-messages");
    }
}
