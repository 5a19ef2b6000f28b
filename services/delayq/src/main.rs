//! `delayq`: delayed messages for Apache Kafka.

use std::process::ExitCode;

use clap::Parser as _;
use delayq::allocator::Jemalloc;
use delayq::cli::{Cli, run_to_end};

/// For librdkafka and zstd as well. Records live and die by the thousand on different threads: with glibc's allocator a
/// fifth of the processor time went into it, and what was freed stayed resident.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// What was freed goes back to the system within a second, and threads share two arenas
/// (a task has one or two processors): a role's memory is what it holds, not what it once held.
/// <https://jemalloc.net/jemalloc.3.html#tuning>
#[allow(
    unsafe_code,
    reason = "jemalloc looks for its settings under this name"
)]
// SAFETY: the only symbol of this name; a pointer to a constant that ends with a NUL, as jemalloc declares it.
#[unsafe(export_name = "malloc_conf")]
static MALLOC_CONF: &[u8; 46] = b"dirty_decay_ms:500,muzzy_decay_ms:0,narenas:2\0";

fn main() -> ExitCode {
    run_to_end(Cli::parse())
}
