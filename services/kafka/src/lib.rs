//! Kafka behind the ports: [`KafkaSource`] consumes the delay topics, [`KafkaSink`] publishes, [`KafkaAdmin`]
//! creates and describes topics, [`send_one`] writes a record by hand, [`TopicLog`] reads a topic by hand. All on librdkafka; nothing outside this crate names `rdkafka`.
//!
//! How the consumer works. One thread (`poll_loop`) polls, because librdkafka serves rebalances only from `poll`,
//! and does all pausing, because a pause between the hand-out of a message and its accounting would deliver that
//! message twice. It puts events into a bounded queue, from which the router's task takes them.

mod admin;
mod assignment;
mod client_log;
mod committed;
mod errors;
mod event_queue;
mod health;
mod heard;
mod in_hand;
mod incoming;
mod inspect;
mod lane;
mod login;
mod lost_brokers;
pub mod metrics;
pub mod outsider;
mod poll_loop;
mod probe;
mod raw_headers;
mod raw_offsets;
mod rebalance;
mod send;
pub mod settings;
mod shared;
mod sink;
mod sink_context;
mod source;
mod sync;
mod tail;
mod topic_log;

pub use admin::{KafkaAdmin, TopicCreation, TopicDescription, TopicSpec};
pub use login::{Token, Tokens};
pub use send::{Sent, send_one};
pub use settings::{Compression, KafkaSettings, SinkSettings, SourceSettings};
pub use sink::KafkaSink;
pub use source::KafkaSource;
pub use tail::{TailEvent, tail_topic};
pub use topic_log::{LogPartition, TopicLog};
