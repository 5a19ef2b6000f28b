//! The ports of a simulated process: the embedded adapters, as the weather lets them be reached.

mod payloads;
mod queue;
mod registry;
mod shards;
mod sink;
mod source;
mod store;
mod ticks;

pub use payloads::SimPayloads;
pub use queue::SimQueue;
pub use registry::SimRegistry;
pub use shards::SimShards;
pub use sink::SimSink;
pub use source::SimSource;
pub use store::SimStore;
pub use ticks::SimTicks;

use delayq_core::batch;
use delayq_core::error::PortError;
use delayq_core::ports::Outcomes;
use delayq_core::record::Source;

use crate::node::Node;

/// Sources for the history, the first few by name.
fn listed(sources: &[Source]) -> String {
    const NAMED: usize = 20;
    let names: Vec<_> = sources
        .iter()
        .take(NAMED)
        .map(ToString::to_string)
        .collect();
    format!("{} records ({})", sources.len(), names.join(" "))
}

/// The records of an encoded batch; none if it cannot be read.
fn sources_of(body: &[u8]) -> Vec<Source> {
    let records = batch::decode(body).unwrap_or_default();
    records.into_iter().map(|record| record.source).collect()
}

/// The records of a queue message.
fn sources_of_text(body: &str) -> Vec<Source> {
    let records = batch::from_text(body).unwrap_or_default();
    records.into_iter().map(|record| record.source).collect()
}

/// The entries of a batch call that take effect, and which of all fail instead.
struct Sifted<E> {
    passed: Vec<E>,
    failures: Vec<Option<PortError>>,
}

/// Takes out the entries of a batch call that fail without effect.
fn sift<E>(node: &Node, operation: &'static str, entries: Vec<E>) -> Sifted<E> {
    let mut sifted = Sifted {
        passed: Vec::with_capacity(entries.len()),
        failures: Vec::with_capacity(entries.len()),
    };
    for entry in entries {
        let failure = node.weather.entry_fails(operation);
        if failure.is_none() {
            sifted.passed.push(entry);
        } else {
            node.note(format_args!("{operation}: an entry fails"));
            node.ledger.fault("failed entry");
        }
        sifted.failures.push(failure);
    }
    sifted
}

/// The outcomes of all entries, from those of the entries that took effect.
fn merge(failures: Vec<Option<PortError>>, outcomes: Outcomes) -> Outcomes {
    let mut outcomes = outcomes.into_iter();
    let each = failures.into_iter().filter_map(|failure| match failure {
        Some(error) => Some(Err(error)),
        None => outcomes.next(),
    });
    each.collect()
}

/// All entries fail alike.
fn all_fail(count: usize, error: &PortError) -> Outcomes {
    (0..count).map(|_| Err(error.clone())).collect()
}
