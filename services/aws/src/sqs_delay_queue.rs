//! The delay queues in SQS: one standard queue a priority, each with a dead-letter queue.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::operation::receive_message::ReceiveMessageOutput;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, Message,
    MessageSystemAttributeName, SendMessageBatchRequestEntry,
};
use delayq_core::error::{ErrorClass, PortError};
use delayq_core::ports::{DelayQueue, Lane, Outcomes, QueueMessage, Receipt};
use delayq_core::priority::Priority;
use futures::stream::{self, StreamExt};

use crate::connect::Clients;
use crate::meter::Tier;
use crate::metrics;
use crate::names::QueueNames;
use crate::sqs_calls::{
    BATCH_MAX_ENTRIES, CALLS_AT_ONCE, Queue, entry_id, outcomes_by_id, split_into_calls,
    stale_is_fine, visibility_s, wait_s,
};

/// [`DelayQueue`] over SQS. Makes no call until it is used; retries none.
#[derive(Debug)]
pub struct SqsDelayQueue {
    main: PerPriority,
    dead_letters: PerPriority,
}

#[derive(Debug)]
struct PerPriority {
    high: Queue,
    standard: Queue,
    low: Queue,
}

impl PerPriority {
    fn new(clients: &Clients, names: &QueueNames, lane: impl Fn(Priority) -> Lane) -> Self {
        let queue = |priority| Queue::new(clients, Tier::Queues, names.lane(lane(priority)));
        Self {
            high: queue(Priority::High),
            standard: queue(Priority::Standard),
            low: queue(Priority::Low),
        }
    }

    const fn of(&self, priority: Priority) -> &Queue {
        match priority {
            Priority::High => &self.high,
            Priority::Standard => &self.standard,
            Priority::Low => &self.low,
        }
    }
}

impl SqsDelayQueue {
    /// The queues of these names.
    #[must_use]
    pub fn new(clients: &Clients, names: &QueueNames) -> Self {
        Self {
            main: PerPriority::new(clients, names, Lane::Main),
            dead_letters: PerPriority::new(clients, names, Lane::DeadLetter),
        }
    }

    const fn queue(&self, lane: Lane) -> &Queue {
        match lane {
            Lane::Main(priority) => self.main.of(priority),
            Lane::DeadLetter(priority) => self.dead_letters.of(priority),
        }
    }
}

#[async_trait]
impl DelayQueue for SqsDelayQueue {
    async fn send(&self, priority: Priority, messages: Vec<QueueMessage>) -> Outcomes {
        let queue = self.main.of(priority);
        let calls = split_into_calls(messages.iter().map(|m| m.body.len()));
        in_calls(messages, calls.iter().map(ExactSizeIterator::len), |call| {
            send_call(queue, call)
        })
        .await
    }

    /// `wait` in whole seconds, rounded up. A message that is received by a call dropped half-way is
    /// invisible until `visibility` has passed.
    async fn receive(
        &self,
        lane: Lane,
        max: usize,
        wait: Duration,
        visibility: Duration,
    ) -> Result<Vec<Receipt>, PortError> {
        let received = receive(self.queue(lane), max, wait, visibility).await?;
        Ok(received.into_iter().filter_map(receipt).collect())
    }

    async fn delete(&self, lane: Lane, handles: Vec<String>) -> Outcomes {
        let queue = self.queue(lane);
        let lengths = tens(handles.len());
        in_calls(handles, lengths, |call| delete_call(queue, call)).await
    }

    async fn extend(&self, lane: Lane, handles: Vec<String>, visibility: Duration) -> Outcomes {
        let queue = self.queue(lane);
        let lengths = tens(handles.len());
        in_calls(handles, lengths, |call| {
            extend_call(queue, call, visibility)
        })
        .await
    }
}

/// Lengths of calls of at most ten entries each.
fn tens(entries: usize) -> impl Iterator<Item = usize> {
    (0..entries)
        .step_by(BATCH_MAX_ENTRIES)
        .map(move |from| (entries - from).min(BATCH_MAX_ENTRIES))
}

/// Makes calls of these lengths, a few at once, and joins their outcomes in order.
async fn in_calls<T, F: Future<Output = Outcomes>>(
    entries: Vec<T>,
    lengths: impl IntoIterator<Item = usize>,
    call: impl Fn(Vec<T>) -> F,
) -> Outcomes {
    let mut outcomes = Outcomes::with_capacity(entries.len());
    let mut entries = entries.into_iter();
    let calls: Vec<F> = lengths
        .into_iter()
        .map(|length| call(entries.by_ref().take(length).collect()))
        .collect();
    let mut answers = stream::iter(calls).buffered(CALLS_AT_ONCE);
    while let Some(answer) = answers.next().await {
        outcomes.extend(answer);
    }
    outcomes
}

/// The same error for every entry of a call that failed as a whole.
fn all_failed(error: &PortError, entries: usize) -> Outcomes {
    vec![Err(error.clone()); entries]
}

async fn send_call(queue: &Queue, messages: Vec<QueueMessage>) -> Outcomes {
    let entries = messages.len();
    let message_bytes = messages.iter().map(|m| m.body.len()).sum();
    let site = queue.site("sqs SendMessageBatch");
    let sent = async {
        let mut request = queue
            .client()
            .send_message_batch()
            .queue_url(&*queue.url().await?);
        for (index, message) in messages.iter().enumerate() {
            let delay_s = i32::try_from(message.delay_s).unwrap_or(i32::MAX);
            let entry = SendMessageBatchRequestEntry::builder()
                .id(entry_id(index))
                .message_body(&*message.body)
                .delay_seconds(delay_s)
                .build()
                .map_err(|e| site.error(ErrorClass::Invalid, e))?;
            request = request.entries(entry);
        }
        queue.billed(message_bytes, site.finish(request.send().await))
    };
    match sent.await {
        Ok(answer) => {
            let successful = answer.successful.iter().map(|e| e.id.as_str());
            outcomes_by_id(site, entries, successful, &answer.failed)
        }
        Err(error) => all_failed(&error, entries),
    }
}

async fn delete_call(queue: &Queue, handles: Vec<String>) -> Outcomes {
    let entries = handles.len();
    let site = queue.site("sqs DeleteMessageBatch");
    let deleted = async {
        let mut request = queue
            .client()
            .delete_message_batch()
            .queue_url(&*queue.url().await?);
        for (index, handle) in handles.into_iter().enumerate() {
            let entry = DeleteMessageBatchRequestEntry::builder()
                .id(entry_id(index))
                .receipt_handle(handle)
                .build()
                .map_err(|e| site.error(ErrorClass::Invalid, e))?;
            request = request.entries(entry);
        }
        queue.billed(0, site.finish(request.send().await))
    };
    match deleted.await {
        Ok(answer) => {
            let successful = answer.successful.iter().map(|e| e.id.as_str());
            let outcomes = outcomes_by_id(site, entries, successful, &answer.failed);
            outcomes.into_iter().map(stale_is_fine).collect()
        }
        Err(error) => all_failed(&error, entries),
    }
}

async fn extend_call(queue: &Queue, handles: Vec<String>, visibility: Duration) -> Outcomes {
    let entries = handles.len();
    let site = queue.site("sqs ChangeMessageVisibilityBatch");
    let extended = async {
        let mut request = queue
            .client()
            .change_message_visibility_batch()
            .queue_url(&*queue.url().await?);
        for (index, handle) in handles.into_iter().enumerate() {
            let entry = ChangeMessageVisibilityBatchRequestEntry::builder()
                .id(entry_id(index))
                .receipt_handle(handle)
                .visibility_timeout(visibility_s(visibility))
                .build()
                .map_err(|e| site.error(ErrorClass::Invalid, e))?;
            request = request.entries(entry);
        }
        queue.billed(0, site.finish(request.send().await))
    };
    match extended.await {
        Ok(answer) => {
            let successful = answer.successful.iter().map(|e| e.id.as_str());
            outcomes_by_id(site, entries, successful, &answer.failed)
        }
        Err(error) => all_failed(&error, entries),
    }
}

/// One ReceiveMessage call.
pub(crate) async fn receive(
    queue: &Queue,
    max: usize,
    wait: Duration,
    visibility: Duration,
) -> Result<Vec<Message>, PortError> {
    if max == 0 {
        return Ok(Vec::new());
    }
    let max = i32::try_from(max.min(BATCH_MAX_ENTRIES)).unwrap_or(1);
    let request = queue
        .polling_client()
        .receive_message()
        .queue_url(&*queue.url().await?)
        .max_number_of_messages(max)
        .wait_time_seconds(wait_s(wait))
        .visibility_timeout(visibility_s(visibility))
        .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
        .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp);
    let site = queue.site("sqs ReceiveMessage");
    let received = site.finish(request.send().await).map(messages);
    let bodies = received.iter().flatten().filter_map(Message::body);
    let message_bytes = bodies.map(str::len).sum();
    queue.billed(message_bytes, received)
}

/// A message without a handle could never be deleted: it is left to come back.
fn messages(answer: ReceiveMessageOutput) -> Vec<Message> {
    answer.messages.unwrap_or_default()
}

fn receipt(message: Message) -> Option<Receipt> {
    let number = |name: MessageSystemAttributeName| {
        let text = message.attributes.as_ref()?.get(&name)?;
        text.parse::<i64>().ok()
    };
    let receive_count = number(MessageSystemAttributeName::ApproximateReceiveCount);
    let sent_ms = number(MessageSystemAttributeName::SentTimestamp);
    let Some(handle) = message.receipt_handle else {
        metrics::count_unreadable("message");
        tracing::warn!(id = message.message_id, "a message came without a handle");
        return None;
    };
    Some(Receipt {
        // SQS knows no empty body; one that is missing is unreadable to the receiver, who dead-letters it.
        body: message.body.unwrap_or_default(),
        handle,
        receive_count: receive_count
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(1),
        sent_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipts_carry_count_and_time() {
        let message = Message::builder()
            .body("b")
            .receipt_handle("h")
            .attributes(MessageSystemAttributeName::ApproximateReceiveCount, "7")
            .attributes(MessageSystemAttributeName::SentTimestamp, "1700000000123")
            .build();
        let receipt = receipt(message).unwrap();
        assert_eq!((receipt.body.as_str(), receipt.handle.as_str()), ("b", "h"));
        assert_eq!(
            (receipt.receive_count, receipt.sent_ms),
            (7, Some(1_700_000_000_123))
        );
    }

    #[test]
    fn a_message_without_a_handle_is_left_alone() {
        assert_eq!(receipt(Message::builder().body("b").build()), None);
        let bare = receipt(Message::builder().receipt_handle("h").build()).unwrap();
        assert_eq!((bare.receive_count, bare.sent_ms), (1, None));
    }

    #[test]
    fn handles_go_ten_at_a_time() {
        assert_eq!(tens(0).collect::<Vec<_>>(), Vec::<usize>::new());
        assert_eq!(tens(23).collect::<Vec<_>>(), [10, 10, 3]);
    }
}
