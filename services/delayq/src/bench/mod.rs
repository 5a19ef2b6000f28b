//! `delayq bench`: figures that a command reproduces.

pub mod lateness;
mod load;
mod reader;
