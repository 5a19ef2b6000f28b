//! The ticks of the scheduler in an SQS FIFO queue: one message group a shard.
//!
//! SQS gives the messages of a group to one holder at a time and drops copies by deduplication id for
//! 5 minutes, also after the first was deleted.
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/using-messagededuplicationid-property.html>

use std::time::Duration;

use async_trait::async_trait;
use delayq_core::bucket::ShardId;
use delayq_core::clock::EpochMs;
use delayq_core::error::PortError;
use delayq_core::ports::{Tick, TickQueue};

use crate::connect::Clients;
use crate::meter::Tier;
use crate::metrics;
use crate::names::QueueNames;
use crate::sqs_calls::{Queue, stale_is_fine, visibility_s};
use crate::sqs_delay_queue::receive;

/// [`TickQueue`] over SQS FIFO. Makes no call until it is used; retries none.
#[derive(Debug)]
pub struct SqsTickQueue {
    queue: Queue,
}

impl SqsTickQueue {
    /// The tick queue of these names.
    #[must_use]
    pub fn new(clients: &Clients, names: &QueueNames) -> Self {
        Self {
            queue: Queue::new(clients, Tier::Ticks, names.ticks.clone()),
        }
    }

    async fn delete_handle(&self, handle: &str) -> Result<(), PortError> {
        let request = self
            .queue
            .client()
            .delete_message()
            .queue_url(&*self.queue.url().await?)
            .receipt_handle(handle);
        let answer = request.send().await;
        let site = self.queue.site("sqs DeleteMessage");
        let deleted = self.queue.billed(0, site.finish(answer).map(drop));
        stale_is_fine(deleted)
    }
}

#[async_trait]
impl TickQueue for SqsTickQueue {
    async fn send(&self, shard: ShardId, tick_ms: EpochMs) -> Result<(), PortError> {
        let body = body(shard, tick_ms);
        let message_bytes = body.len();
        let request = self
            .queue
            .client()
            .send_message()
            .queue_url(&*self.queue.url().await?)
            .message_group_id(shard.to_string())
            .message_deduplication_id(format!("{shard}-{tick_ms}"))
            .message_body(body);
        let answer = request.send().await;
        let sent = self.queue.site("sqs SendMessage").finish(answer);
        self.queue.billed(message_bytes, sent).map(drop)
    }

    /// `None` also where a tick came that cannot be read: it is deleted, and the next call goes on.
    async fn receive(&self, wait: Duration, lease: Duration) -> Result<Option<Tick>, PortError> {
        let mut messages = receive(&self.queue, 1, wait, lease).await?;
        let Some(message) = messages.pop() else {
            return Ok(None);
        };
        let Some(handle) = message.receipt_handle else {
            metrics::count_unreadable("tick");
            tracing::warn!(id = message.message_id, "a tick came without a handle");
            return Ok(None);
        };
        let text = message.body.unwrap_or_default();
        match read_body(&text) {
            Some((shard, tick_ms)) => Ok(Some(Tick {
                shard,
                tick_ms,
                handle,
            })),
            None => {
                metrics::count_unreadable("tick");
                let shown: String = text.chars().take(80).collect();
                tracing::warn!(body = shown, "deleting a tick that cannot be read");
                self.delete_handle(&handle).await?;
                Ok(None)
            }
        }
    }

    async fn extend(&self, tick: &Tick, lease: Duration) -> Result<(), PortError> {
        let request = self
            .queue
            .client()
            .change_message_visibility()
            .queue_url(&*self.queue.url().await?)
            .receipt_handle(&tick.handle)
            .visibility_timeout(visibility_s(lease));
        let answer = request.send().await;
        let site = self.queue.site("sqs ChangeMessageVisibility");
        self.queue.billed(0, site.finish(answer)).map(drop)
    }

    async fn delete(&self, tick: &Tick) -> Result<(), PortError> {
        self.delete_handle(&tick.handle).await
    }
}

fn body(shard: ShardId, tick_ms: EpochMs) -> String {
    format!("{shard} {tick_ms}")
}

fn read_body(text: &str) -> Option<(ShardId, EpochMs)> {
    let (shard, tick_ms) = text.split_once(' ')?;
    Some((ShardId(shard.parse().ok()?), tick_ms.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_round_trip_and_nonsense_is_seen() {
        let text = body(ShardId(3), 1_700_000_030_000);
        assert_eq!(text, "3 1700000030000");
        assert_eq!(read_body(&text), Some((ShardId(3), 1_700_000_030_000)));
        for bad in ["", "3", "-1 5", "3 x", "3 1 2", "{\"shard\":3}"] {
            assert_eq!(read_body(bad), None, "{bad}");
        }
    }
}
