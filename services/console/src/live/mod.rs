//! Changes of tracked records as they happen.

mod hub;
mod socket;

pub use hub::Hub;
pub(crate) use hub::{CHANGES, LISTENERS};
pub(crate) use socket::{DROPPED, connect};
