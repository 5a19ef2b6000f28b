//! SQS and DynamoDB behind the ports of `delayq-core`: what AWS calls errors, limits and outcomes ends here.
//!
//! - [`connect`]: clients from settings, time-outs, the clock skew seen in the answers.
//! - `errors`: one place that says what a failed call means.
//! - [`sqs_delay_queue`], [`sqs_ticks`]: the queues. [`dynamo_batches`], [`dynamo_shards`], [`dynamo_payloads`],
//!   [`dynamo_messages`], [`dynamo_message_index`], [`dynamo_message_feed`], [`dynamo_tallies`]: the tables.
//! - [`msk_iam`]: what lets a Kafka client into an MSK cluster.
//! - [`names`], [`provision`], [`inspect`]: what the queues and tables are called, how they come to be, how they are.
//!
//! Nothing here retries: the callers know what is still worth sending, and with which delay.

mod attributes;
pub mod connect;
pub mod dynamo_batches;
pub mod dynamo_message_feed;
pub mod dynamo_message_index;
pub mod dynamo_messages;
pub mod dynamo_payloads;
pub mod dynamo_shards;
pub mod dynamo_tallies;
mod errors;
mod feed_shards;
pub mod inspect;
mod message_rows;
mod meter;
pub mod metrics;
pub mod msk_iam;
pub mod names;
pub mod provision;
mod provision_index;
mod provision_queues;
mod provision_tables;
pub mod skew;
mod sqs_calls;
pub mod sqs_delay_queue;
pub mod sqs_ticks;

pub use connect::{AwsSettings, Clients, connect};
pub use dynamo_batches::DynamoBatchStore;
pub use dynamo_message_feed::DynamoMessageFeed;
pub use dynamo_messages::DynamoMessageRegistry;
pub use dynamo_payloads::DynamoPayloadStore;
pub use dynamo_shards::DynamoShardState;
pub use dynamo_tallies::DynamoTallyStore;
pub use inspect::{
    ChangeStream, DueIndex, QueueDepth, QueueState, TableState, Ttl, inspect_queue, inspect_tables,
    queue_depth,
};
pub use msk_iam::{IamSigner, IamToken};
pub use names::{Names, QueueNames, TableNames};
pub use provision::{ProvisionOptions, provision, provision_with};
pub use skew::SkewMeter;
pub use sqs_delay_queue::SqsDelayQueue;
pub use sqs_ticks::SqsTickQueue;
