//! `delayq status | cancel | reschedule | upcoming`: tracked records by their ids, each with a definite answer, and what comes due.

mod cancel;
pub(crate) mod replace;
mod reschedule;
mod status;
mod upcoming;
mod view;

use std::sync::Arc;

use anyhow::{Context as _, bail};
use delayq_aws::{DynamoMessageRegistry, Names};
use delayq_core::ports::MessageRegistry;
use delayq_core::tracked::MessageKey;
use delayq_runtime::config::Config;

pub use cancel::cancel;
pub use reschedule::{RescheduleArgs, reschedule};
pub use status::status;
pub use upcoming::{UpcomingArgs, upcoming};

use crate::operator::clients;

/// Which records.
#[derive(Debug, Clone, clap::Args)]
pub struct IdArgs {
    /// The ids (delay-id); several may be given.
    #[arg(required = true, value_name = "ID")]
    pub ids: Vec<String>,
    /// The delay topic. Default: the first of topics.delay.
    #[arg(long, value_name = "TOPIC")]
    pub topic: Option<String>,
    /// JSON objects, one a line.
    #[arg(long)]
    pub json: bool,
}

/// How a command ended, for its exit code; of several records the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ended {
    /// As asked.
    Done,
    /// Nothing was changed: it is published, being published, dead, cancelled or superseded.
    TooLate,
    /// No record with this id is known.
    Unknown,
}

/// What the commands need at hand.
struct Desk {
    registry: Arc<dyn MessageRegistry>,
    topic: Arc<str>,
}

impl Desk {
    async fn open(config: &Config, topic: Option<&str>) -> anyhow::Result<Self> {
        let known = &config.topics.delay;
        let topic = match topic {
            Some(topic) => topic,
            None => known.first().context("topics.delay names no topic")?,
        };
        if !known.iter().any(|one| one == topic) {
            bail!(
                "{topic} is no delay topic: topics.delay has {}",
                known.join(", ")
            );
        }
        let clients = clients(config).await?;
        let names = Names::with_prefix(&config.aws.prefix);
        let registry = Arc::new(DynamoMessageRegistry::new(&clients, &names.tables));
        Ok(Self {
            registry,
            topic: Arc::from(topic),
        })
    }

    fn key(&self, id: &str) -> MessageKey {
        MessageKey {
            topic: self.topic.clone(),
            id: Arc::from(id),
        }
    }
}
