//! Whole delay seconds for a queue that counts in seconds: rounded so that nothing arrives late.
//! The timers of the emitter make it exact, and never early.

use crate::clock::EpochMs;

/// Longest delay of an SQS message.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html>
pub const QUEUE_DELAY_MAX_S: u32 = 900;
/// Largest SQS message, attributes included, and largest sum of a batch call.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>
pub const QUEUE_MESSAGE_MAX_BYTES: usize = 1_048_576;
/// Largest batch body in a DynamoDB item (the item limit is 400 KB with keys and names).
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html>
pub const STORE_BATCH_MAX_BYTES: usize = 350_000;

/// Seconds to delay a message so that it is visible about `early_ms` before `due_ms`: 0–900.
///
/// Rounded down: a message may arrive up to 1 s earlier than asked, and then waits in a timer; rounding up
/// would make it late. A due time further away than the limit arrives early and is put back.
#[must_use]
pub fn delay_seconds(due_ms: EpochMs, now_ms: EpochMs, early_ms: i64) -> u32 {
    let wait_ms = due_ms
        .saturating_sub(now_ms)
        .saturating_sub(early_ms)
        .max(0);
    u32::try_from(wait_ms / 1000)
        .unwrap_or(QUEUE_DELAY_MAX_S)
        .min(QUEUE_DELAY_MAX_S)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn visible_before_due_and_within_a_second(now in 0i64..2_000_000_000_000, ahead in -10_000i64..2_000_000, early in 0i64..3_000) {
            let delay_ms = i64::from(delay_seconds(now + ahead, now, early)) * 1000;
            prop_assert!((0..=900_000).contains(&delay_ms));
            if ahead >= early { prop_assert!(now + delay_ms <= now + ahead - early); }
            if ahead >= early && ahead - early <= 900_000 { prop_assert!(ahead - early - delay_ms < 1000); }
        }
    }

    #[test]
    fn extremes_do_not_overflow() {
        assert_eq!(delay_seconds(i64::MAX, i64::MIN, 0), 900);
        assert_eq!(delay_seconds(i64::MIN, i64::MAX, i64::MAX), 0);
    }
}
