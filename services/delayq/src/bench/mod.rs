//! `delayq bench`: figures that a command reproduces.

pub mod lateness;
mod load;
pub mod poison;
mod reader;
mod stage;
