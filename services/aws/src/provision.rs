//! Makes the queues and tables. Running it again changes nothing; what differs is set right or reported.

use std::time::Duration;

use delayq_core::error::PortError;

use crate::connect::Clients;
use crate::names::Names;
use crate::provision_queues::provision_queues;
use crate::provision_tables::provision_tables;

/// Creates what is missing, and waits up to `wait` for each table to be usable. Answers with a line for
/// each thing that was found, made or changed.
///
/// The rights it needs: `sqs:CreateQueue`, `GetQueueUrl`, `GetQueueAttributes`, `SetQueueAttributes`,
/// `dynamodb:CreateTable`, `DescribeTable`, `DescribeTimeToLive`, `UpdateTimeToLive`.
///
/// # Errors
/// The first call that fails; running it again goes on from there. `Misconfigured` when a queue or
/// table of that name exists and cannot be made what it has to be.
pub async fn provision(
    clients: &Clients,
    names: &Names,
    wait: Duration,
) -> Result<Vec<String>, PortError> {
    let mut done = Vec::new();
    provision_queues(clients, &names.queues, &mut done).await?;
    provision_tables(clients, &names.tables, wait, &mut done).await?;
    Ok(done)
}
