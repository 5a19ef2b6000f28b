//! What all SQS calls share: the queue's URL, the limits of a batch call, and its outcomes by entry.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sqs::types::BatchResultErrorEntry;
use delayq_core::delay::QUEUE_MESSAGE_MAX_BYTES;
use delayq_core::error::{ErrorClass, PortError};
use delayq_core::ports::Outcomes;
use tokio::sync::OnceCell;

use crate::connect::Clients;
use crate::errors::{CallSite, Fault, Said};
use crate::meter::Tier;
use crate::metrics;

/// Most entries of a batch call, and most messages of one receive.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>
pub(crate) const BATCH_MAX_ENTRIES: usize = 10;
/// Longest invisibility: 12 h.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html>
const VISIBILITY_MAX_S: u64 = 43_200;
/// Longest long poll.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html>
const WAIT_MAX_S: u64 = 20;
/// Batch calls of one list under way at once.
pub(crate) const CALLS_AT_ONCE: usize = 4;

/// A queue by name; its URL is looked up on first use and kept once it is known.
#[derive(Debug)]
pub(crate) struct Queue {
    clients: Clients,
    /// `queue <name>`, for texts.
    label: String,
    name: String,
    tier: Tier,
    url: OnceCell<Arc<str>>,
}

impl Queue {
    pub(crate) fn new(clients: &Clients, tier: Tier, name: String) -> Self {
        Self {
            clients: clients.clone(),
            label: format!("queue {name}"),
            name,
            tier,
            url: OnceCell::new(),
        }
    }

    pub(crate) fn site(&self, operation: &'static str) -> CallSite<'_> {
        CallSite {
            operation,
            resource: &self.label,
            endpoint: &self.clients.sqs_endpoint,
        }
    }

    /// Counts what a call costs that carried so many bytes of messages; hands its result on.
    pub(crate) fn billed<T>(
        &self,
        message_bytes: usize,
        result: Result<T, PortError>,
    ) -> Result<T, PortError> {
        self.tier.queue_call(message_bytes, result)
    }

    pub(crate) const fn client(&self) -> &aws_sdk_sqs::Client {
        &self.clients.sqs
    }

    pub(crate) const fn polling_client(&self) -> &aws_sdk_sqs::Client {
        &self.clients.sqs_polling
    }

    /// The queue's URL. A failed lookup is not remembered.
    pub(crate) async fn url(&self) -> Result<Arc<str>, PortError> {
        self.url
            .get_or_try_init(|| async {
                let site = self.site("sqs GetQueueUrl");
                let request = self.client().get_queue_url().queue_name(&self.name);
                let found = self.billed(0, site.finish(request.send().await))?;
                found
                    .queue_url
                    .map(Arc::from)
                    .ok_or_else(|| site.error(ErrorClass::Transient, "the answer holds no URL"))
            })
            .await
            .cloned()
    }
}

/// Cuts a list into calls of at most 10 entries and 1 MiB in sum. An entry above that stands alone, to be
/// refused by SQS without taking others with it.
pub(crate) fn split_into_calls(sizes_bytes: impl IntoIterator<Item = usize>) -> Vec<Range<usize>> {
    let mut calls: Vec<Range<usize>> = Vec::new();
    let mut sum_bytes = 0usize;
    for (index, size_bytes) in sizes_bytes.into_iter().enumerate() {
        let fits = sum_bytes.saturating_add(size_bytes) <= QUEUE_MESSAGE_MAX_BYTES;
        match calls.last_mut() {
            Some(call) if fits && call.len() < BATCH_MAX_ENTRIES => {
                call.end = index + 1;
                sum_bytes += size_bytes;
            }
            _ => {
                calls.push(index..index + 1);
                sum_bytes = size_bytes;
            }
        }
    }
    calls
}

/// The id of an entry is its place in the call.
pub(crate) fn entry_id(index: usize) -> String {
    index.to_string()
}

/// Outcomes in the order of the entries, from the two lists of a batch answer. An entry in neither list
/// counts as failed; in both, as failed too: sending again costs a duplicate, believing could cost a message.
pub(crate) fn outcomes_by_id<'a>(
    site: CallSite<'_>,
    entries: usize,
    successful: impl IntoIterator<Item = &'a str>,
    failed: &[BatchResultErrorEntry],
) -> Outcomes {
    let mut outcomes: Outcomes = vec![
        Err(site.error(
            ErrorClass::Transient,
            "the answer does not say what became of this entry",
        ));
        entries
    ];
    let mut settle = |id: &str, outcome: Result<(), PortError>| {
        let place = id.parse().ok().and_then(|i: usize| outcomes.get_mut(i));
        match place {
            Some(place) => *place = outcome,
            None => tracing::warn!(
                operation = site.operation,
                id,
                "the answer names an entry that was not sent"
            ),
        }
    };
    for id in successful {
        settle(id, Ok(()));
    }
    for entry in failed {
        settle(&entry.id, Err(entry_error(site, entry)));
    }
    for error in outcomes.iter().filter_map(|o| o.as_ref().err()) {
        metrics::count_failed_entry(site.operation, error.class);
    }
    outcomes
}

/// What SQS says of a failed entry.
fn entry_error(site: CallSite<'_>, entry: &BatchResultErrorEntry) -> PortError {
    let said = Said {
        code: Some(&entry.code),
        message: entry.message.as_deref(),
    };
    let fault = if entry.sender_fault {
        Fault::Ours
    } else {
        Fault::Theirs
    };
    site.said(said, fault)
}

/// A deletion with a stale handle: the message is gone, or another's by now, and in neither case ours to delete.
pub(crate) fn stale_is_fine(deleted: Result<(), PortError>) -> Result<(), PortError> {
    match deleted {
        Err(error) if error.class == ErrorClass::Conflict => Ok(()),
        deleted => deleted,
    }
}

/// Whole seconds of invisibility, rounded up: shorter than asked would let a message out too soon.
pub(crate) fn visibility_s(visibility: Duration) -> i32 {
    whole_seconds(visibility, VISIBILITY_MAX_S)
}

/// Whole seconds of a long poll, rounded up: rounded down, short waits would turn into a busy loop.
pub(crate) fn wait_s(wait: Duration) -> i32 {
    whole_seconds(wait, WAIT_MAX_S)
}

fn whole_seconds(time: Duration, max_s: u64) -> i32 {
    let up_s = time
        .as_secs()
        .saturating_add(u64::from(time.subsec_nanos() > 0));
    i32::try_from(up_s.min(max_s)).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: CallSite<'_> = CallSite {
        operation: "sqs SendMessageBatch",
        resource: "queue q",
        endpoint: "http://here",
    };
    const MIB: usize = QUEUE_MESSAGE_MAX_BYTES;

    fn failed(id: &str, code: &str, sender_fault: bool) -> BatchResultErrorEntry {
        BatchResultErrorEntry::builder()
            .id(id)
            .code(code)
            .sender_fault(sender_fault)
            .build()
            .unwrap()
    }

    #[test]
    fn calls_keep_both_limits() {
        assert_eq!(split_into_calls([]), Vec::<Range<usize>>::new());
        assert_eq!(split_into_calls([1; 23]), vec![0..10, 10..20, 20..23]);
        assert_eq!(split_into_calls([MIB / 2; 4]), vec![0..2, 2..4]);
        assert_eq!(split_into_calls([MIB, 1, MIB]), vec![0..1, 1..2, 2..3]);
        assert_eq!(split_into_calls([1, MIB + 1, 1]), vec![0..1, 1..2, 2..3]);
        assert_eq!(split_into_calls([usize::MAX, usize::MAX]), vec![0..1, 1..2]);
    }

    #[test]
    fn every_entry_has_its_own_outcome() {
        let failures = [
            failed("1", "InternalError", false),
            failed("3", "InvalidMessageContents", true),
            failed("4", "OverLimit", true),
            failed("99", "InternalError", false),
        ];
        let outcomes = outcomes_by_id(SITE, 5, ["0", "1", "x"], &failures);
        let classes: Vec<_> = outcomes
            .iter()
            .map(|o| o.as_ref().map_err(|e| e.class).err())
            .collect();
        assert_eq!(
            classes,
            [
                None,
                Some(ErrorClass::Transient), // in both lists
                Some(ErrorClass::Transient), // in neither
                Some(ErrorClass::Invalid),
                Some(ErrorClass::Throttled),
            ]
        );
    }

    #[test]
    fn seconds_are_rounded_up_and_limited() {
        assert_eq!(visibility_s(Duration::ZERO), 0);
        assert_eq!(visibility_s(Duration::from_millis(1)), 1);
        assert_eq!(visibility_s(Duration::from_secs(30)), 30);
        assert_eq!(visibility_s(Duration::MAX), 43_200);
        assert_eq!(wait_s(Duration::from_millis(19_500)), 20);
        assert_eq!(wait_s(Duration::from_secs(60)), 20);
    }
}
