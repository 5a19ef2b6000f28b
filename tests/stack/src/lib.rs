//! The real local stack for tests and local runs: Apache Kafka, ElasticMQ (as SQS) and DynamoDB Local, started
//! natively from Maven Central jars, on loopback.
//!
//! ```no_run
//! # async fn example() -> Result<(), delayq_stack::StackError> {
//! use delayq_stack::{Component, Stack, StackOptions};
//! let stack = Stack::from_env_or_start(StackOptions::default()).await?;
//! let bootstrap = &stack.endpoints().kafka;
//! stack.kill(Component::Kafka).await?;
//! stack.start_component(Component::Kafka).await?;
//! # Ok(()) }
//! ```
//!
//! - Jars are resolved once per content of `deploy/local/pom.xml` and kept under `<target>/stack/jars`.
//! - Every `java` runs under a small `sh` that kills it when the owner's end of a pipe closes: no way for the owner to
//!   die (drop, panic, Ctrl-C, SIGKILL, exit with a static [`Stack`]) leaves a process behind.
//! - Work directories are `<target>/stack/run/<random>`: removed on a clean drop, kept after a failure, a panic, or when
//!   `DELAYQ_STACK_KEEP` is set (the newest five are kept).
//!
//! May touch: the cargo target directory, loopback, and Maven Central through `mvn`.

mod archive;
mod dynamodb;
mod elasticmq;
mod error;
mod jars;
mod kafka;
mod launch;
mod options;
mod paths;
mod ports;
mod process;
mod ready;
mod run_dir;
mod stack;
mod tools;
mod usage;

pub use error::StackError;
pub use options::{Component, Endpoints, Ports, StackOptions};
pub use ports::Port;
pub use process::{Process, signal};
pub use stack::Stack;
pub use tools::broker_classpath;
pub use usage::Usage;
