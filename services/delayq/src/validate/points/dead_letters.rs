//! What cannot be honoured, and what becomes of it.

use std::collections::BTreeSet;

use delayq_core::priority::Priority;
use serde_json::json;

use super::{Found, PATIENCE, Points, if_so};
use crate::validate::probe::{Sample, outputs};

impl Points<'_> {
    pub(super) async fn dead_letter(&self) -> Found {
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
    pub(super) async fn redrive(&self) -> Found {
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
}
