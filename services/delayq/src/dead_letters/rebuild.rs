//! From a dead letter back to a record for its delay topic: control headers kept, mended, or made anew. Pure.

use std::sync::Arc;

use delayq_core::clock::EpochMs;
use delayq_core::headers::{
    DELIVER_AT_MIN_MS, ERROR_CODE, ERROR_DETAIL, ERROR_PRIORITY, ERROR_TOPIC, OUT_DUE_MS, OUT_ID,
    OUT_REDRIVES, OUT_SOURCE,
};
use delayq_core::record::{Header, Incoming, Record, Source, TopicPartition};
use delayq_core::route::{Decision, Policy, route};

use super::letter::redrives;

/// What the operator changes about the records.
#[derive(Debug, Clone, Default)]
pub(super) struct Mend {
    /// Headers set, in place of those of the same name.
    pub(super) headers: Vec<(String, String)>,
    /// Headers removed.
    pub(super) without: Vec<String>,
    /// The target, in place of the record's own.
    pub(super) target: Option<String>,
    /// The delay topic, in place of the one it came from.
    pub(super) topic: Option<String>,
}

/// The delay topic, and the record to write to it; or why there is none.
pub(super) fn rebuild(
    letter: &Record,
    policy: &Policy,
    mend: &Mend,
    now_ms: EpochMs,
) -> Result<(Arc<str>, Record), String> {
    let source: Source = letter
        .header_text(OUT_SOURCE)
        .and_then(|text| text.parse().ok())
        .ok_or("it holds no record: a message or batch that could not be read, kept as it was")?;
    let topic: Arc<str> = match &mend.topic {
        Some(topic) => Arc::from(topic.as_str()),
        None => source.at.topic,
    };
    let mut record = if was_accepted(letter) {
        accepted(letter, &topic, policy, mend, now_ms)?
    } else {
        refused(letter)
    };
    let count = redrives(letter).saturating_add(1);
    record
        .headers
        .retain(|h| h.name != OUT_REDRIVES && !mend.without.iter().any(|name| h.name == *name));
    if let Some(target) = &mend.target {
        set(&mut record, &policy.names.target, target);
    }
    for (name, value) in &mend.headers {
        set(&mut record, name, value);
    }
    record
        .headers
        .push(Header::text(OUT_REDRIVES, count.to_string()));
    Ok((topic, record))
}

/// Whether the router had taken the record: its control headers are gone then.
fn was_accepted(letter: &Record) -> bool {
    letter.header_text(ERROR_TOPIC).is_some()
}

/// As it came; only what the letter added is gone.
fn refused(letter: &Record) -> Record {
    let added = [ERROR_CODE, ERROR_DETAIL, OUT_SOURCE];
    let kept = letter.headers.iter();
    Record {
        headers: kept
            .filter(|h| !added.contains(&&*h.name))
            .cloned()
            .collect(),
        ..letter.clone()
    }
}

/// With the control headers that lead where it was going.
fn accepted(
    letter: &Record,
    topic: &Arc<str>,
    policy: &Policy,
    mend: &Mend,
    now_ms: EpochMs,
) -> Result<Record, String> {
    let names = &policy.names;
    let mut record = Record {
        headers: names.strip(letter.headers.clone()),
        ..letter.clone()
    };
    if let Some(due_ms) = letter.header_text(OUT_DUE_MS) {
        let due_ms: i64 = due_ms
            .parse()
            .map_err(|_| format!("{OUT_DUE_MS} is {due_ms:?}, no time"))?;
        // Before September 2001 the router would suspect seconds; it is long past either way.
        let at_ms = due_ms.max(DELIVER_AT_MIN_MS).to_string();
        set(&mut record, &names.deliver_at_ms, &at_ms);
    }
    if let Some(id) = letter.header_text(OUT_ID) {
        set(&mut record, &names.id, id);
    }
    let priority = letter.header_text(ERROR_PRIORITY).unwrap_or("standard");
    set(&mut record, &names.priority, priority);
    if mend.target.is_some() {
        return Ok(record);
    }
    let output = letter.header_text(ERROR_TOPIC).unwrap_or_default();
    let candidates = targets(output, priority, policy);
    let leads_there = |target: &&String| {
        let mut tried = record.clone();
        set(&mut tried, &names.target, target);
        let incoming = Incoming {
            source: Source {
                at: TopicPartition::new(topic.clone(), 0),
                offset: 0,
            },
            leader_epoch: None,
            timestamp_ms: Some(now_ms),
            record: tried,
            malformed: None,
        };
        matches!(route(incoming, now_ms, policy), Decision::Schedule(one) if &*one.output_topic == output)
    };
    // If none leads there any more, the first makes the router's refusal a telling one.
    let target = candidates.iter().find(leads_there).or(candidates.first());
    let target = target.ok_or_else(|| {
        format!(
            "no target leads to output topic {output:?} with the present topics.output and routes: name one with --to"
        )
    })?;
    set(&mut record, &names.target, target);
    Ok(record)
}

/// Targets that may have led to an output topic, the likeliest first.
fn targets(output: &str, priority: &str, policy: &Policy) -> Vec<String> {
    let routes = || policy.routes.iter();
    let templates = routes().filter_map(|route| route.output_template.as_ref());
    let mut found: Vec<String> = std::iter::once(&policy.output_template)
        .chain(templates)
        .filter_map(|template| reversed(template, output, priority))
        .collect();
    // A template that does not name the target.
    found.extend(policy.default_target.clone());
    found.extend(routes().filter_map(|route| route.target.clone()));
    found
}

/// The target that a template turns into this output topic.
fn reversed(template: &str, output: &str, priority: &str) -> Option<String> {
    let template = template.replace("{priority}", priority);
    let (before, after) = template.split_once("{target}")?;
    let target = output.strip_prefix(before)?.strip_suffix(after)?;
    (!target.is_empty()).then(|| target.to_owned())
}

/// Sets a header in place of those of that name.
fn set(record: &mut Record, name: &str, value: &str) {
    record.headers.retain(|h| h.name != name);
    record.headers.push(Header::text(name, value));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings;
    use delayq_core::headers::Refusal;
    use delayq_core::record::Scheduled;
    use delayq_delivery::publish::DeadLetter;
    use delayq_runtime::config::{Sources, load};

    const NOW: i64 = 1_700_000_000_000;

    fn policy(set: &[&str]) -> Policy {
        let mut all = vec!["topics.allow=orders*,plain".to_owned()];
        all.extend(set.iter().map(|one| (*one).to_owned()));
        let config = load(&Sources {
            set: all,
            ..Sources::default()
        });
        settings::policy(&config.unwrap()).unwrap()
    }

    fn record(headers: &[(&str, &str)]) -> Record {
        Record {
            key: Some("k".into()),
            value: Some("v".into()),
            headers: headers.iter().map(|(n, v)| Header::text(*n, *v)).collect(),
        }
    }

    fn incoming(headers: &[(&str, &str)]) -> Incoming {
        Incoming {
            source: Source {
                at: TopicPartition::new("delayq.delay", 3),
                offset: 7,
            },
            leader_epoch: None,
            timestamp_ms: Some(NOW),
            record: record(headers),
            malformed: None,
        }
    }

    fn scheduled(headers: &[(&str, &str)], policy: &Policy) -> Scheduled {
        match route(incoming(headers), NOW, policy) {
            Decision::Schedule(one) => *one,
            other => panic!("not scheduled: {other:?}"),
        }
    }

    /// As it stands in the dead-letter topic.
    fn failed(scheduled: &Scheduled) -> Record {
        let refusal = Refusal::new("publish-failed", "why");
        let letter = DeadLetter::unpublishable(scheduled, refusal);
        letter.to_output(&Arc::from("dead")).record
    }

    #[test]
    fn what_failed_at_publishing_is_scheduled_as_it_was() {
        let headers = [
            ("delay-target", "orders"),
            ("delay-priority", "9"),
            ("delay-id", "o-1"),
            ("deliver-at-ms", "1700000060000"),
            ("a", "1"),
        ];
        for set in [
            &[][..],
            &["topics.output={target}"],
            &["topics.output=x.{priority}.{target}"],
        ] {
            let policy = policy(set);
            let before = scheduled(&headers, &policy);
            let (topic, again) = rebuild(&failed(&before), &policy, &Mend::default(), NOW).unwrap();
            assert_eq!(&*topic, "delayq.delay");
            assert_eq!(again.header_text(OUT_REDRIVES), Some("1"));
            let mut again = Incoming {
                record: again,
                ..incoming(&[])
            };
            again.record.headers.retain(|h| h.name != OUT_REDRIVES);
            let Decision::Schedule(after) = route(again, NOW, &policy) else {
                panic!("refused")
            };
            assert_eq!(*after, before, "{set:?}");
        }
    }

    #[test]
    fn a_past_due_time_before_2001_does_not_look_like_seconds() {
        let policy = policy(&[]);
        let headers = [
            ("delay-target", "orders"),
            ("deliver-at", "1999-01-01T00:00:00Z"),
        ];
        let letter = failed(&scheduled(&headers, &policy));
        let (_, again) = rebuild(&letter, &policy, &Mend::default(), NOW).unwrap();
        let at = again.header_text("deliver-at-ms");
        assert_eq!(at, Some("1000000000000"));
    }

    #[test]
    fn a_target_that_cannot_be_told_must_be_named() {
        let letter = failed(&scheduled(&[("delay-target", "orders")], &policy(&[])));
        let changed = policy(&["topics.output=new.{target}"]);
        let why = rebuild(&letter, &changed, &Mend::default(), NOW).unwrap_err();
        assert!(
            why.contains("orders.standard") && why.contains("--to"),
            "{why}"
        );
        let mend = Mend {
            target: Some("plain".to_owned()),
            ..Mend::default()
        };
        let (_, again) = rebuild(&letter, &changed, &mend, NOW).unwrap();
        assert_eq!(again.header_text("delay-target"), Some("plain"));
    }

    #[test]
    fn what_was_refused_keeps_its_headers_and_is_mended() {
        let policy = policy(&[]);
        let headers = [
            ("delay-target", "orders"),
            ("delay-mss", "5"),
            ("a", "1"),
            ("a", "2"),
            ("delayed-redrives", "2"),
        ];
        let refusal = Refusal::new("unknown-header", "why");
        let letter = DeadLetter::refused(incoming(&headers), refusal);
        let letter = letter.to_output(&Arc::from("dead")).record;
        let mend = Mend {
            headers: vec![("delay-ms".to_owned(), "5".to_owned())],
            without: vec!["delay-mss".to_owned()],
            ..Mend::default()
        };
        let (_, again) = rebuild(&letter, &policy, &mend, NOW).unwrap();
        let expected = record(&[
            ("delay-target", "orders"),
            ("a", "1"),
            ("a", "2"),
            ("delay-ms", "5"),
            ("delayed-redrives", "3"),
        ]);
        assert_eq!(again, expected);
    }

    #[test]
    fn a_message_that_was_no_batch_holds_no_record() {
        let letter = DeadLetter::unreadable("x".into(), Refusal::new("batch-not-base64", "why"));
        let letter = letter.to_output(&Arc::from("dead")).record;
        let why = rebuild(&letter, &policy(&[]), &Mend::default(), NOW).unwrap_err();
        assert!(why.contains("no record"), "{why}");
    }
}
