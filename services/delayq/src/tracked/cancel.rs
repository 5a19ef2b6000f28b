//! `delayq cancel`: a cancel with a definite answer.

use delayq_core::clock::{Clock as _, SystemClock};
use delayq_core::tracked::{self, CancelAnswer};
use delayq_delivery::registry::{Answered, change};
use delayq_runtime::config::Config;
use serde_json::json;

use super::{Desk, Ended, IdArgs, view};
use crate::operator::Output;

/// Cancels each id.
///
/// # Errors
/// A topic that is not configured; DynamoDB does not answer or refuses, and then it is unknown whether the id at hand was
/// cancelled: asking again tells. Standard output is closed.
pub async fn cancel(
    config: &Config,
    args: &IdArgs,
    output: &mut Output<'_>,
) -> anyhow::Result<Ended> {
    let desk = Desk::open(config, args.topic.as_deref()).await?;
    let mut ended = Ended::Done;
    for id in &args.ids {
        let key = desk.key(id);
        let Answered { answer, row, .. } = change(desk.registry.as_ref(), &key, |row| {
            tracked::cancel(row, SystemClock.now_ms())
        })
        .await?;
        ended = ended.max(match answer {
            CancelAnswer::Cancelled => Ended::Done,
            CancelAnswer::Unknown => Ended::Unknown,
            _ => Ended::TooLate,
        });
        let object = row.as_ref().map_or_else(
            || json!({"id": id, "topic": *desk.topic, "answer": answer.as_str()}),
            |row| view::answer(answer.as_str(), row),
        );
        let meaning = view::meaning(&answer, row.as_ref(), SystemClock.now_ms());
        output.result(&format!("{id}  {meaning}"), &object)?;
    }
    Ok(ended)
}
