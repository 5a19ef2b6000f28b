//! A model of the closing protocol (`scheduler/DESIGN.md`), explored exhaustively: routers and schedulers over one shard,
//! every order of their steps, with crashes, leases that lapse and writes that nobody answers.
//!
//! What the processes decide is not copied here: the transitions ask `delayq_core::handover`, as the services do. The
//! model adds only what lies around those decisions: the table, the row, and what can go wrong on the way to them.

mod bounds;
mod model;
mod reached;
mod row;
mod run;
mod state;
mod steps;

pub use bounds::{Batch, Bounds, Place, TIMES, Time, Variant};
pub use model::{ALL_DONE, Handover, NOTHING_LOST, SENT_BEFORE};
pub use run::{Explored, explore, shortest_loss};
pub use state::{Action, Answer, Router, Scheduler, State};
