//! Creates what delayq needs: topics, queues, tables.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use delayq_aws::Names;
use delayq_core::clock::SystemClock;
use delayq_kafka::{KafkaAdmin, TopicCreation, TopicSpec};
use delayq_runtime::config::Config;

use crate::settings;

/// How long `init` waits for a new table.
const TABLE_WAIT: Duration = Duration::from_secs(120);
/// Partitions of a delay topic that `init` creates, and of the dead-letter topic.
const DELAY_PARTITIONS: i32 = 6;
const DEAD_LETTER_PARTITIONS: i32 = 1;
/// Partitions of an output topic that `init` creates.
const OUTPUT_PARTITIONS: i32 = 6;

/// Creates topics, queues and tables that are missing, and the output topics of `targets`; running it again changes
/// nothing. Answers with what was done.
///
/// # Errors
/// The first thing that could not be made.
pub async fn init(config: &Config, targets: &[String]) -> anyhow::Result<Vec<String>> {
    let message_max = config.kafka.message_max.as_u64();
    let delay = config.topics.delay.iter().map(|name| TopicSpec {
        name: name.clone(),
        partitions: DELAY_PARTITIONS,
        replication: -1,
        config: [
            ("message.timestamp.type", "LogAppendTime"),
            ("retention.ms", "1209600000"),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into(),
    });
    let dead_letter = TopicSpec {
        name: config.topics.dead_letter.clone(),
        partitions: DEAD_LETTER_PARTITIONS,
        replication: -1,
        // The delay topic's limit and 64 KiB for the reason: no refusal may stall a partition.
        config: [(
            "max.message.bytes".to_owned(),
            (message_max + settings::DEAD_LETTER_ROOM_BYTES).to_string(),
        )]
        .into(),
    };
    let outputs = targets
        .iter()
        .flat_map(|target| settings::output_topics(config, target))
        .map(|name| TopicSpec {
            name,
            partitions: OUTPUT_PARTITIONS,
            replication: -1,
            config: [("max.message.bytes".to_owned(), message_max.to_string())].into(),
        });
    let topics: Vec<_> = delay.chain([dead_letter]).chain(outputs).collect();
    let created = KafkaAdmin::new(&settings::kafka(config))?
        .ensure_topics(&topics)
        .await?;
    let mut done = Vec::new();
    for (topic, created) in topics.iter().zip(created) {
        done.push(
            match created.with_context(|| format!("topic {}", topic.name))? {
                TopicCreation::Created => format!("topic {}: created", topic.name),
                TopicCreation::Existed => format!("topic {}: exists, left as it is", topic.name),
            },
        );
    }
    let clients = delayq_aws::connect(&settings::aws(config), Arc::new(SystemClock)).await?;
    done.extend(
        delayq_aws::provision(
            &clients,
            &Names::with_prefix(&config.aws.prefix),
            TABLE_WAIT,
        )
        .await?,
    );
    Ok(done)
}
