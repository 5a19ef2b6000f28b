//! Records with an id: followed, cancelled, rescheduled, found.

use std::time::Duration;

use delayq_core::clock::{Clock as _, SystemClock};
use delayq_core::priority::Priority;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Found, PATIENCE, Points, QUIET, if_so};
use crate::validate::probe::{NUMBER, Sample, outputs};
use crate::validate::reader::Arrived;

const ASK_AGAIN: Duration = Duration::from_millis(20);
/// A list reads many rows.
const LIST_AGAIN: Duration = Duration::from_millis(100);

impl Points<'_> {
    fn tracked(&self, number: i64, id: &str, delay_ms: i64) -> Sample {
        let mut sample = self.sample(number, delay_ms, Priority::Standard);
        sample.key = Some(id.to_owned());
        sample.headers.push(("delay-id", id.to_owned()));
        sample
    }

    /// An id that nobody else has.
    fn id(&self, name: &str) -> String {
        format!("validate-{name}-{}", uuid::Uuid::new_v4().simple())
    }

    pub(super) async fn live(&self) -> Found {
        let id = self.id("live");
        let mut live = self.api.live(&id).await?;
        self.probe.send(&[self.tracked(40_000, &id, 2_000)]).await?;
        let states = live.states("published", PATIENCE).await?;
        Ok(if_so(
            states == ["scheduled", "publishing", "published"],
            states.join(", "),
        ))
    }

    /// Sends a record with an id of its own and waits until the registry knows it; answers with the id.
    async fn registered(&self, name: &str, number: i64, delay_ms: i64) -> anyhow::Result<String> {
        let id = self.id(name);
        self.probe
            .send(&[self.tracked(number, &id, delay_ms)])
            .await?;
        let path = format!("/v1/messages/{id}");
        let (status, answer) = self
            .asked_until("GET", &path, ASK_AGAIN, |(status, _)| *status == 200)
            .await?;
        anyhow::ensure!(status == 200, "{id}: {status} {answer}");
        Ok(id)
    }

    /// The answer that is as it should be, or the last one when there was none in good time.
    async fn asked_until(
        &self,
        method: &str,
        path: &str,
        again: Duration,
        fits: impl Fn(&(u16, Value)) -> bool,
    ) -> anyhow::Result<(u16, Value)> {
        let until = Instant::now() + PATIENCE;
        loop {
            let answer = self.api.ask(method, path, None).await?;
            if fits(&answer) || Instant::now() >= until {
                return Ok(answer);
            }
            tokio::time::sleep(again).await;
        }
    }

    async fn change(
        &self,
        id: &str,
        what: &str,
        body: Option<Value>,
    ) -> anyhow::Result<(u16, String)> {
        let path = format!("/v1/messages/{id}/{what}");
        let (status, answer) = self.api.ask("POST", &path, body.as_ref()).await?;
        let text = answer.get("answer").and_then(Value::as_str);
        Ok((
            status,
            text.map_or_else(|| answer.to_string(), str::to_owned),
        ))
    }

    pub(super) async fn cancel(&self) -> Found {
        let id = self.registered("cancelled", 50_000, 2_500).await?;
        let (status, answer) = self.change(&id, "cancel", None).await?;
        let found = self
            .probe
            .arrived(
                50_000..50_001,
                Duration::from_millis(2_500) + QUIET,
                |found| !found.is_empty(),
            )
            .await;
        Ok(if_so(
            (status, answer.as_str()) == (200, "cancelled") && found.is_empty(),
            format!("answered {status} {answer}; {} came out", found.len()),
        ))
    }

    pub(super) async fn too_late(&self) -> Found {
        let id = self.id("late");
        self.probe.send(&[self.tracked(51_000, &id, 500)]).await?;
        let found = self
            .probe
            .arrived(51_000..51_001, PATIENCE, |found| !found.is_empty())
            .await;
        // The record is read a moment before its end is noted.
        let (status, answer) = self
            .asked_until(
                "POST",
                &format!("/v1/messages/{id}/cancel"),
                ASK_AGAIN,
                |(_, answer)| {
                    answer
                        .get("answer")
                        .is_some_and(|answer| answer == "published")
                },
            )
            .await?;
        let of = |name: &str| {
            answer
                .pointer(&format!("/message/{name}"))
                .and_then(Value::as_i64)
        };
        let place = (of("partition"), of("offset"));
        let there = found
            .first()
            .map(|one| (Some(i64::from(one.partition)), Some(one.offset)));
        Ok(if_so(
            status == 409 && Some(place) == there,
            format!("{status} {answer}"),
        ))
    }

    pub(super) async fn reschedule(&self) -> Found {
        let id = self.registered("rescheduled", 52_000, 60_000).await?;
        let (status, answer) = self
            .change(&id, "reschedule", Some(json!({"delay_ms": 1_500})))
            .await?;
        let found = self
            .probe
            .arrived(52_000..52_001, PATIENCE, |found| !found.is_empty())
            .await;
        let late = found.first().map(Arrived::late_ms);
        Ok(if_so(
            status == 200 && late.is_some_and(|late_ms| late_ms >= 0),
            format!("answered {status} {answer}; came {late:?} ms after its new time"),
        ))
    }

    pub(super) async fn debounce(&self) -> Found {
        let id = self.id("debounced");
        let samples = [53_000, 53_001, 53_002].map(|number| self.tracked(number, &id, 2_000));
        self.probe.send(&samples).await?;
        let found = self
            .probe
            .arrived(53_000..53_003, PATIENCE, |found| !found.is_empty())
            .await;
        tokio::time::sleep(QUIET).await;
        let more = self
            .probe
            .arrived(53_000..53_003, Duration::ZERO, |_| true)
            .await;
        let numbers: Vec<_> = more.iter().filter_map(|one| one.number(NUMBER)).collect();
        Ok(if_so(
            !found.is_empty() && numbers == [53_002],
            format!("of three sent came {numbers:?}"),
        ))
    }

    pub(super) async fn listed(&self) -> Found {
        let id = self.registered("listed", 54_000, 600_000).await?;
        let output = outputs(self.probe.subject)
            .into_iter()
            .nth(Priority::Standard.index())
            .unwrap_or_default();
        let from_ms = SystemClock.now_ms() + 500_000;
        let path =
            format!("/v1/messages?state=scheduled&target={output}&due_from_ms={from_ms}&limit=500");
        let is_listed = |(_, answer): &(u16, Value)| {
            let messages = answer.get("messages").and_then(Value::as_array);
            messages.is_some_and(|all| {
                all.iter()
                    .any(|one| one.get("id").is_some_and(|found| *found == *id))
            })
        };
        let listed = is_listed(
            &self
                .asked_until("GET", &path, LIST_AGAIN, is_listed)
                .await?,
        );
        let (status, answer) = self.change(&id, "cancel", None).await?;
        Ok(if_so(
            listed && status == 200,
            format!("listed: {listed}; then {answer}"),
        ))
    }
}
