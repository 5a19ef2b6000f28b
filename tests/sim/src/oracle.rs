//! Looks at what came out: accepted = published + dead-lettered, each as it must, once, and not early.

use std::collections::{BTreeMap, BTreeSet};

use delayq_core::headers::{ERROR_CODE, OUT_DUE_MS, OUT_SOURCE};
use delayq_core::record::{Incoming, Source};
use delayq_core::tracked::MessageRow;

use crate::ledger::Cause;
use crate::report::SeedReport;
use crate::settings::DEAD_LETTER_TOPIC;
use crate::tracking::{self, Fate};
use crate::workload::{Expected, Planned};
use crate::world::{Accepted, World, output_topics};

/// How a record ended.
#[derive(Debug, Clone)]
struct End {
    topic: String,
    code: Option<String>,
    record: Incoming,
}

fn ends(world: &World) -> BTreeMap<Source, Vec<End>> {
    let mut ends: BTreeMap<Source, Vec<End>> = BTreeMap::new();
    let topics = output_topics()
        .into_iter()
        .chain([DEAD_LETTER_TOPIC.to_owned()]);
    for topic in topics {
        for record in world.broker.read(&topic) {
            let source = record.record.header_text(OUT_SOURCE);
            if let Some(source) = source.and_then(|text| text.parse().ok()) {
                let code = record.record.header_text(ERROR_CODE).map(str::to_owned);
                let end = End {
                    topic: topic.clone(),
                    code,
                    record,
                };
                ends.entry(source).or_default().push(end);
            }
        }
    }
    ends
}

/// Whether every accepted record has ended.
#[must_use]
pub fn all_ended(world: &World) -> bool {
    let ends = ends(world);
    let rows = world.registry.rows();
    let accepted = world.accepted().clone();
    accepted.iter().all(|(source, one)| {
        let planned = world.plan.records.get(one.planned);
        let fate = planned.map_or(Fate::Open, |planned| {
            fate_of(world, &rows, planned, source, one)
        });
        match planned.map(|planned| &planned.expected) {
            Some(Expected::Nothing) => true,
            _ if matches!(fate, Fate::Superseded | Fate::Cancelled) => true,
            // What has come out must be noted, too.
            Some(Expected::Published(_)) if planned.is_some_and(|p| p.id.is_some()) => {
                fate != Fate::Open && ends.contains_key(source)
            }
            _ => ends.contains_key(source),
        }
    })
}

fn fate_of(
    world: &World,
    rows: &[MessageRow],
    planned: &Planned,
    source: &Source,
    accepted: &Accepted,
) -> Fate {
    planned.id.map_or(Fate::Open, |number| {
        tracking::fate(rows, &world.ledger, number, source, accepted.timestamp_ms)
    })
}

/// The verdict.
#[must_use]
pub fn judge(world: &World) -> SeedReport {
    let ends = ends(world);
    let (early, late) = world.ledger.untimely();
    let (digest, events) = world.ledger.digest();
    let faults = world.ledger.faults().into_iter();
    let mut report = SeedReport {
        seed: world.plan.seed,
        profile: world.plan.profile,
        records: 0,
        published: 0,
        dead_lettered: 0,
        superseded: 0,
        cancelled: 0,
        cancels: 0,
        lost: 0,
        early: early.len() as u64,
        late: late.len() as u64,
        wrong: 0,
        duplicates: 0,
        unexplained_duplicates: 0,
        duplicates_by_cause: BTreeMap::new(),
        faults: faults
            .map(|(kind, count)| (kind.to_owned(), count))
            .collect(),
        virtual_ms: u64::try_from(world.elapsed().as_millis()).unwrap_or(u64::MAX),
        digest,
        events,
        findings: world.findings(),
    };
    report
        .findings
        .extend(early.into_iter().map(|what| format!("early: {what}")));
    report
        .findings
        .extend(late.into_iter().map(|what| format!("late: {what}")));
    let rows = world.registry.rows();
    let accepted = world.accepted().clone();
    for (source, one) in &accepted {
        report.records += 1;
        let Some(planned) = world.plan.records.get(one.planned) else {
            continue;
        };
        let ends = ends.get(source).map_or(&[][..], Vec::as_slice);
        if planned.id.is_some() {
            let fate = fate_of(world, &rows, planned, source, one);
            if is_excused(world, source, planned, fate, ends, &mut report) {
                continue;
            }
        }
        record(world, source, *one, planned, ends, &mut report);
    }
    for source in ends.keys().filter(|source| !accepted.contains_key(source)) {
        report.wrong += 1;
        report
            .findings
            .push(format!("{source} came out and was never accepted"));
    }
    report
}

/// Whether a tracked record has ended without coming out, as it may. Notes what breaks promise P5.
fn is_excused(
    world: &World,
    source: &Source,
    planned: &Planned,
    fate: Fate,
    ends: &[End],
    report: &mut SeedReport,
) -> bool {
    let published = ends.iter().any(|end| end.code.is_none());
    let mut broken = |what: &str| {
        report.wrong += 1;
        report
            .findings
            .push(format!("tracked: {source} ({:?}): {what}", planned.id));
    };
    if published && world.ledger.was_cancelled(source) {
        broken("cancelled, and published all the same");
    }
    if published && !world.ledger.was_claimed(source) {
        broken("published and never claimed");
    }
    if planned.expected == Expected::Nothing {
        if !ends.is_empty() {
            broken("a cancel came out");
        }
        report.cancels += 1;
        return true;
    }
    match fate {
        Fate::Published if !published => broken("said to be published, and is not"),
        Fate::Open if published => broken("published, and the registry does not say so"),
        _ => {}
    }
    match fate {
        Fate::Superseded if ends.is_empty() => report.superseded += 1,
        Fate::Cancelled if ends.is_empty() => report.cancelled += 1,
        _ => return false,
    }
    true
}

fn record(
    world: &World,
    source: &Source,
    accepted: Accepted,
    planned: &Planned,
    ends: &[End],
    report: &mut SeedReport,
) {
    let Some(first) = ends.first() else {
        report.lost += 1;
        report.findings.push(format!(
            "lost: {source}, delay {} ms, {:?}",
            planned.delay_ms, planned.expected
        ));
        return;
    };
    if first.code.is_some() {
        report.dead_lettered += 1;
    } else {
        report.published += 1;
    }
    for end in ends {
        if let Err(what) = as_it_must(world, accepted, planned, end) {
            report.wrong += 1;
            report
                .findings
                .push(format!("wrong: {source} in {}: {what}", end.topic));
        }
    }
    if ends.len() == 1 {
        return;
    }
    let extra = (ends.len() - 1) as u64;
    report.duplicates += extra;
    let publishers = world.ledger.publishers(source);
    let mut causes = world.ledger.causes(source);
    // An emitter knows what it publishes itself: only a second one is excused by a second delivery.
    let distinct: BTreeSet<_> = publishers.iter().collect();
    if distinct.len() < publishers.len() {
        causes.remove(&Cause::DeliveredTwice);
    }
    for cause in &causes {
        *report.duplicates_by_cause.entry(*cause).or_default() += extra;
    }
    if causes.is_empty() {
        report.unexplained_duplicates += extra;
        report.findings.push(format!(
            "twice without a cause: {source}, delay {} ms, published by {publishers:?}",
            planned.delay_ms
        ));
    }
}

fn as_it_must(
    world: &World,
    accepted: Accepted,
    planned: &Planned,
    end: &End,
) -> Result<(), String> {
    match (&planned.expected, &end.code) {
        // Received too often: what may happen to any record where that is soon.
        (_, Some(code)) if code == "redelivery-exhausted" && world.plan.max_receive_count < 100 => {
            return Ok(());
        }
        (Expected::Dead(expected), Some(code)) if code == expected => return Ok(()),
        (Expected::Published(topic), None) if *topic == end.topic => {}
        (expected, code) => return Err(format!("{expected:?} was expected, not {code:?}")),
    }
    let out = &end.record.record;
    if (&out.key, &out.value) != (&planned.record.key, &planned.record.value) {
        return Err("key or value were altered".to_owned());
    }
    let notes: Vec<_> = out.headers.iter().filter(|h| h.name == "note").collect();
    let notes: Vec<_> = notes.iter().filter_map(|h| h.value.as_deref()).collect();
    if notes != [b"one", b"two"] {
        return Err(format!("its headers were altered: {notes:?}"));
    }
    let due_ms = (accepted.timestamp_ms + planned.delay_ms).to_string();
    if out.header_text(OUT_DUE_MS) != Some(due_ms.as_str()) {
        return Err(format!(
            "due {:?}, not {due_ms}",
            out.header_text(OUT_DUE_MS)
        ));
    }
    Ok(())
}
