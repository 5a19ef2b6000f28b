//! `delayq status`: what has become of a record.

use delayq_core::clock::{Clock as _, SystemClock};
use delayq_runtime::config::Config;
use serde_json::json;

use super::{Desk, Ended, IdArgs, view};
use crate::operator::Output;

/// Says of each id what is known of it.
///
/// # Errors
/// A topic that is not configured; DynamoDB does not answer or refuses; standard output is closed.
pub async fn status(
    config: &Config,
    args: &IdArgs,
    output: &mut Output<'_>,
) -> anyhow::Result<Ended> {
    let desk = Desk::open(config, args.topic.as_deref()).await?;
    let mut ended = Ended::Done;
    for id in &args.ids {
        match desk.registry.read(&desk.key(id)).await? {
            Some(row) => {
                output.result(&view::line(&row, SystemClock.now_ms()), &view::json(&row))?
            }
            None => {
                ended = Ended::Unknown;
                output.result(
                    &format!(
                        "{id}  unknown: no record with this id has been read from {}",
                        desk.topic
                    ),
                    &json!({"id": id, "topic": *desk.topic, "state": "unknown"}),
                )?;
            }
        }
    }
    Ok(ended)
}
