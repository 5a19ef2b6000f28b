//! `delayq`: delayed messages for Apache Kafka.

use std::process::ExitCode;

use clap::Parser as _;
use delayq::cli::{Cli, run_to_end};

/// For librdkafka and zstd as well. Records live and die by the thousand on different threads: with glibc's allocator a
/// fifth of the processor time went into it, and what was freed stayed resident.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    run_to_end(Cli::parse())
}
