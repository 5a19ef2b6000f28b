//! What is counted here.

use ::metrics::{Counter, Gauge, Histogram};
use delayq_core::priority::Priority;
use delayq_core::record::Path;

/// Histogram, milliseconds: published (broker's acknowledgement) minus due, or minus the turn that a rate limit gave the
/// record. Labels: priority, path.
pub const LATENESS_MS: &str = "delayq_lateness_ms";
/// Counter: records whose publication the broker confirmed. Labels: priority, path.
pub const PUBLISHED: &str = "delayq_published_total";
/// Counter: dead letters that the broker confirmed. Label: reason.
pub const DEAD_LETTERS: &str = "delayq_dead_letters_total";
/// Counter: publications tried again. Label: cause (`record`, `broker`).
pub const RETRIES: &str = "delayq_publish_retries_total";
/// Counter: held records given up because their partition belongs to somebody else now.
pub const ABANDONED: &str = "delayq_publish_abandoned_total";
/// Gauge: 1 while publishing is held back because Kafka is away. Label: service.
pub const BREAKER_OPEN: &str = "delayq_breaker_open";
/// Gauge, milliseconds: how late the record is right now that is the latest of those held, due and not confirmed; 0 when
/// none is. Label: service.
pub const OLDEST_OVERDUE_MS: &str = "delayq_publish_oldest_overdue_ms";
/// Gauge, milliseconds: how far apart records are handed to the producer in passes; 0 while few are due. Labels: service, priority.
pub const PASS_MS: &str = "delayq_publish_pass_ms";
/// Gauge, records/s: how fast a backlog of standard and low records is handed over at most, because answers for high ones have
/// grown slow; 0 while it is not held back. Label: service.
pub const BACKLOG_LIMIT: &str = "delayq_publish_backlog_limit_per_s";

/// Sets [`BACKLOG_LIMIT`].
pub(super) fn backlog_limit(service: &'static str, limit_per_s: Option<f64>) {
    ::metrics::gauge!(BACKLOG_LIMIT, "service" => service).set(limit_per_s.unwrap_or(0.0));
}

/// [`PASS_MS`] of one priority.
pub(super) fn pass_ms(service: &'static str, priority: Priority) -> Gauge {
    ::metrics::gauge!(PASS_MS, "service" => service, "priority" => priority.as_str())
}

/// How late records were published: counted by the batch, since most of a batch are equally late, and handles are found
/// once.
#[derive(Debug)]
pub(super) struct Published {
    by_kind: [[(Histogram, Counter); 3]; 3],
    /// Priority, path, lateness in ms, records: not told yet.
    untold: Vec<(Priority, Path, i64, u64)>,
}

/// Distinct kinds and latenesses kept until they are told.
const UNTOLD_MAX: usize = 16;

impl Published {
    pub(super) fn new() -> Self {
        let handles = |priority: Priority, path: Path| {
            let labels = [("priority", priority.as_str()), ("path", path.as_str())];
            (
                ::metrics::histogram!(LATENESS_MS, &labels),
                ::metrics::counter!(PUBLISHED, &labels),
            )
        };
        Self {
            by_kind: Priority::ALL.map(|p| Path::ALL.map(|path| handles(p, path))),
            untold: Vec::with_capacity(UNTOLD_MAX),
        }
    }

    pub(super) fn count(&mut self, priority: Priority, path: Path, lateness_ms: i64) {
        let same = self
            .untold
            .iter_mut()
            .find(|(p, way, late, _)| (*p, *way, *late) == (priority, path, lateness_ms));
        match same {
            Some((.., records)) => *records += 1,
            None => {
                if self.untold.len() >= UNTOLD_MAX {
                    self.tell();
                }
                self.untold.push((priority, path, lateness_ms, 1));
            }
        }
    }

    /// To be called when a batch of acknowledgements has been worked through.
    pub(super) fn tell(&mut self) {
        for (priority, path, lateness_ms, records) in self.untold.drain(..) {
            let handles = self.by_kind.get(priority.index());
            if let Some((lateness, published)) = handles.and_then(|one| one.get(path.index())) {
                lateness.record_many(
                    lateness_ms as f64,
                    usize::try_from(records).unwrap_or(usize::MAX),
                );
                published.increment(records);
            }
        }
    }
}

/// Describes the metrics for the exporter.
pub fn describe() {
    super::by_output::describe();
    ::metrics::describe_histogram!(
        LATENESS_MS,
        ::metrics::Unit::Milliseconds,
        "Published minus due"
    );
    ::metrics::describe_counter!(PUBLISHED, "Records published and confirmed");
    ::metrics::describe_counter!(DEAD_LETTERS, "Dead letters written and confirmed");
    ::metrics::describe_counter!(RETRIES, "Publications tried again");
    ::metrics::describe_counter!(
        ABANDONED,
        "Held records given up because their partition was lost"
    );
    ::metrics::describe_gauge!(
        BREAKER_OPEN,
        "1 while publishing is held back because Kafka is away"
    );
    ::metrics::describe_gauge!(
        PASS_MS,
        ::metrics::Unit::Milliseconds,
        "How far apart records are handed to the producer in passes"
    );
    ::metrics::describe_gauge!(
        BACKLOG_LIMIT,
        "How fast a backlog is handed over at most beside high records; 0: as fast as goes"
    );
    ::metrics::describe_gauge!(
        OLDEST_OVERDUE_MS,
        ::metrics::Unit::Milliseconds,
        "How late the latest of the records is that are held, due and not confirmed"
    );
}
