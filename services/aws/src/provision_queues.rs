//! Creates the queues, or sets their attributes right.

use std::collections::HashMap;

use aws_sdk_sqs::types::QueueAttributeName;
use delayq_core::error::{ErrorClass, PortError};
use delayq_core::ports::Lane;
use delayq_core::priority::Priority;
use serde_json::Value;

use crate::connect::Clients;
use crate::errors::{CallSite, short_code};
use crate::names::QueueNames;
use crate::provision::Provisioning;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use delayq_core::ports::TICK_RETENTION;

/// A message is moved to the dead-letter queue when received more often than this. High, because one
/// message holds many records and each may need a redelivery.
pub(crate) const MAX_RECEIVE_COUNT: u32 = 100;
/// The longest SQS keeps a message: 14 days. A dead-letter queue counts from the first send.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html>
pub(crate) const RETENTION_S: u32 = 1_209_600;

pub(crate) type Attributes = HashMap<QueueAttributeName, String>;

pub(crate) async fn provision_queues(
    work: &mut Provisioning<'_>,
    names: &QueueNames,
) -> Result<(), PortError> {
    for priority in Priority::ALL {
        let dead_letters = names.lane(Lane::DeadLetter(priority));
        let retention = (
            QueueAttributeName::MessageRetentionPeriod,
            RETENTION_S.to_string(),
        );
        let wanted = Attributes::from([retention.clone()]);
        let arn = match ensure(work, &dead_letters, wanted).await? {
            Some(url) => arn(work.clients, &dead_letters, &url).await?,
            // Unknown as long as a dry run only would create it: in no case what the main queue has now.
            None => String::new(),
        };
        let redrive = serde_json::json!({
            "deadLetterTargetArn": arn,
            "maxReceiveCount": MAX_RECEIVE_COUNT,
        });
        let wanted = Attributes::from([
            retention,
            (QueueAttributeName::RedrivePolicy, redrive.to_string()),
        ]);
        ensure(work, &names.lane(Lane::Main(priority)), wanted).await?;
    }
    // Deduplication ids are given, so that two replicas' copies of a tick are one whatever their bodies.
    let wanted = Attributes::from([
        (QueueAttributeName::FifoQueue, "true".to_owned()),
        (
            QueueAttributeName::ContentBasedDeduplication,
            "false".to_owned(),
        ),
        (
            QueueAttributeName::MessageRetentionPeriod,
            TICK_RETENTION.as_secs().to_string(),
        ),
    ]);
    ensure(work, &names.ticks, wanted).await.map(drop)
}

/// Makes sure that the queue exists with these attributes; answers with its URL, if it exists by now.
async fn ensure(
    work: &mut Provisioning<'_>,
    name: &str,
    wanted: Attributes,
) -> Result<Option<String>, PortError> {
    let (clients, dry_run) = (work.clients, work.options.dry_run);
    let resource = format!("queue {name}");
    if let Some(url) = find(clients, name, &resource).await? {
        let different = differences(clients, &resource, &url, &wanted).await?;
        if different.is_empty() {
            work.say(&resource, "exists");
            return Ok(Some(url));
        }
        let mut changed: Vec<_> = different.keys().map(ToString::to_string).collect();
        changed.sort();
        let changed = changed.join(", ");
        if dry_run {
            work.say(&resource, format_args!("differs, would set {changed}"));
            return Ok(Some(url));
        }
        let request = clients
            .sqs
            .set_queue_attributes()
            .queue_url(&url)
            .set_attributes(Some(different));
        site(clients, "sqs SetQueueAttributes", &resource).finish(request.send().await)?;
        work.say(&resource, format_args!("differed, set {changed}"));
        return Ok(Some(url));
    }
    if dry_run {
        work.say(&resource, "would create");
        return Ok(None);
    }
    let site = site(clients, "sqs CreateQueue", &resource);
    let request = clients
        .sqs
        .create_queue()
        .queue_name(name)
        .set_attributes(Some(wanted));
    let created = site.finish(request.send().await)?;
    work.say(&resource, "created");
    match created.queue_url {
        Some(url) => Ok(Some(url)),
        None => Err(site.error(ErrorClass::Transient, "the answer holds no URL")),
    }
}

/// The URL of a queue, if there is one of that name.
pub(crate) async fn find(
    clients: &Clients,
    name: &str,
    resource: &str,
) -> Result<Option<String>, PortError> {
    let answer = clients.sqs.get_queue_url().queue_name(name).send().await;
    let missing = answer.as_ref().is_err_and(|e| {
        matches!(
            e.code().map(short_code),
            Some("QueueDoesNotExist" | "NonExistentQueue")
        )
    });
    match site(clients, "sqs GetQueueUrl", resource).finish(answer) {
        Err(_) if missing => Ok(None),
        answer => Ok(answer?.queue_url),
    }
}

async fn arn(clients: &Clients, name: &str, url: &str) -> Result<String, PortError> {
    let resource = format!("queue {name}");
    let attributes = attributes(clients, &resource, url).await?;
    attributes
        .get(&QueueAttributeName::QueueArn)
        .cloned()
        .ok_or_else(|| {
            site(clients, "sqs GetQueueAttributes", &resource)
                .error(ErrorClass::Transient, "the answer holds no ARN")
        })
}

/// Those of `wanted` that the queue does not have yet.
async fn differences(
    clients: &Clients,
    resource: &str,
    url: &str,
    wanted: &Attributes,
) -> Result<Attributes, PortError> {
    let present = attributes(clients, resource, url).await?;
    Ok(wanted
        .iter()
        .filter(|(name, value)| differs(name, value, present.get(name)))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect())
}

/// All attributes of a queue.
pub(crate) async fn attributes(
    clients: &Clients,
    resource: &str,
    url: &str,
) -> Result<Attributes, PortError> {
    let request = clients
        .sqs
        .get_queue_attributes()
        .queue_url(url)
        .attribute_names(QueueAttributeName::All);
    let answer = site(clients, "sqs GetQueueAttributes", resource).finish(request.send().await)?;
    Ok(answer.attributes.unwrap_or_default())
}

fn site<'a>(clients: &'a Clients, operation: &'static str, resource: &'a str) -> CallSite<'a> {
    CallSite {
        operation,
        resource,
        endpoint: &clients.sqs_endpoint,
    }
}

fn differs(name: &QueueAttributeName, wanted: &str, present: Option<&String>) -> bool {
    match (name, present) {
        // AWS leaves it out when there is none.
        (QueueAttributeName::RedrivePolicy, present) => present
            .and_then(|p| redrive(p))
            .is_none_or(|p| Some(p) != redrive(wanted)),
        (_, Some(present)) => present != wanted,
        // AWS always says; ElasticMQ leaves out what it does not keep, and setting it again changes nothing.
        (_, None) => false,
    }
}

/// Target and count of a redrive policy: AWS gives the count back as a number or as text.
pub(crate) fn redrive(policy: &str) -> Option<(String, u64)> {
    let policy: Value = serde_json::from_str(policy).ok()?;
    let target = policy.get("deadLetterTargetArn")?.as_str()?.to_owned();
    let count = policy.get("maxReceiveCount")?;
    let count = count.as_u64().or_else(|| count.as_str()?.parse().ok())?;
    Some((target, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redrive_policies_are_compared_by_meaning() {
        let name = QueueAttributeName::RedrivePolicy;
        let wanted = r#"{"deadLetterTargetArn":"arn:q","maxReceiveCount":100}"#;
        let same = r#"{ "maxReceiveCount" : "100", "deadLetterTargetArn" : "arn:q" }"#.to_owned();
        let other = r#"{"deadLetterTargetArn":"arn:q","maxReceiveCount":3}"#.to_owned();
        assert!(!differs(&name, wanted, Some(&same)));
        assert!(differs(&name, wanted, Some(&other)));
        assert!(differs(&name, wanted, Some(&"{".to_owned())));
        assert!(differs(&name, wanted, None));
    }

    #[test]
    fn other_attributes_are_compared_as_text() {
        let name = QueueAttributeName::MessageRetentionPeriod;
        assert!(differs(&name, "300", Some(&"345600".to_owned())));
        assert!(!differs(&name, "300", Some(&"300".to_owned())));
        assert!(!differs(&name, "300", None));
    }
}
