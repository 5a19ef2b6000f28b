//! `delayq`: delayed messages for Apache Kafka.

use std::process::ExitCode;

use clap::Parser as _;
use delayq::cli::{Cli, run_to_end};

fn main() -> ExitCode {
    run_to_end(Cli::parse())
}
