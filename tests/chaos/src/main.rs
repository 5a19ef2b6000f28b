//! `delayq-chaos`: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    delayq_chaos::main()
}
