//! The points, each in its own words.

use std::collections::BTreeSet;
use std::time::Duration;

use delayq_core::clock::{Clock as _, SystemClock};
use delayq_core::priority::Priority;
use serde_json::json;

use super::deployment::Subject;
use super::probe::{NUMBER, Probe, Sample, outputs};
use super::reader::Arrived;
use super::report::{Point, Report};
use crate::console_client::Api;

/// Records of a delay and priority.
const EACH: i64 = 20;
/// Records of a priority in the burst.
const BURST: i64 = 2_000;
/// How far ahead the burst is due.
const BURST_AHEAD_MS: i64 = 8_000;
/// How late a record may come with the machine that runs all of this besides.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long what must not come is waited for.
const QUIET: Duration = Duration::from_secs(3);

/// All points over one deployment.
pub(super) struct Points<'a> {
    probe: Probe<'a>,
    api: Api,
    longest: Duration,
}

type Found = anyhow::Result<Result<String, String>>;

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// `Ok` with what was seen if it holds.
fn if_so(holds: bool, seen: String) -> Result<String, String> {
    if holds { Ok(seen) } else { Err(seen) }
}

impl<'a> Points<'a> {
    pub(super) async fn new(subject: &'a Subject, longest: Duration) -> anyhow::Result<Self> {
        let api = Api::new(&subject.console, subject.token.clone());
        let (status, answer) = api.ask("GET", "/v1/overview", None).await?;
        anyhow::ensure!(
            status == 200,
            "the console at {} refuses (--token): {status} {answer}",
            subject.console
        );
        Ok(Self {
            probe: Probe::start(subject).await?,
            api,
            longest,
        })
    }

    pub(super) async fn run(&self, tell: &mut (dyn FnMut(&Point) + Send)) -> Report {
        let mut report = Report::default();
        let mut note = |name: &'static str, found: Found| {
            let (passed, detail) = match found {
                Ok(Ok(seen)) => (true, seen),
                Ok(Err(seen)) => (false, seen),
                Err(error) => (false, format!("{error:#}")),
            };
            let point = Point {
                name,
                passed,
                detail,
            };
            tell(&point);
            report.add(point);
        };
        let delays = self.delays().await;
        let [arrived, once, never_early, late] = match delays {
            Ok(found) => found.map(Ok),
            Err(error) => {
                let text = format!("{error:#}");
                [(); 4].map(|()| Ok(Err(text.clone())))
            }
        };
        note(
            "every record arrives in the topic of its priority, as it was sent",
            arrived,
        );
        note("every record arrives once", once);
        note("no record is early", never_early);
        note("records are on time", late);
        note(
            "high bypasses standard and low under load",
            self.bypass().await,
        );
        note(
            "a consumer retries with back-off by sending the record again",
            self.retries().await,
        );
        note(
            "what cannot be honoured becomes a dead letter with its reason",
            self.dead_letter().await,
        );
        note(
            "a dead letter is sent again once it is mended",
            self.redrive().await,
        );
        note("status changes come over the WebSocket", self.live().await);
        note("what is cancelled never comes out", self.cancel().await);
        note(
            "a cancel that is too late says where the record is",
            self.too_late().await,
        );
        note(
            "a record is rescheduled, and comes out once",
            self.reschedule().await,
        );
        note("the same id twice comes out once", self.debounce().await);
        note("records are found by their state", self.listed().await);
        note(
            "wrong input is refused with what to do",
            self.refusals().await,
        );
        report
    }

    fn sample(&self, number: i64, delay_ms: i64, priority: Priority) -> Sample {
        Sample {
            number,
            key: Some(format!("key-{}", number % 7)),
            headers: vec![
                ("delay-target", self.probe.subject.target.clone()),
                ("delay-ms", delay_ms.to_string()),
                ("delay-priority", priority.as_str().to_owned()),
            ],
        }
    }

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

    /// Priorities by several delays of every path.
    async fn delays(&self) -> anyhow::Result<[Result<String, String>; 4]> {
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
    async fn bypass(&self) -> Found {
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
    async fn retries(&self) -> Found {
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

    async fn dead_letter(&self) -> Found {
        let (first, range) = (30_000, 30_000..30_003);
        let spoilt = [
            ("delay-target", "no such topic", "invalid-target"),
            ("delay-priority", "urgent", "invalid-priority"),
            ("delay-mss", "5", "unknown-header"),
        ];
        let samples: Vec<Sample> = (first..)
            .zip(spoilt)
            .map(|(number, (name, value, _))| {
                let mut sample = self.sample(number, 100, Priority::Standard);
                sample.headers.retain(|(other, _)| *other != name);
                sample.headers.push((name, value.to_owned()));
                sample
            })
            .collect();
        self.probe.send(&samples).await?;
        let found = self
            .probe
            .arrived(range, PATIENCE, |found| found.len() >= 3)
            .await;
        let dead = &self.probe.subject.config.topics.dead_letter;
        let reasons: BTreeSet<&str> = found
            .iter()
            .filter(|one| one.topic == *dead && one.headers.contains_key("delay-error-detail"))
            .filter_map(|one| one.headers.get("delay-error").map(String::as_str))
            .collect();
        let expected: BTreeSet<&str> = spoilt.iter().map(|(_, _, code)| *code).collect();
        Ok(if_so(reasons == expected, format!("{reasons:?}")))
    }

    /// A record that is refused for a header that its operator takes away.
    async fn redrive(&self) -> Found {
        const NUMBER_OF_IT: i64 = 31_000;
        let mut sample = self.sample(NUMBER_OF_IT, 100, Priority::High);
        sample.headers.push(("delay-tipo", "x".to_owned()));
        self.probe.send(&[sample]).await?;
        let range = NUMBER_OF_IT..NUMBER_OF_IT + 1;
        let found = self
            .probe
            .arrived(range.clone(), PATIENCE, |found| !found.is_empty())
            .await;
        let Some(letter) = found.first() else {
            return Ok(Err("no dead letter".to_owned()));
        };
        let at = format!("{}/{}", letter.partition, letter.offset);
        let body = json!({"at": [at], "without": ["delay-tipo"]});
        let (status, answer) = self
            .api
            .ask("POST", "/v1/dead-letters/redrive", Some(&body))
            .await?;
        let found = self
            .probe
            .arrived(range, PATIENCE, |found| found.len() >= 2)
            .await;
        let topic = outputs(self.probe.subject).into_iter().next();
        Ok(if_so(
            found.get(1).map(|one| &one.topic) == topic.as_ref(),
            format!("{status}: {answer}"),
        ))
    }

    async fn live(&self) -> Found {
        let id = self.id("live");
        let mut live = self.api.live(&id).await?;
        self.probe.send(&[self.tracked(40_000, &id, 2_000)]).await?;
        let states = live.states("published", PATIENCE).await?;
        Ok(if_so(
            states == ["scheduled", "publishing", "published"],
            states.join(", "),
        ))
    }

    /// Waits until the registry knows an id.
    async fn known(&self, id: &str) -> anyhow::Result<()> {
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            let (status, answer) = self
                .api
                .ask("GET", &format!("/v1/messages/{id}"), None)
                .await?;
            if status == 200 {
                return Ok(());
            }
            anyhow::ensure!(
                tokio::time::Instant::now() < until,
                "{id}: {status} {answer}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn change(
        &self,
        id: &str,
        what: &str,
        body: Option<serde_json::Value>,
    ) -> anyhow::Result<(u16, String)> {
        let path = format!("/v1/messages/{id}/{what}");
        let (status, answer) = self.api.ask("POST", &path, body.as_ref()).await?;
        let text = answer.get("answer").and_then(serde_json::Value::as_str);
        Ok((
            status,
            text.map_or_else(|| answer.to_string(), str::to_owned),
        ))
    }

    async fn cancel(&self) -> Found {
        let id = self.id("cancelled");
        self.probe.send(&[self.tracked(50_000, &id, 2_500)]).await?;
        self.known(&id).await?;
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

    async fn too_late(&self) -> Found {
        let id = self.id("late");
        self.probe.send(&[self.tracked(51_000, &id, 500)]).await?;
        let found = self
            .probe
            .arrived(51_000..51_001, PATIENCE, |found| !found.is_empty())
            .await;
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            let path = format!("/v1/messages/{id}/cancel");
            let (status, answer) = self.api.ask("POST", &path, None).await?;
            let of = |name: &str| {
                answer
                    .pointer(&format!("/message/{name}"))
                    .and_then(serde_json::Value::as_i64)
            };
            let place = (of("partition"), of("offset"));
            let there = found
                .first()
                .map(|one| (Some(i64::from(one.partition)), Some(one.offset)));
            let published = answer
                .get("answer")
                .is_some_and(|answer| answer == "published");
            if published || tokio::time::Instant::now() >= until {
                return Ok(if_so(
                    status == 409 && Some(place) == there,
                    format!("{status} {answer}"),
                ));
            }
            // The record is read a moment before its end is noted.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn reschedule(&self) -> Found {
        let id = self.id("rescheduled");
        self.probe
            .send(&[self.tracked(52_000, &id, 60_000)])
            .await?;
        self.known(&id).await?;
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

    async fn debounce(&self) -> Found {
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

    async fn listed(&self) -> Found {
        let id = self.id("listed");
        self.probe
            .send(&[self.tracked(54_000, &id, 600_000)])
            .await?;
        self.known(&id).await?;
        let output = outputs(self.probe.subject)
            .into_iter()
            .nth(Priority::Standard.index())
            .unwrap_or_default();
        let from_ms = SystemClock.now_ms() + 500_000;
        let path =
            format!("/v1/messages?state=scheduled&target={output}&due_from_ms={from_ms}&limit=500");
        let until = tokio::time::Instant::now() + PATIENCE;
        let listed = loop {
            let (_, answer) = self.api.ask("GET", &path, None).await?;
            let messages = answer.get("messages").and_then(serde_json::Value::as_array);
            let found = messages.is_some_and(|all| {
                all.iter()
                    .any(|one| one.get("id").is_some_and(|found| *found == *id))
            });
            if found || tokio::time::Instant::now() >= until {
                break found;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        let (status, answer) = self.change(&id, "cancel", None).await?;
        Ok(if_so(
            listed && status == 200,
            format!("listed: {listed}; then {answer}"),
        ))
    }

    async fn refusals(&self) -> Found {
        // Never a target, whatever is allowed.
        let body = json!({"target": self.probe.topic(), "value": "x", "delay_ms": 5});
        let (status, answer) = self.api.ask("POST", "/v1/messages", Some(&body)).await?;
        let code = answer
            .pointer("/error/code")
            .and_then(serde_json::Value::as_str)
            .unwrap_or_default();
        let message = answer
            .pointer("/error/message")
            .and_then(serde_json::Value::as_str)
            .unwrap_or_default();
        let (unknown, _) = self
            .api
            .ask("POST", "/v1/messages/validate-nobody/cancel", None)
            .await?;
        Ok(if_so(
            (status, code, unknown) == (400, "target-not-allowed", 404),
            format!("{status} {code}: {message}"),
        ))
    }
}
