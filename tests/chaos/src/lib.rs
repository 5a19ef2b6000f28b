//! Hurts delayq in earnest: the roles as processes of their own over the real stack, killed, stopped and restarted at
//! random from a seed, as are Kafka, SQS and DynamoDB themselves, with faults of the network through proxies of our own;
//! all under load, and every record accounted for.
//!
//! `plan` says what happens, `inject` does it, `proxy` is the network, `ledger` knows who had what in hand when he was
//! hurt, `load` sends, `oracle` judges, `report` tells.

mod away;
mod backlog;
mod campaign;
mod cli;
mod fill;
mod inject;
mod ledger;
mod load;
mod offsets;
mod oracle;
mod plan;
mod proxy;
mod random;
mod reader;
mod report;
mod roles;
mod stand;
mod upgrade;

pub use cli::main;
