//! Brokers that let nobody in without a login: what the tests in `tests/` share.

pub mod certificates;
pub mod guarded;
pub mod recorder;
pub mod rights;

pub use guarded::Guarded;
