//! The dead-letter queues in SQS: the net beneath the emitters, which empty them into the dead-letter topic. So an operator
//! rarely needs these: to see what is there while no emitter runs, or to give messages another try in their main queue.

use std::time::Duration;

use anyhow::Context as _;
use delayq_aws::{Names, QueueDepth, SqsDelayQueue, queue_depth};
use delayq_core::batch;
use delayq_core::ports::{DelayQueue, Lane, QueueMessage, Receipt, paired};
use delayq_core::priority::Priority;
use delayq_core::record::Scheduled;
use delayq_runtime::config::Config;
use serde_json::json;

use super::Ended;
use super::select::{Facts, Selection};
use crate::operator::{Output, clients};

/// What a message of a dead-letter queue becomes when an emitter takes it.
const REASON: &str = "redelivery-exhausted";
/// How long a message that is looked at is invisible, unless it is given back before.
const LOOK: Duration = Duration::from_secs(60);
/// An empty queue is asked this long: a short poll asks a part of SQS's servers only.
const WAIT: Duration = Duration::from_secs(1);
const MESSAGES_AT_ONCE: usize = 10;
/// Messages held at once, in each queue: up to 1 MiB each, of which only handles are kept.
const MESSAGES_MAX: usize = 1_000;

/// Each dead-letter queue and about how many messages it holds; `None` where there is no such queue.
pub(super) async fn depths(
    config: &Config,
) -> anyhow::Result<Vec<(Priority, String, Option<QueueDepth>)>> {
    let clients = clients(config).await?;
    let names = Names::with_prefix(&config.aws.prefix).queues;
    let mut depths = Vec::new();
    for priority in Priority::ALL {
        let name = names.lane(Lane::DeadLetter(priority));
        let depth = queue_depth(&clients, &name).await?;
        depths.push((priority, name, depth));
    }
    Ok(depths)
}

async fn queue(config: &Config) -> anyhow::Result<SqsDelayQueue> {
    let names = Names::with_prefix(&config.aws.prefix);
    Ok(SqsDelayQueue::new(&clients(config).await?, &names.queues))
}

/// Lists the records of the messages in the dead-letter queues, and gives the messages back.
pub(super) async fn list(
    config: &Config,
    selection: &Selection,
    limit: usize,
    output: &mut Output<'_>,
) -> anyhow::Result<()> {
    let queue = queue(config).await?;
    let mut left = limit;
    for priority in Priority::ALL {
        let lane = Lane::DeadLetter(priority);
        let mut looked_at = Vec::new();
        let told = list_lane(&queue, lane, selection, &mut left, &mut looked_at, output).await;
        give_back(&queue, lane, looked_at).await?;
        told?;
    }
    Ok(())
}

async fn list_lane(
    queue: &dyn DelayQueue,
    lane: Lane,
    selection: &Selection,
    left: &mut usize,
    looked_at: &mut Vec<String>,
    output: &mut Output<'_>,
) -> anyhow::Result<()> {
    let (Lane::Main(priority) | Lane::DeadLetter(priority)) = lane;
    while *left > 0 && looked_at.len() < MESSAGES_MAX {
        let receipts = queue.receive(lane, MESSAGES_AT_ONCE, WAIT, LOOK).await?;
        if receipts.is_empty() {
            break;
        }
        // First what must be given back, then what can fail.
        looked_at.extend(receipts.iter().map(|receipt| receipt.handle.clone()));
        for receipt in receipts {
            let records = match batch::from_text(&receipt.body) {
                Ok(records) => records,
                Err(fault) => {
                    let line = format!("queue {priority}: a message that is no batch: {fault}");
                    let json = json!({"queue": priority.as_str(), "unreadable": fault.to_string()});
                    output.result(&line, &json)?;
                    continue;
                }
            };
            for record in records {
                if *left == 0 || !passes(selection, &record, &receipt) {
                    continue;
                }
                *left -= 1;
                let line = format!(
                    "queue {priority}: {} to {}, received {} times",
                    record.source, record.output_topic, receipt.receive_count
                );
                let json = json!({
                    "queue": priority.as_str(), "source": record.source.to_string(),
                    "output_topic": &*record.output_topic, "due_ms": record.due_ms,
                    "receive_count": receipt.receive_count,
                });
                output.result(&line, &json)?;
            }
        }
    }
    Ok(())
}

fn passes(selection: &Selection, record: &Scheduled, receipt: &Receipt) -> bool {
    selection.passes(&Facts {
        reason: Some(REASON),
        target: None,
        output_topic: Some(&record.output_topic),
        source: Some(&record.source.to_string()),
        written_ms: receipt.sent_ms,
    })
}

/// Makes messages visible again.
async fn give_back(queue: &dyn DelayQueue, lane: Lane, handles: Vec<String>) -> anyhow::Result<()> {
    let outcomes = queue.extend(lane, handles.clone(), Duration::ZERO).await;
    for (_, outcome) in paired(handles, outcomes, "queue extend") {
        // They come back by themselves after a minute.
        if let Err(error) = outcome {
            tracing::warn!(%error, "a message of a dead-letter queue could not be given back at once");
        }
    }
    Ok(())
}

/// Sends messages back to their main queues, confirmed, then deletes them: a crash between repeats, and loses nothing.
/// A message goes as a whole, if each of its records is meant.
pub(super) async fn redrive(
    config: &Config,
    selection: &Selection,
    limit: Option<usize>,
    dry_run: bool,
    output: &mut Output<'_>,
) -> anyhow::Result<Ended> {
    let queue = queue(config).await?;
    let (mut moved, mut left) = (0, 0);
    for priority in Priority::ALL {
        let lane = Lane::DeadLetter(priority);
        let mut kept = Vec::new();
        let done = loop {
            if limit.is_some_and(|limit| moved >= limit) || kept.len() >= MESSAGES_MAX {
                break Ok(());
            }
            let at_once = limit.map_or(MESSAGES_AT_ONCE, |limit| {
                MESSAGES_AT_ONCE.min(limit - moved)
            });
            let receipts = match queue.receive(lane, at_once, WAIT, LOOK).await {
                Ok(receipts) if receipts.is_empty() => break Ok(()),
                Ok(receipts) => receipts,
                Err(error) => break Err(error.into()),
            };
            for receipt in receipts {
                let is_meant = batch::from_text(&receipt.body).is_ok_and(|records| {
                    records.iter().all(|one| passes(selection, one, &receipt))
                });
                if !is_meant || dry_run {
                    moved += usize::from(is_meant);
                    left += usize::from(!is_meant);
                    kept.push(receipt.handle);
                } else if let Err(error) = back(&queue, priority, receipt).await {
                    left += 1;
                    (output.note)(&format!("a message of queue {priority} is left: {error:#}"))?;
                } else {
                    moved += 1;
                }
            }
        };
        give_back(&queue, lane, kept).await?;
        let done: anyhow::Result<()> = done;
        done?;
    }
    let verb = if dry_run { "would go" } else { "went" };
    let line = format!("{moved} messages {verb} back to their main queues, {left} left");
    output.summary(
        &line,
        &json!({"messages": moved, "left": left, "dry_run": dry_run}),
    )?;
    Ok(if left > 0 { Ended::Left } else { Ended::Done })
}

async fn back(queue: &dyn DelayQueue, priority: Priority, receipt: Receipt) -> anyhow::Result<()> {
    let message = QueueMessage {
        body: receipt.body.into(),
        delay_s: 0,
    };
    let sent = queue.send(priority, vec![message]).await;
    for (_, outcome) in paired([()], sent, "queue send") {
        outcome?;
    }
    let deleted = queue
        .delete(Lane::DeadLetter(priority), vec![receipt.handle])
        .await;
    for (_, outcome) in paired([()], deleted, "queue delete") {
        outcome.context("it is in the main queue and was not deleted here: it will come twice")?;
    }
    Ok(())
}
