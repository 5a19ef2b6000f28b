//! The binary's parts: the only place that knows which adapter serves which port.

pub mod app;
pub mod bench;
pub mod cli;
pub mod health;
pub mod role;
pub mod settings;
