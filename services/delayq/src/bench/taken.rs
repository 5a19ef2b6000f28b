//! What roles and brokers have taken of the machine and of AWS.

use std::collections::BTreeMap;
use std::time::Duration;

use delayq_stack::{Stack, Usage};

use super::report::rounded;
use super::stage::{Roles, stack_usage};
use crate::plan::cents4;

/// Since the start of each process.
pub(super) struct Taken {
    roles: BTreeMap<String, Usage>,
    stack: BTreeMap<&'static str, Usage>,
}

impl Taken {
    pub(super) async fn now(roles: &Roles, stack: &Stack) -> anyhow::Result<Self> {
        Ok(Self {
            roles: roles.usage()?,
            stack: stack_usage(stack).await?,
        })
    }

    /// Without the roles: for a count over those that are started next.
    pub(super) fn of_stack_alone(self) -> Self {
        Self {
            roles: BTreeMap::new(),
            ..self
        }
    }

    fn all(&self) -> impl Iterator<Item = (&str, &Usage)> {
        let roles = self
            .roles
            .iter()
            .map(|(name, usage)| (name.as_str(), usage));
        roles.chain(self.stack.iter().map(|(name, usage)| (*name, usage)))
    }

    /// Processor time a record, µs, by process.
    pub(super) fn cpu_us_since(&self, before: &Self, records: u32) -> BTreeMap<String, f64> {
        let earlier: BTreeMap<&str, &Usage> = before.all().collect();
        self.all()
            .map(|(name, now)| {
                // A process that began since has taken nothing before.
                let before = earlier.get(name).map_or(Duration::ZERO, |usage| usage.cpu);
                let took = now.cpu.saturating_sub(before);
                let each = took.as_secs_f64() * 1e6 / f64::from(records);
                (name.to_owned(), rounded(each))
            })
            .collect()
    }

    /// The same of all roles together.
    pub(super) fn roles_cpu_us_since(&self, before: &Self, records: u32) -> f64 {
        let by_process = self.cpu_us_since(before, records);
        let of_roles = by_process
            .iter()
            .filter(|(name, _)| self.roles.contains_key(*name));
        rounded(of_roles.map(|(_, each)| each).sum())
    }

    /// The most resident memory, MiB, by process.
    pub(super) fn memory_mib(&self) -> BTreeMap<String, f64> {
        self.all()
            .map(|(name, usage)| (name.to_owned(), usage.resident_most_mib.round()))
            .collect()
    }
}

/// US dollars for a million records at list prices, by the roles' own meters; `None` over tiers that nobody bills.
pub(super) async fn usd_per_million(roles: &Roles, records: u32) -> anyhow::Result<Option<f64>> {
    let usd = for_a_million(roles.metrics().await?.sum(COST, &[]), records);
    Ok((usd > 0.0).then_some(usd))
}

/// The same of one role, without ticks and the shards' rows: what it costs by the records, not by the time.
pub(super) async fn usd_per_million_by_records(
    roles: &Roles,
    role: &str,
    records: u32,
) -> anyhow::Result<f64> {
    let metrics = roles.metrics_of(role).await?;
    let tiers = ["queues", "batches", "payloads", "tracked"];
    let nanodollars = tiers.map(|tier| metrics.sum(COST, &[&format!("tier=\"{tier}\"")]));
    Ok(for_a_million(nanodollars.iter().sum(), records))
}

const COST: &str = "delayq_aws_cost_nanodollars_total";

fn for_a_million(nanodollars: f64, records: u32) -> f64 {
    // A billionth a record is a thousandth for a million.
    cents4(nanodollars / 1000.0 / f64::from(records))
}
