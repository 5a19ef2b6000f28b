//! What comes out: all of it, once, in time, by priority.

use std::collections::BTreeSet;
use std::time::Duration;

use delayq_core::clock::{Clock as _, SystemClock};
use delayq_core::priority::Priority;

use super::{Found, PATIENCE, Points, QUIET, if_so, ms};
use crate::validate::probe::{NUMBER, Sample, outputs};
use crate::validate::reader::Arrived;

/// Records of a delay and priority.
const EACH: i64 = 20;
/// Records of a priority in the burst.
const BURST: i64 = 2_000;
/// How far ahead the burst is due.
const BURST_AHEAD_MS: i64 = 8_000;

impl Points<'_> {
    /// Priorities by several delays of every path.
    pub(super) async fn delays(&self) -> anyhow::Result<[Result<String, String>; 4]> {
        let longest_ms = ms(self.longest);
        let delays = [0, 300, 1_500, 5_000.min(longest_ms), longest_ms];
        let kinds: Vec<(i64, Priority)> = delays
            .into_iter()
            .flat_map(|delay_ms| Priority::ALL.map(|priority| (delay_ms, priority)))
            .collect();
        let samples: Vec<Sample> = (0..)
            .zip(kinds.iter().flat_map(|kind| (0..EACH).map(move |_| kind)))
            .map(|(number, (delay_ms, priority))| self.sample(number, *delay_ms, *priority))
            .collect();
        let count = samples.len();
        let end = i64::try_from(count).unwrap_or(i64::MAX);
        let sources = self.probe.send(&samples).await?;
        let within = self.longest + PATIENCE;
        let found = self
            .probe
            .arrived(0..end, within, |found| found.len() >= count)
            .await;
        tokio::time::sleep(QUIET).await;
        let found = if found.len() < count {
            found
        } else {
            self.probe.arrived(0..end, Duration::ZERO, |_| true).await
        };
        let topics = outputs(self.probe.subject);
        let place = |number: i64| usize::try_from(number / EACH).unwrap_or(usize::MAX);
        let right = |one: &&Arrived| {
            let number = one.number(NUMBER).unwrap_or(-1);
            let topic = kinds
                .get(place(number))
                .and_then(|(_, priority)| topics.get(priority.index()));
            let source = usize::try_from(number).ok().and_then(|at| sources.get(at));
            topic == Some(&one.topic)
                && source == one.headers.get("delayed-source")
                && one.value == number.to_string().into_bytes()
                && one.key == format!("key-{}", number % 7).into_bytes()
        };
        let distinct: BTreeSet<i64> = found.iter().filter_map(|one| one.number(NUMBER)).collect();
        let wrong = found.iter().filter(|one| !right(one)).count();
        let early = found
            .iter()
            .filter(|one| {
                one.number("delayed-due-ms")
                    .is_none_or(|due_ms| one.produced_ms < due_ms)
            })
            .count();
        let paths: BTreeSet<&String> = found
            .iter()
            .filter_map(|one| one.headers.get("delayed-path"))
            .collect();
        let mut late: Vec<i64> = found.iter().map(Arrived::late_ms).collect();
        late.sort_unstable();
        let at = |percent: usize| {
            late.get((late.len() * percent / 100).min(late.len().saturating_sub(1)))
                .copied()
                .unwrap_or(i64::MAX)
        };
        Ok([
            if_so(
                distinct.len() == count && wrong == 0,
                format!(
                    "{} of {count}, {wrong} wrong, by paths {paths:?}",
                    distinct.len()
                ),
            ),
            if_so(
                found.len() == distinct.len(),
                format!("{} copies", found.len() - distinct.len()),
            ),
            if_so(early == 0, format!("{early} early")),
            if_so(
                at(50) <= 100,
                format!(
                    "read {}, {}, {} ms after due (median, p99, most)",
                    at(50),
                    at(99),
                    at(100)
                ),
            ),
        ])
    }

    /// Thousands of each priority due at one instant.
    pub(super) async fn bypass(&self) -> Found {
        const FIRST: i64 = 10_000;
        let due_ms = (SystemClock.now_ms() + BURST_AHEAD_MS).to_string();
        let samples: Vec<Sample> = (FIRST..FIRST + 3 * BURST)
            .map(|number| {
                // Low first into the topic: what bypasses does so by priority.
                let priority = match (number - FIRST) / BURST {
                    0 => Priority::Low,
                    1 => Priority::Standard,
                    _ => Priority::High,
                };
                let mut sample = self.sample(number, 0, priority);
                sample.headers.retain(|(name, _)| *name != "delay-ms");
                sample.headers.push(("deliver-at-ms", due_ms.clone()));
                sample
            })
            .collect();
        self.probe.send(&samples).await?;
        let count = samples.len();
        let range = FIRST..FIRST + 3 * BURST;
        let found = self
            .probe
            .arrived(range, PATIENCE, |found| found.len() >= count)
            .await;
        let topics = outputs(self.probe.subject);
        let mean = |priority: Priority| {
            let topic = topics.get(priority.index());
            let of_it = found.iter().filter(|one| Some(&one.topic) == topic);
            let produced: Vec<i64> = of_it.map(|one| one.produced_ms).collect();
            produced.iter().sum::<i64>() as f64 / produced.len().max(1) as f64
        };
        let due: f64 = due_ms.parse().unwrap_or(0.0);
        let [high, standard, low] = Priority::ALL.map(|priority| mean(priority) - due);
        Ok(if_so(
            found.len() >= count && high <= standard && standard <= low,
            format!(
                "{} of {count}; published {high:.0}, {standard:.0}, {low:.0} ms after due on average (high, standard, low)",
                found.len()
            ),
        ))
    }

    /// What consumers do: the record as it came, with new controls, twice.
    pub(super) async fn retries(&self) -> Found {
        const NUMBER_OF_IT: i64 = 20_000;
        let sample = self.sample(NUMBER_OF_IT, 100, Priority::High);
        self.probe.send(&[sample]).await?;
        let range = NUMBER_OF_IT..NUMBER_OF_IT + 1;
        for attempt in 1..=2_usize {
            let found = self
                .probe
                .arrived(range.clone(), PATIENCE, |found| found.len() >= attempt)
                .await;
            let Some(failed) = found.get(attempt - 1) else {
                return Ok(Err(format!("only {} of 3 attempts came", found.len())));
            };
            let mut again = self.sample(NUMBER_OF_IT, 200 << attempt, Priority::High);
            // With everything that delayq added.
            let added = failed
                .headers
                .iter()
                .filter(|(name, _)| name.starts_with("delayed-"));
            let added: Vec<_> = added
                .filter_map(|(name, value)| {
                    let name = [
                        "delayed-due-ms",
                        "delayed-path",
                        "delayed-source",
                        "delayed-timestamp-ms",
                    ]
                    .into_iter()
                    .find(|known| known == name)?;
                    Some((name, value.clone()))
                })
                .collect();
            again.headers.extend(added);
            self.probe.send(&[again]).await?;
        }
        let found = self
            .probe
            .arrived(range, PATIENCE, |found| found.len() >= 3)
            .await;
        let sources: BTreeSet<_> = found
            .iter()
            .filter_map(|one| one.headers.get("delayed-source"))
            .collect();
        Ok(if_so(
            sources.len() == 3 && found.iter().all(|one| one.late_ms() >= 0),
            format!("{} attempts, each a record of its own", sources.len()),
        ))
    }
}
