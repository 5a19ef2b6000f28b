//! `delayq`: delayed messages for Apache Kafka.

use std::process::ExitCode;

use clap::Parser as _;
use delayq::cli::{Cli, EXIT_CONFIG, EXIT_FAILED, execute};
use delayq_runtime::config::ConfigErrors;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("delayq: cannot start its threads: {error}");
            return ExitCode::from(EXIT_FAILED);
        }
    };
    let ended = runtime.block_on(execute(cli));
    // A blocking call that outlived its limit must not hold up the exit.
    runtime.shutdown_background();
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("delayq: {error:#}");
            ExitCode::from(if error.is::<ConfigErrors>() {
                EXIT_CONFIG
            } else {
                EXIT_FAILED
            })
        }
    }
}
