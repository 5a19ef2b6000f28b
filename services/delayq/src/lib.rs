//! The binary's parts: the only place that knows which adapter serves which port.

pub mod allocator;
pub mod app;
pub mod bench;
pub mod canary;
pub mod check;
pub mod cli;
mod cluster;
pub mod console;
mod console_client;
pub mod dead_letters;
pub mod demo;
pub mod embedded;
pub mod exit;
#[cfg(feature = "failpoints")]
pub mod failpoints;
pub mod health;
pub mod init;
pub mod operator;
pub mod plan;
pub mod probe;
pub mod role;
mod run;
pub mod send;
mod sequence;
pub mod settings;
mod tap;
pub mod top;
pub mod topology;
mod traces;
pub mod tracked;
pub mod validate;
