//! The whole of delayq, simulated: the real router, scheduler and emitter over the embedded adapters, with a virtual clock and
//! one seed for everything, while processes crash and every call to the outside may fail in every way that it can.
//!
//! A seed makes a [`plan`]: settings, records, and what goes wrong when. The [`world`] carries it out: each process is a
//! [`node`] that reaches the outside only through [`ports`], where the [`weather`] decides what becomes of a call. The [`ledger`]
//! keeps who had which record in hand, so that a fault is a cause for the duplicates that it may lead to, and for no others.
//! At the end all is mended, what was promised must hold, and the [`oracle`] looks.
//!
//! Each seed runs in a process of its own ([`campaign`]), whose [`entropy`] is the seed's: it repeats exactly, anywhere.

pub mod campaign;
pub mod entropy;
pub mod ledger;
pub mod node;
pub mod oracle;
pub mod plan;
pub mod ports;
pub mod report;
pub mod settings;
pub mod tracking;
pub mod weather;
pub mod workload;
pub mod world;
