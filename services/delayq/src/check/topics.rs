//! Kafka: whether it answers, and the topics.

use std::time::Duration;

use delayq_core::error::{ErrorClass, PortError};
use delayq_kafka::{KafkaAdmin, TopicDescription};
use delayq_runtime::config::Config;

use super::{Finding, told};
use crate::cluster;
use crate::topology::{self, Purpose, Topic};

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(4);
const BROKERS: &str = "check the broker's log";

pub(super) async fn check(config: &Config, targets: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let admin = cluster::kafka(config)
        .await
        .and_then(|kafka| KafkaAdmin::with_timeout(&kafka, TIMEOUT));
    let admin = match admin {
        Ok(admin) => admin,
        Err(error) => return vec![problem("Kafka", &error)],
    };
    let mut largest_bytes = None;
    let topics = topology::topics(config, targets);
    for (index, topic) in topics.iter().enumerate() {
        match look(&admin, topic, config, &mut largest_bytes).await {
            Ok(found) => {
                if index == 0 {
                    let servers = &config.kafka.bootstrap_servers;
                    findings.push(Finding::ok(format!("Kafka answers at {servers}")));
                }
                findings.extend(found);
            }
            // The others would wait as long for the same answer.
            Err(error) => {
                findings.push(problem("Kafka", &error));
                return findings;
            }
        }
    }
    if targets.is_empty() {
        findings.push(Finding::skipped(
            "the output topics",
            "name targets with --targets to have theirs looked at",
        ));
    }
    findings
}

/// What there is to say about a topic; an error when Kafka as a whole does not answer.
async fn look(
    admin: &KafkaAdmin,
    topic: &Topic,
    config: &Config,
    largest_bytes: &mut Option<u64>,
) -> Result<Vec<Finding>, PortError> {
    let label = topic.label();
    let found = match admin.describe(&topic.name).await {
        Ok(Some(found)) => found,
        Ok(None) => return Ok(vec![missing(topic)]),
        Err(error) if error.class == ErrorClass::Transient => return Err(error),
        Err(error) if is_silence(&error) => return Err(error),
        Err(error) => return Ok(vec![problem(&label, &error)]),
    };
    if topic.purpose == Purpose::Delay {
        *largest_bytes = (*largest_bytes).max(topology::limit_bytes(&found));
    }
    let faults = topology::shortcomings(topic, &found, *largest_bytes, config);
    if faults.is_empty() {
        return Ok(vec![fine(&label, &found)]);
    }
    let finding = |fault: topology::Shortcoming| {
        let what = format!("{label} {}", fault.what);
        if fault.mild {
            Finding::warning(what, fault.remedy)
        } else {
            Finding::problem(what, fault.remedy)
        }
    };
    Ok(faults.into_iter().map(finding).collect())
}

fn fine(label: &str, found: &TopicDescription) -> Finding {
    let (partitions, replication) = (found.partitions, found.replication);
    Finding::ok(format!(
        "{label}: {partitions} partition{}, {replication} replica{}",
        if partitions == 1 { "" } else { "s" },
        if replication == 1 { "" } else { "s" },
    ))
}

fn missing(topic: &Topic) -> Finding {
    let remedy = match topic.purpose {
        Purpose::Output => "run `delayq init` with its target in --targets",
        Purpose::Delay | Purpose::DeadLetter | Purpose::Canary => "run `delayq init`",
    };
    Finding::problem(format!("{} does not exist", topic.label()), remedy)
}

/// Nobody answers: the adapter says where, why and what to do.
fn is_silence(error: &PortError) -> bool {
    error.detail.starts_with("no broker answers")
}

fn problem(of: &str, error: &PortError) -> Finding {
    if let Some((what, remedy)) = error.detail.split_once("; ").filter(|_| is_silence(error)) {
        return Finding::problem(what, remedy);
    }
    let (what, remedy) = told(error, BROKERS);
    Finding::problem(format!("{of}: {what}"), remedy)
}
