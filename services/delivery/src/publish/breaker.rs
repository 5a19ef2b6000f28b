//! The circuit breaker in front of Kafka: while it is open, one record at a time probes whether Kafka is back.
//! Kafka being away is not the record's fault, so nothing is counted against records meanwhile.

use delayq_core::clock::EpochMs;

/// Open or closed.
#[derive(Debug, Clone)]
pub struct Breaker {
    probe_every_ms: i64,
    open: Option<Probing>,
}

#[derive(Debug, Clone)]
struct Probing {
    next_ms: EpochMs,
}

impl Breaker {
    /// Closed; once open, a probe is let through every `probe_every_ms`.
    #[must_use]
    pub const fn new(probe_every_ms: i64) -> Self {
        Self {
            probe_every_ms,
            open: None,
        }
    }

    /// The broker failed. Answers whether that opened the breaker.
    pub fn failed(&mut self, now_ms: EpochMs) -> bool {
        let opened = self.open.is_none();
        if opened {
            self.open = Some(Probing {
                next_ms: now_ms + self.probe_every_ms,
            });
        }
        opened
    }

    /// The broker confirmed a record. Answers whether that closed the breaker.
    pub fn succeeded(&mut self) -> bool {
        self.open.take().is_some()
    }

    /// Whether it is open.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Whether a record may be published now. Counts as the probe when the breaker is open.
    pub fn admit(&mut self, now_ms: EpochMs) -> bool {
        match &mut self.open {
            None => true,
            Some(probing) if now_ms >= probing.next_ms => {
                probing.next_ms = now_ms + self.probe_every_ms;
                true
            }
            Some(_) => false,
        }
    }

    /// When the next probe may go; `None` while closed.
    #[must_use]
    pub fn next_probe_ms(&self) -> Option<EpochMs> {
        self.open.as_ref().map(|p| p.next_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_probe_at_a_time_until_kafka_is_back() {
        let mut breaker = Breaker::new(1000);
        assert!(breaker.admit(0) && breaker.admit(0));
        assert!(breaker.failed(10));
        assert!(!breaker.failed(20), "already open");
        assert!(!breaker.admit(1009));
        assert!(breaker.admit(1010));
        assert!(!breaker.admit(1011), "one probe");
        assert_eq!(breaker.next_probe_ms(), Some(2010));
        assert!(breaker.succeeded() && !breaker.is_open());
        assert!(breaker.admit(1012) && breaker.admit(1012));
    }
}
