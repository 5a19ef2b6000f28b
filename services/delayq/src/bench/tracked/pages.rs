//! A registry filled with rows that are due in the future, and how soon its first pages are there.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use delayq_core::clock::{Clock, EpochMs, SystemClock};
use delayq_core::ports::{MessageFilter, MessageIndex, MessageRegistry, Written};
use delayq_core::priority::Priority;
use delayq_core::record::Path;
use delayq_core::tracked::{Details, KEPT_MS, MessageKey, MessageRow, State, Version};
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::report::{median, rounded};
use super::super::stage::PARTITIONS;
use crate::sequence::Sequence;

const OUTPUT_TOPICS: usize = 5;
/// The first row is due in an hour, the last one this long after it.
const AHEAD_MS: i64 = 3_600_000;
const SPREAD_MS: i64 = 86_400_000;
/// Writes under way.
const AT_ONCE: usize = 32;
/// A row is tried so often: the table may be short of breath, not away.
const TRIES: u32 = 5;
const TRY_AGAIN: Duration = Duration::from_millis(200);
const PAGE: usize = 100;
const CALLS: usize = 20;
/// Rows in the narrow range of due times, about.
const RANGE_ROWS: usize = 50;
/// What a page may take.
const GOAL_MS: u32 = 100;

/// What was filled in, in order of due time.
pub(super) struct Filled {
    topic: Arc<str>,
    rows: Vec<MessageRow>,
    took: Duration,
}

/// How the lists went.
pub(super) struct Listed {
    pub(super) ms: Value,
    /// Answers that were not the first rows that pass.
    pub(super) wrong: usize,
}

impl Filled {
    /// Writes so many rows of a delay topic of their own.
    pub(super) async fn write(
        registry: &dyn MessageRegistry,
        prefix: &str,
        count: u32,
    ) -> anyhow::Result<Self> {
        let topic: Arc<str> = format!("{prefix}.filled").into();
        let mut rows = rows(&topic, prefix, count, SystemClock.now_ms())?;
        let started = Instant::now();
        // In no order of due time, as records come: ids and due times are unrelated.
        futures::stream::iter(rows.iter().cloned().map(|row| write(registry, row)))
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
        let took = started.elapsed();
        rows.sort_by_cached_key(|row| (due_ms(row), row.key.id.clone()));
        Ok(Self { topic, rows, took })
    }

    pub(super) fn rows(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn written_per_s(&self) -> u64 {
        (self.rows.len() as f64 / self.took.as_secs_f64()) as u64
    }

    /// The first page of everything, of a state with a target and a priority, and of a narrow range of due times.
    pub(super) async fn list(&self, index: &dyn MessageIndex) -> anyhow::Result<Listed> {
        let all = MessageFilter {
            topic: self.topic.clone(),
            state: None,
            output_topic: None,
            priority: None,
            due_from_ms: 0,
            due_to_ms: i64::MAX,
        };
        let middle = self.rows.len() / 2;
        let due_at = |n| self.rows.get(n).map(due_ms).context("few rows");
        let range = MessageFilter {
            due_from_ms: due_at(middle)?,
            due_to_ms: due_at(middle + RANGE_ROWS)?,
            ..all.clone()
        };
        let one = self.rows.first().and_then(|row| row.details.as_ref());
        let filtered = MessageFilter {
            state: Some(State::Scheduled.as_str()),
            output_topic: one.map(|details| details.output_topic.clone()),
            priority: one.map(|details| details.priority),
            ..all.clone()
        };
        let (all, all_wrong) = self.call(index, &all).await?;
        let (filtered, filtered_wrong) = self.call(index, &filtered).await?;
        let (range, range_wrong) = self.call(index, &range).await?;
        Ok(Listed {
            ms: json!({"goal": GOAL_MS, "all": all, "filtered": filtered, "range": range}),
            wrong: all_wrong + filtered_wrong + range_wrong,
        })
    }

    /// Median and worst of the calls, in ms, and how many answers were wrong.
    async fn call(
        &self,
        index: &dyn MessageIndex,
        filter: &MessageFilter,
    ) -> anyhow::Result<(Value, usize)> {
        let passing = self.rows.iter().filter(|row| passes(filter, row));
        let expected: Vec<_> = passing.take(PAGE).map(|row| &row.key).collect();
        let (mut ms, mut wrong) = (Vec::with_capacity(CALLS), 0);
        for _ in 0..CALLS {
            let started = Instant::now();
            let page = index.list(filter, None, PAGE).await.context("a list")?;
            ms.push(rounded(started.elapsed().as_secs_f64() * 1e3));
            let keys: Vec<_> = page.rows.iter().map(|row| &row.key).collect();
            wrong += usize::from(keys != expected);
        }
        let worst = ms.iter().copied().fold(0.0, f64::max);
        let figures = json!({"median": median(ms), "worst": worst, "rows": expected.len()});
        Ok((figures, wrong))
    }
}

fn due_ms(row: &MessageRow) -> EpochMs {
    row.details.as_ref().map_or(0, |details| details.due_ms)
}

fn passes(filter: &MessageFilter, row: &MessageRow) -> bool {
    let Some(details) = &row.details else {
        return false;
    };
    let output = filter.output_topic.as_ref();
    (filter.due_from_ms..filter.due_to_ms).contains(&details.due_ms)
        && filter.state.is_none_or(|state| state == row.state.as_str())
        && output.is_none_or(|topic| *topic == details.output_topic)
        && filter.priority.is_none_or(|one| one == details.priority)
}

fn rows(
    topic: &Arc<str>,
    prefix: &str,
    count: u32,
    now_ms: EpochMs,
) -> anyhow::Result<Vec<MessageRow>> {
    let mut random = Sequence::default();
    let outputs: Vec<Arc<str>> = (0..OUTPUT_TOPICS)
        .map(|n| format!("{prefix}.filled-{n}").into())
        .collect();
    let mut rows = Vec::with_capacity(usize::try_from(count)?);
    for n in 0..count {
        let due_ms = now_ms + AHEAD_MS + i64::try_from(random.next())? % SPREAD_MS;
        let output = outputs.get(random.below(OUTPUT_TOPICS));
        let priority = Priority::ALL.get(random.below(Priority::ALL.len()));
        let (Some(output), Some(priority)) = (output, priority) else {
            bail!("no output topic or priority to take");
        };
        rows.push(MessageRow {
            key: MessageKey {
                topic: topic.clone(),
                id: format!("order-{n}-timeout").into(),
            },
            version: Version {
                partition: i32::try_from(n % PARTITIONS)?,
                offset: i64::from(n / PARTITIONS),
                appended_ms: now_ms,
            },
            revision: 1,
            details: Some(Details {
                due_ms,
                output_topic: output.clone(),
                priority: *priority,
                path: Path::Long,
            }),
            state: State::Scheduled,
            overlaps: false,
            expires_s: (due_ms + KEPT_MS).div_euclid(1000),
        });
    }
    Ok(rows)
}

async fn write(registry: &dyn MessageRegistry, row: MessageRow) -> anyhow::Result<()> {
    let mut tries = 1;
    loop {
        match registry.write(row.clone(), None).await {
            Ok(Written::Done) => return Ok(()),
            // An earlier try that seemed to fail.
            Ok(Written::Differs(Some(found))) if *found == row => return Ok(()),
            Ok(Written::Differs(_)) => bail!("another row at {}", row.key),
            Err(error) if error.is_retryable() && tries < TRIES => {
                tries += 1;
                tokio::time::sleep(TRY_AGAIN).await;
            }
            Err(error) => return Err(error).context("the registry is filled"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::EmbeddedTiers;

    #[tokio::test]
    async fn what_was_filled_in_is_listed_and_anything_else_is_wrong() {
        let tiers = EmbeddedTiers::default().backends();
        let filled = Filled::write(tiers.registry.as_ref(), "a", 1_000)
            .await
            .unwrap();
        let listed = filled.list(tiers.index.as_ref()).await.unwrap();
        assert_eq!(listed.wrong, 0);
        assert_eq!(listed.ms["range"]["rows"], RANGE_ROWS);
        assert_eq!(
            listed.ms["filtered"]["rows"].as_u64().map(|n| n > 20),
            Some(true)
        );
        let other = EmbeddedTiers::default().backends();
        let listed = filled.list(other.index.as_ref()).await.unwrap();
        assert_eq!(listed.wrong, 3 * CALLS, "an empty registry");
    }
}
