//! `delayq bench`: figures that a command reproduces.

#![allow(
    clippy::disallowed_methods,
    reason = "loads and readers have threads of their own and measure real time"
)]

pub mod burst;
pub mod cost;
mod floor;
pub mod lateness;
mod limit;
mod load;
pub mod long;
mod plots;
pub mod poison;
pub mod priority;
mod reader;
mod report;
pub mod series;
mod stage;
pub mod sustained;
mod taken;
mod timeline;
pub mod tracked;

pub use stage::Tiers;

/// Scenarios.
#[derive(Debug, clap::Subcommand)]
pub enum Scenario {
    /// How many records a second go the whole way, beside a plain copy of the same records. Exit code 1 when one is lost
    /// or early.
    Sustained(sustained::SustainedArgs),
    /// The sustained rate of records of several sizes: tiny, usual, and larger than a batch.
    Sizes(series::SizesArgs),
    /// The sustained rate of one, two and four processes of each role, with as many partitions and shards.
    Scale(series::ScaleArgs),
    /// All due at once: intake, memory while they wait, and how fast they are published; with --restart by roles that were
    /// killed meanwhile. Exit code 1 when one is lost or early.
    Burst(burst::BurstArgs),
    /// Due in days: how fast they are written to DynamoDB and a bucket of them is handed over, and what it costs. Exit code
    /// 1 when one is lost or early.
    Long(long::LongArgs),
    /// What a million records of the long path cost at a steady rate, metered, beside what `delayq plan` says. Exit code 1 when one
    /// is lost or early.
    Cost(cost::CostArgs),
    /// How late records are published at a steady rate, or at shares of the highest rate that this machine keeps up with.
    /// Exit code 1 when one is lost or early.
    Lateness(lateness::LatenessArgs),
    /// Whether high priority keeps its lateness while standard and low are backlogged in SQS. Exit code 1 when a record is
    /// lost or early, or the backlog was gone first.
    Priority(priority::PriorityArgs),
    /// Whether one record that cannot be published delays the others: lateness without it and with it. Exit code 1 when
    /// a record is lost or early, or the poison is not dead-lettered, alone and after its tries.
    Poison(poison::PoisonArgs),
    /// What tracking costs: the lateness of records with a delay-id beside the same records without one; how soon a page of
    /// many tracked records is listed; how soon, and whether, each of many WebSocket clients is told of each change. Exit
    /// code 1 when a record is lost or early, a tracked one comes twice, a list is wrong, or a change is not told.
    Tracked(tracked::TrackedArgs),
    /// All roles in one process over tiers in memory, for the scenarios on embedded tiers.
    #[command(hide = true)]
    Roles {
        /// Configuration.
        #[command(flatten)]
        config: crate::cli::ConfigArgs,
    },
}

/// Runs a scenario; `Ok(false)` when a promise was not kept.
///
/// # Errors
/// A stack that does not start, settings that do not fit it, or a plot that cannot be drawn.
pub(crate) async fn run(scenario: Scenario) -> anyhow::Result<bool> {
    match scenario {
        Scenario::Sustained(args) => sustained::run(&args).await,
        Scenario::Sizes(args) => series::sizes(&args).await,
        Scenario::Scale(args) => series::scale(&args).await,
        Scenario::Burst(args) => burst::run(&args).await,
        Scenario::Long(args) => long::run(&args).await,
        Scenario::Cost(args) => cost::run(&args).await,
        Scenario::Lateness(args) => lateness::run(&args).await,
        Scenario::Priority(args) => priority::run(&args).await,
        Scenario::Poison(args) => poison::run(&args).await,
        Scenario::Tracked(args) => tracked::run(&args).await,
        Scenario::Roles { .. } => anyhow::bail!("the roles of a bench are run by the bench"),
    }
}
