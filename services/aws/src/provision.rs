//! Makes the queues and tables. Running it again changes nothing; what differs is set right or reported.

use std::time::Duration;

use delayq_core::error::PortError;

use crate::connect::Clients;
use crate::names::Names;
use crate::provision_queues::provision_queues;
use crate::provision_tables::provision_tables;

/// How [`provision_with`] goes about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProvisionOptions {
    /// Only look, and say what would be done.
    pub dry_run: bool,
    /// How long a new table may take to be usable.
    pub wait: Duration,
}

/// What the steps share.
pub(crate) struct Provisioning<'a> {
    pub(crate) clients: &'a Clients,
    pub(crate) options: ProvisionOptions,
    report: &'a mut (dyn FnMut(String) + Send),
}

impl Provisioning<'_> {
    /// Tells what became of a resource.
    pub(crate) fn say(&mut self, resource: &str, outcome: impl std::fmt::Display) {
        (self.report)(format!("{resource}: {outcome}"));
    }
}

/// Creates what is missing, and waits for each table to be usable. Answers with a line for each queue and table.
///
/// # Errors
/// As [`provision_with`]; what was done by then is not told.
pub async fn provision(
    clients: &Clients,
    names: &Names,
    wait: Duration,
) -> Result<Vec<String>, PortError> {
    let mut done = Vec::new();
    let options = ProvisionOptions {
        dry_run: false,
        wait,
    };
    provision_with(clients, names, options, &mut |line| done.push(line)).await?;
    Ok(done)
}

/// As [`provision`], and gives each line to `report` as soon as its queue or table is as it should be: `created`,
/// `exists`, what was set, or (in a dry run) what would be done.
///
/// The rights it needs: `sqs:GetQueueUrl`, `GetQueueAttributes`, `dynamodb:DescribeTable`, `DescribeTimeToLive`; and, but
/// for a dry run, `sqs:CreateQueue`, `SetQueueAttributes`, `dynamodb:CreateTable`, `UpdateTimeToLive`, `UpdateTable`.
///
/// # Errors
/// The first call that fails; running it again goes on from there. `Misconfigured` when a queue or
/// table of that name exists and cannot be made what it has to be.
pub async fn provision_with(
    clients: &Clients,
    names: &Names,
    options: ProvisionOptions,
    report: &mut (dyn FnMut(String) + Send),
) -> Result<(), PortError> {
    let mut work = Provisioning {
        clients,
        options,
        report,
    };
    provision_queues(&mut work, &names.queues).await?;
    provision_tables(&mut work, &names.tables).await
}
