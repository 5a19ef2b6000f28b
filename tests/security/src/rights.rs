//! What `deploy/terraform/modules/rights/rights.json` allows each role.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use delayq_aws::Names;
use delayq_core::ports::Lane;
use delayq_core::priority::Priority;
use serde::Deserialize;

use crate::recorder::Call;

const RIGHTS: &str = include_str!("../../../deploy/terraform/modules/rights/rights.json");

#[derive(Deserialize)]
struct Rights {
    roles: BTreeMap<String, Role>,
}

#[derive(Deserialize)]
struct Role {
    aws: Vec<Statement>,
}

#[derive(Deserialize)]
struct Statement {
    actions: Vec<String>,
    on: Vec<String>,
}

/// An action and the kind of resource that it is on: `sqs:SendMessage on queues`.
pub type Right = String;

fn right(action: &str, kind: &str) -> Right {
    format!("{action} on {kind}")
}

/// What the role may do.
///
/// # Errors
/// There is no such role.
pub fn allowed(role: &str) -> anyhow::Result<BTreeSet<Right>> {
    let rights: Rights = serde_json::from_str(RIGHTS).context("rights.json")?;
    let role = rights.roles.get(role).with_context(|| role.to_owned())?;
    let statements = role.aws.iter();
    Ok(statements
        .flat_map(|statement| {
            let on = move |action: &String| {
                let kinds = statement.on.iter();
                kinds.map(|kind| right(action, kind)).collect::<Vec<_>>()
            };
            statement.actions.iter().flat_map(on)
        })
        .collect())
}

/// What these calls take.
///
/// # Errors
/// A call on something that is not delayq's.
pub fn taken(calls: &BTreeSet<Call>, prefix: &str) -> anyhow::Result<BTreeSet<Right>> {
    let kinds = kinds(prefix);
    calls
        .iter()
        .map(|call| {
            let kind = kinds.get(&call.resource);
            let kind = kind.with_context(|| format!("{call:?}: no resource of delayq's"))?;
            Ok(right(&call.action, kind))
        })
        .collect()
}

fn kinds(prefix: &str) -> BTreeMap<String, &'static str> {
    let names = Names::with_prefix(prefix);
    let queues = Priority::ALL.into_iter().flat_map(|priority| {
        [
            (Lane::Main(priority), "queues"),
            (Lane::DeadLetter(priority), "dead-letter-queues"),
        ]
    });
    let tables = names.tables;
    queues
        .map(|(lane, kind)| (names.queues.lane(lane), kind))
        .chain([
            (names.queues.ticks.clone(), "ticks"),
            (format!("{}/by-due", tables.messages), "messages-index"),
            (format!("{}/stream", tables.messages), "messages-stream"),
            (tables.batches, "batches"),
            (tables.shards, "shards"),
            (tables.payloads, "payloads"),
            (tables.messages, "messages"),
        ])
        .collect()
}
