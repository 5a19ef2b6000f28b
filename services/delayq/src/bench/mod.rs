//! `delayq bench`: figures that a command reproduces.

#![allow(
    clippy::disallowed_methods,
    reason = "loads and readers have threads of their own and measure real time"
)]

mod copy;
pub mod lateness;
mod load;
pub mod poison;
mod reader;
mod report;
mod stage;
pub mod sustained;

pub use stage::Tiers;

/// Scenarios.
#[derive(Debug, clap::Subcommand)]
pub enum Scenario {
    /// How many records a second go the whole way, beside a plain copy of the same records. Exit code 1 when one is lost
    /// or early.
    Sustained(sustained::SustainedArgs),
    /// How late records are published at a steady rate. Exit code 1 when one is lost or early.
    Lateness(lateness::LatenessArgs),
    /// Whether one record that cannot be published delays the others: lateness without it and with it. Exit code 1 when
    /// a record is lost or early, or the poison is not dead-lettered, alone and after its tries.
    Poison(poison::PoisonArgs),
    /// All roles in one process over tiers in memory, for the scenarios on embedded tiers.
    #[command(hide = true)]
    Roles {
        /// Configuration.
        #[command(flatten)]
        config: crate::cli::ConfigArgs,
    },
}
