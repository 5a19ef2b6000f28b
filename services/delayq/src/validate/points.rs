//! The points, each in its own words.

use std::time::Duration;

use delayq_core::priority::Priority;
use serde_json::json;

use super::deployment::Subject;
use super::probe::{Probe, Sample};
use super::report::{Point, Report};
use crate::console_client::Api;

mod dead_letters;
mod delivery;
mod tracked;

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
