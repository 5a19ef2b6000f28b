//! Records to be delayed: their bodies, and how they are sent.

mod body;
mod open_loop;
mod preload;

use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};

use delayq_core::priority::Priority;

pub(super) use open_loop::{Load, Poison, Sent, send};
pub(super) use preload::{Preload, preload};

/// The header that numbers the records of a run.
pub(super) const NUMBER: &str = "bench-n";

/// A producer as applications have it: durable, compressed, ordered.
fn producer_config(bootstrap_servers: &str, linger_ms: u32) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap_servers)
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("compression.type", "lz4")
        .set("linger.ms", linger_ms.to_string())
        .set("message.max.bytes", "1114112");
    config
}

/// The control headers of a record.
fn headers(number: &str, due_ms: &str, target: &str, priority: Priority) -> OwnedHeaders {
    let header = |key, value| Header {
        key,
        value: Some(value),
    };
    OwnedHeaders::new_with_capacity(4)
        .insert(header("deliver-at-ms", due_ms))
        .insert(header("delay-target", target))
        .insert(header("delay-priority", priority.as_str()))
        .insert(header(NUMBER, number))
}

/// Of record `n`: the priorities of its load take turns.
fn turn_of(n: u32, priorities: &[Priority]) -> Priority {
    let turn = usize::try_from(n).unwrap_or(0) % priorities.len().max(1);
    priorities.get(turn).copied().unwrap_or(Priority::Standard)
}
