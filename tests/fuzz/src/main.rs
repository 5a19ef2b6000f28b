//! Hands changed inputs to the targets until their number is reached; an input that makes one panic is kept in a file.

use std::io::Write as _;
use std::panic::catch_unwind;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use delayq_fuzz::drive::{Random, changed, corpus};
use delayq_fuzz::{TARGETS, seeds, target};

/// Fuzzes what reads input, without coverage.
#[derive(Parser)]
struct Args {
    /// Target; all of them, one after the other, if none is named.
    target: Option<String>,
    /// Inputs a target.
    #[arg(long, default_value_t = 1_000_000)]
    iterations: u64,
    /// Seed of the changes.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let names: Vec<&str> = match &args.target {
        Some(name) => vec![name],
        None => TARGETS.iter().map(|(name, _)| *name).collect(),
    };
    let mut out = std::io::stdout().lock();
    for name in names {
        let run = target(name).with_context(|| {
            let known: Vec<_> = TARGETS.iter().map(|(name, _)| *name).collect();
            format!("no target {name:?}; there are {}", known.join(", "))
        })?;
        let mut inputs = seeds::of(name);
        inputs.extend(corpus(name)?);
        let mut random = Random::of(args.seed);
        #[allow(clippy::disallowed_methods, reason = "how fast this program is")]
        let begun = std::time::Instant::now();
        for _ in 0..args.iterations {
            let input = changed(&inputs, &mut random);
            if catch_unwind(|| run(&input)).is_err() {
                let file = format!("crash-{name}-{:08x}", crc32c::crc32c(&input));
                std::fs::write(&file, &input)?;
                writeln!(out, "{name}: panics; the input is in {file}")?;
                return Ok(ExitCode::FAILURE);
            }
        }
        let seconds = begun.elapsed().as_secs_f64();
        #[allow(clippy::cast_precision_loss, reason = "a rate")]
        let rate = args.iterations as f64 / seconds;
        writeln!(
            out,
            "{name}: {} inputs in {seconds:.1} s, {rate:.0} a second",
            args.iterations
        )?;
    }
    Ok(ExitCode::SUCCESS)
}
