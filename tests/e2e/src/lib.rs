//! The whole pipeline over real Kafka, SQS and DynamoDB emulators: what the tests in `tests/` share.

pub mod consume;
pub mod deployment;
pub mod produce;
pub mod stalls;

pub use consume::{Arrived, read_until, settled, until_committed};
pub use deployment::{Deployment, Replica, stack};
pub use produce::{Producer, Sample};
pub use stalls::Stalls;
