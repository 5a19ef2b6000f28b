//! The result: a table for people, one line of JSON for machines.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::inject::Done;
use crate::oracle::Verdict;

/// Everything there is to say about a run.
pub(crate) struct Report {
    pub(crate) seed: u64,
    pub(crate) seconds: u64,
    /// Records sent, and those of them that the broker confirmed.
    pub(crate) sent: u64,
    pub(crate) confirmed: u64,
    pub(crate) verdict: Verdict,
    pub(crate) done: Done,
    /// Requests or pieces hit by a proxy, by line and fault.
    pub(crate) hits: BTreeMap<String, u64>,
    /// Records whose offsets the routers had not committed at the end.
    pub(crate) uncommitted: i64,
    /// Where logs and data are, if something broke.
    pub(crate) kept: Option<String>,
}

impl Report {
    /// Whether every promise held.
    pub(crate) fn passed(&self) -> bool {
        let Verdict {
            lost,
            early,
            wrong,
            unexplained,
            ..
        } = self.verdict;
        lost + early + wrong + unexplained == 0
            && self.uncommitted == 0
            && self.done.crashes.is_empty()
            && self.confirmed > 0
    }

    /// How often each kind of fault was on.
    fn faults(&self) -> BTreeMap<String, u64> {
        let mut faults = BTreeMap::new();
        for window in &self.done.windows {
            *faults.entry(window.fault.kind()).or_default() += 1;
        }
        faults
    }

    /// The processes that a kind of fault was done to.
    fn by_process(&self, kind: &str) -> BTreeMap<String, u64> {
        let prefix = format!("{kind} ");
        self.faults()
            .into_iter()
            .filter_map(|(name, count)| Some((name.strip_prefix(&prefix)?.to_owned(), count)))
            .collect()
    }

    /// One object.
    pub(crate) fn json(&self) -> Value {
        let failed = u64::from(!self.passed());
        json!({
            "scenario": "chaos", "seeds": 1, "seed": self.seed, "seconds": self.seconds,
            "records": self.confirmed, "sent": self.sent,
            "published": self.verdict.published, "dead_lettered": self.verdict.dead_lettered,
            "faults": self.faults(), "calls_hit": self.hits,
            "kills": self.by_process("kill"), "stops": self.by_process("stop"), "restarts": self.by_process("restart"),
            "unclean_stops": self.done.unclean, "crashes": self.done.crashes,
            "lost": self.verdict.lost, "early": self.verdict.early, "altered": self.verdict.wrong,
            "uncommitted": self.uncommitted, "waiting": self.verdict.waiting,
            "duplicates": self.verdict.duplicates, "duplicates_by_cause": self.verdict.by_cause,
            "unexplained_duplicates": self.verdict.unexplained,
            "failed_seeds": if failed == 1 { vec![self.seed] } else { vec![] },
            "calm_lateness_ms": self.verdict.calm_lateness_ms.as_ref().map(quantiles),
            "findings": self.verdict.told, "logs": self.kept,
        })
    }

    /// Lines for people.
    pub(crate) fn table(&self) -> String {
        let mut lines = vec![
            format!("seed {}, {} s", self.seed, self.seconds),
            row("records confirmed", self.confirmed),
            row("published, copies included", self.verdict.published),
            row("dead-lettered, copies included", self.verdict.dead_lettered),
        ];
        let list = |lines: &mut Vec<String>, title: &str, of: &BTreeMap<String, u64>| {
            lines.push(String::new());
            lines.push(title.to_owned());
            lines.extend(of.iter().map(|(name, count)| row(name, *count)));
        };
        list(&mut lines, "faults", &self.faults());
        list(&mut lines, "duplicates by cause", &self.verdict.by_cause);
        lines.push(String::new());
        for (name, count) in [
            ("lost", self.verdict.lost),
            ("early", self.verdict.early),
            ("altered", self.verdict.wrong),
            ("duplicates", self.verdict.duplicates),
            ("unexplained duplicates", self.verdict.unexplained),
            ("uncommitted", self.uncommitted.unsigned_abs()),
            ("ended by themselves", self.done.crashes.len() as u64),
        ] {
            lines.push(row(name, count));
        }
        if let Some(calm) = &self.verdict.calm_lateness_ms {
            lines.push(format!("  lateness in calm times: {}", quantiles(calm)));
        }
        lines.extend(self.verdict.told.iter().cloned());
        lines.extend(self.done.crashes.iter().cloned());
        lines.push(if self.passed() {
            "every promise held".to_owned()
        } else {
            "A PROMISE BROKE".to_owned()
        });
        if let Some(kept) = &self.kept {
            lines.push(format!("logs and data: {kept}"));
        }
        lines.join("\n")
    }
}

fn row(name: &str, count: u64) -> String {
    format!("  {name:<40} {count:>10}")
}

/// Percentiles in milliseconds.
pub(crate) fn quantiles(histogram: &Histogram<u64>) -> Value {
    json!({
        "records": histogram.len(), "p50": histogram.value_at_quantile(0.5), "p99": histogram.value_at_quantile(0.99),
        "p999": histogram.value_at_quantile(0.999), "max": histogram.max(),
    })
}
