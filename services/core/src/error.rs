//! What a failed call means for the one who made it.

use std::time::Duration;

/// The class of a failure decides what happens next; the text is for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// The request itself is wrong: it fails the same way every time.
    Invalid,
    /// The other side is away, slow or busy: try again, later.
    Transient,
    /// The other side asks for less: try again, later and slower.
    Throttled,
    /// A condition was not met: somebody else holds what we thought was ours.
    Conflict,
    /// Credentials, permissions or a missing queue, table or topic: an operator must act; trying again is harmless.
    Misconfigured,
}

/// A failed call to a broker or store.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("{operation}: {detail}")]
pub struct PortError {
    /// What to do about it.
    pub class: ErrorClass,
    /// The call, such as `sqs SendMessageBatch`.
    pub operation: &'static str,
    /// What the other side said, and what to do where that is known.
    pub detail: String,
    /// How long the other side asked us to wait.
    pub retry_after: Option<Duration>,
    /// What was sent is too large for the other side: the same in smaller pieces, or elsewhere, may do.
    pub too_large: bool,
}

impl PortError {
    /// An error of that class.
    pub fn new(class: ErrorClass, operation: &'static str, detail: impl Into<String>) -> Self {
        Self {
            class,
            operation,
            detail: detail.into(),
            retry_after: None,
            too_large: false,
        }
    }

    /// The same, for what is too large.
    #[must_use]
    pub fn for_size(self) -> Self {
        Self {
            too_large: true,
            ..self
        }
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(
            self.class,
            ErrorClass::Transient | ErrorClass::Throttled | ErrorClass::Misconfigured
        )
    }
}

/// Exponential backoff with full jitter: `random` in `0..1` picks the point between zero and the ceiling.
///
/// <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>
#[must_use]
pub fn backoff(attempt: u32, first: Duration, max: Duration, random: f64) -> Duration {
    let ceiling = first
        .saturating_mul(1u32.checked_shl(attempt.min(20)).unwrap_or(u32::MAX))
        .min(max);
    // At least a tenth: a retry at once, by bad luck of the jitter, would hammer a broken service.
    ceiling.mul_f64(random.clamp(0.1, 1.0))
}

/// The waits of one call that is tried again and again.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    attempt: u32,
}

impl Backoff {
    /// Waits from `first`, doubling, up to `max`.
    #[must_use]
    pub const fn new(first: Duration, max: Duration) -> Self {
        Self {
            first,
            max,
            attempt: 0,
        }
    }

    /// How long to wait after this failure: what the other side asked for, else the next step. Steps of a seventh
    /// spread the callers as well as randomness would, and need none.
    pub fn wait_after(&mut self, error: &PortError) -> Duration {
        let spread = f64::from(self.attempt % 7 + 1) / 7.0;
        let wait = backoff(self.attempt, self.first, self.max, spread);
        self.attempt += 1;
        error.retry_after.unwrap_or(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn backoff_stays_in_bounds(attempt in 0u32..100, random in 0.0f64..1.0) {
            let first = Duration::from_millis(50);
            let max = Duration::from_secs(10);
            let wait = backoff(attempt, first, max, random);
            prop_assert!(wait <= max);
            prop_assert!(wait >= Duration::from_millis(5));
            if attempt == 0 { prop_assert!(wait <= first); }
        }
    }

    fn error(class: ErrorClass) -> PortError {
        PortError::new(class, "sqs SendMessage", "why")
    }

    #[test]
    fn what_is_too_large_stays_what_it_was_otherwise() {
        let refused = error(ErrorClass::Invalid).for_size();
        assert!(refused.too_large && !error(ErrorClass::Invalid).too_large);
        assert_eq!(
            (refused.class, &*refused.detail),
            (ErrorClass::Invalid, "why")
        );
    }

    #[test]
    fn what_is_invalid_or_overtaken_is_not_tried_again() {
        for (class, retryable) in [
            (ErrorClass::Transient, true),
            (ErrorClass::Throttled, true),
            (ErrorClass::Misconfigured, true),
            (ErrorClass::Invalid, false),
            (ErrorClass::Conflict, false),
        ] {
            assert_eq!(error(class).is_retryable(), retryable, "{class:?}");
        }
    }

    #[test]
    fn waits_double_up_to_the_limit_spread_by_sevenths() {
        let mut backoff = Backoff::new(Duration::from_millis(700), Duration::from_secs(10));
        let failed = error(ErrorClass::Transient);
        let mut wait_ms = || (backoff.wait_after(&failed).as_secs_f64() * 1_000.0).round();
        let waits_ms: [f64; 9] = std::array::from_fn(|_| wait_ms());
        let expected_ms = [
            100.0, 400.0, 1_200.0, 3_200.0, 7_143.0, 8_571.0, 10_000.0, 1_429.0, 2_857.0,
        ];
        assert_eq!(waits_ms, expected_ms);
        let asked = PortError {
            retry_after: Some(Duration::from_secs(30)),
            ..failed.clone()
        };
        assert_eq!(backoff.wait_after(&asked), Duration::from_secs(30));
    }
}
