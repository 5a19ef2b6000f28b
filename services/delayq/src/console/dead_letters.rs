//! Dead letters for the console: the commands' own work, their lines taken as JSON.

use std::sync::{Mutex, MutexGuard, PoisonError};

use delayq_console::dead_letters::{Letter, LetterQuery, Letters, Redriven};
use delayq_console::error::ApiError;
use delayq_runtime::config::Config;
use globset::Glob;
use serde_json::Value;

use crate::dead_letters::select::FilterArgs;
use crate::dead_letters::{
    ListArgs, MAX_REDRIVES, PurgeArgs, RedriveArgs, ShowArgs, list, purge, redrive, show,
};
use crate::operator::Output;

/// What a command printed.
#[derive(Default)]
struct Printed {
    lines: Mutex<Vec<Value>>,
    remarks: Mutex<Vec<String>>,
}

impl Printed {
    fn lines(&self) -> Vec<Value> {
        locked(&self.lines).clone()
    }

    fn remark(&self) -> String {
        locked(&self.remarks).join("; ")
    }
}

/// What is behind such a lock is whole between any two calls, whatever panicked.
fn locked<T>(behind: &Mutex<T>) -> MutexGuard<'_, T> {
    behind.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a command with its lines taken as JSON.
macro_rules! printed {
    ($printed:expr, |$output:ident| $run:expr) => {{
        let printed = &$printed;
        let mut $output = Output {
            json: true,
            // A line that cannot be read fails the command: left out, it could hide a letter.
            out: &mut |line| {
                let value = serde_json::from_str(line)?;
                locked(&printed.lines).push(value);
                Ok(())
            },
            note: &mut |line| {
                locked(&printed.remarks).push(line.to_owned());
                Ok(())
            },
        };
        $run.await.map_err(failed)
    }};
}

fn failed(error: anyhow::Error) -> ApiError {
    super::operations::unavailable(format!("{error:#}"))
}

fn globs(text: Option<&String>, what: &str) -> Result<Vec<Glob>, ApiError> {
    let globs = text.into_iter().map(|text| {
        Glob::new(text).map_err(|error| ApiError::bad_request(format!("{what}: {error}")))
    });
    globs.collect()
}

fn places<P: std::str::FromStr<Err: std::fmt::Display>>(at: &[String]) -> Result<Vec<P>, ApiError> {
    let places = at.iter().map(|text| {
        text.parse()
            .map_err(|error| ApiError::bad_request(format!("{text:?}: {error}")))
    });
    places.collect()
}

fn text(value: &Value, name: &str) -> Option<String> {
    value.get(name)?.as_str().map(str::to_owned)
}

pub(super) async fn listed(config: &Config, query: &LetterQuery) -> Result<Letters, ApiError> {
    let args = ListArgs {
        filter: FilterArgs {
            reason: globs(query.reason.as_ref(), "reason")?,
            target: globs(query.target.as_ref(), "target")?,
            ..FilterArgs::default()
        },
        limit: query.limit.unwrap_or(100),
        after: places(query.after.as_slice())?.pop(),
        topic_only: true,
        json: true,
        ..ListArgs::default()
    };
    let printed = Printed::default();
    printed!(printed, |output| list(config, &args, &mut output))?;
    let mut letters = Letters::default();
    for line in printed.lines() {
        if let Some(at) = text(&line, "letter") {
            let written = text(&line, "written")
                .and_then(|text| chrono::DateTime::parse_from_rfc3339(&text).ok());
            letters.letters.push(Letter {
                at,
                written_ms: written.map(|time| time.timestamp_millis()),
                reason: text(&line, "reason").unwrap_or_default(),
                detail: text(&line, "detail").unwrap_or_default(),
                source: text(&line, "source"),
                target: text(&line, "target"),
                output_topic: text(&line, "output_topic"),
                redrives: line.get("redrives").and_then(Value::as_u64).unwrap_or(0),
            });
        } else {
            letters.next = text(&line, "more_after").or(letters.next);
        }
    }
    Ok(letters)
}

pub(super) async fn shown(config: &Config, at: &str) -> Result<Option<Value>, ApiError> {
    let [letter] = &places(&[at.to_owned()])?[..] else {
        return Ok(None);
    };
    let args = ShowArgs {
        letter: Clone::clone(letter),
        json: true,
    };
    let printed = Printed::default();
    let found = printed!(printed, |output| show(config, &args, &mut output))?;
    Ok(printed.lines().pop().filter(|_| found))
}

pub(super) async fn redriven(
    config: &Config,
    at: &[String],
    without: &[String],
    dry_run: bool,
) -> Result<Vec<Redriven>, ApiError> {
    let args = RedriveArgs {
        letters: places(at)?,
        without: without.to_vec(),
        max_redrives: MAX_REDRIVES,
        dry_run,
        json: true,
        ..RedriveArgs::default()
    };
    let printed = Printed::default();
    printed!(printed, |output| redrive(config, &args, &mut output))?;
    let one = |line: &Value| {
        let (outcome, detail) = if let Some(place) = text(line, "redriven_to") {
            ("sent", place)
        } else if let Some(topic) = text(line, "would_go_to") {
            (
                "sent",
                format!("{topic}, {}", text(line, "outlook").unwrap_or_default()),
            )
        } else {
            ("refused", text(line, "left")?)
        };
        Some(Redriven {
            at: text(line, "letter")?,
            outcome,
            detail: Some(detail),
        })
    };
    Ok(printed.lines().iter().filter_map(one).collect())
}

pub(super) async fn purged(config: &Config, at: &[String], dry_run: bool) -> Result<u64, ApiError> {
    let args = PurgeArgs {
        letters: places(at)?,
        dry_run,
        yes: true,
        json: true,
        ..PurgeArgs::default()
    };
    let printed = Printed::default();
    printed!(printed, |output| purge(config, &args, &mut output))?;
    let count = printed
        .lines()
        .iter()
        .rev()
        .find_map(|line| line.get("purged")?.as_u64());
    count.ok_or_else(|| super::operations::unavailable(printed.remark()))
}
