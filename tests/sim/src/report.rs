//! What a seed showed, and what many did together.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ledger::Cause;
use crate::plan::Profile;

/// The outcome of one seed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SeedReport {
    /// The seed.
    pub seed: u64,
    /// What it looks at.
    pub profile: Profile,
    /// Records accepted by the delay topic.
    pub records: u64,
    /// Those that ended in an output topic.
    pub published: u64,
    /// Those that ended in the dead-letter topic.
    pub dead_lettered: u64,
    /// Tracked ones that did not come out because a later record had their id.
    pub superseded: u64,
    /// Tracked ones that did not come out because they were cancelled.
    pub cancelled: u64,
    /// Those that are cancels.
    pub cancels: u64,
    /// Those that did not end though all was mended.
    pub lost: u64,
    /// Publications before the due time, by the publisher's clock.
    pub early: u64,
    /// Publications too late, where nothing went wrong.
    pub late: u64,
    /// In the wrong topic, altered, or ended otherwise than they must.
    pub wrong: u64,
    /// Ends beyond the first.
    pub duplicates: u64,
    /// Those that no injected fault explains.
    pub unexplained_duplicates: u64,
    /// Duplicates by cause; one may have several.
    pub duplicates_by_cause: BTreeMap<Cause, u64>,
    /// Faults injected, by kind.
    pub faults: BTreeMap<String, u64>,
    /// Virtual time, in ms.
    pub virtual_ms: u64,
    /// Digest of everything that happened.
    pub digest: u64,
    /// How much that was.
    pub events: u64,
    /// What broke.
    pub findings: Vec<String>,
}

/// The outcome of a campaign.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Seeds run.
    pub seeds: u64,
    /// Records accepted.
    pub records: u64,
    /// Of these, ended in an output topic.
    pub published: u64,
    /// Of these, ended in the dead-letter topic.
    pub dead_lettered: u64,
    /// Of these, superseded.
    pub superseded: u64,
    /// Of these, cancelled.
    pub cancelled: u64,
    /// Of these, cancels.
    pub cancels: u64,
    /// Faults injected, by kind.
    pub faults: BTreeMap<String, u64>,
    /// Records that did not end.
    pub lost: u64,
    /// Publications before the due time.
    pub early: u64,
    /// Publications too late, where nothing went wrong.
    pub late: u64,
    /// Records in the wrong topic, altered, or ended otherwise than they must.
    pub wrong: u64,
    /// Ends beyond the first.
    pub duplicates: u64,
    /// Of these, those that no injected fault explains.
    pub unexplained_duplicates: u64,
    /// Duplicates by cause; one may have several.
    pub duplicates_by_cause: BTreeMap<Cause, u64>,
    /// Seeds by profile.
    pub profiles: BTreeMap<Profile, u64>,
    /// Seeds that broke a promise, panicked or hung.
    pub failed_seeds: Vec<u64>,
    /// Seeds a second.
    pub seeds_per_s: f64,
    /// Virtual days a second.
    pub virtual_days_per_s: f64,
    /// Virtual days in all.
    pub virtual_days: f64,
}

impl SeedReport {
    /// Whether a promise broke.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.lost + self.early + self.late + self.wrong + self.unexplained_duplicates > 0
            || !self.findings.is_empty()
    }
}

impl Report {
    /// Adds a seed.
    pub fn add(&mut self, seed: &SeedReport) {
        self.seeds += 1;
        self.records += seed.records;
        self.published += seed.published;
        self.dead_lettered += seed.dead_lettered;
        self.superseded += seed.superseded;
        self.cancelled += seed.cancelled;
        self.cancels += seed.cancels;
        self.lost += seed.lost;
        self.early += seed.early;
        self.late += seed.late;
        self.wrong += seed.wrong;
        self.duplicates += seed.duplicates;
        self.unexplained_duplicates += seed.unexplained_duplicates;
        for (cause, count) in &seed.duplicates_by_cause {
            *self.duplicates_by_cause.entry(*cause).or_default() += count;
        }
        for (kind, count) in &seed.faults {
            *self.faults.entry(kind.clone()).or_default() += count;
        }
        *self.profiles.entry(seed.profile).or_default() += 1;
        self.virtual_days += seed.virtual_ms as f64 / 86_400_000.0;
        if seed.failed() {
            self.failed_seeds.push(seed.seed);
        }
    }

    /// A seed that ended without a report.
    pub fn add_broken(&mut self, seed: u64) {
        self.seeds += 1;
        self.failed_seeds.push(seed);
    }
}
