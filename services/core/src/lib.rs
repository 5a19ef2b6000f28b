//! What delayq decides, without doing it: headers, due times, routes, batches, offsets, buckets, handover.
//!
//! Nothing here touches a runtime, a broker or a cloud. Functions take `(state, event, now)` and return
//! data; the adapters behind [`ports`] and the services carry it out.

pub mod batch;
#[cfg(test)]
mod batch_harm;
pub mod billing;
pub mod bucket;
pub mod canary;
pub mod clock;
pub mod commit_metadata;
pub mod delay;
pub mod error;
pub mod handover;
pub mod headers;
pub mod offsets;
pub mod outputs;
pub mod packer;
pub mod payload;
pub mod ports;
pub mod priority;
pub mod record;
pub mod route;
pub mod routes;
pub mod tracked;
mod unpacked;
pub mod upcoming;

#[cfg(test)]
mod testing;
