//! `delayq dead-letters list`: one line a letter, oldest first in each partition.

use delayq_core::clock::{Clock as _, SystemClock};
use delayq_core::priority::Priority;
use delayq_runtime::config::Config;
use serde_json::json;

use super::desk::Desk;
use super::letter::Letter;
use super::position::Position;
use super::queues;
use super::select::{FilterArgs, Selection};
use crate::operator::Output;

/// Arguments.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ListArgs {
    /// Which letters.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Those that are redriven or purged as well, as far as Kafka still has them.
    #[arg(long)]
    pub all: bool,
    /// At most this many.
    #[arg(long, default_value_t = 100, value_name = "LETTERS")]
    pub limit: usize,
    /// Go on after this letter.
    #[arg(long, value_name = "PARTITION/OFFSET")]
    pub after: Option<Position>,
    /// Look into the dead-letter queues in SQS as well, which delayq empties into the topic itself: what is received
    /// for that is invisible to the emitters for a moment.
    #[arg(long)]
    pub queues: bool,
    /// Say nothing of the queues.
    #[arg(skip)]
    pub topic_only: bool,
    /// One JSON object a line.
    #[arg(long)]
    pub json: bool,
}

/// Lists.
///
/// # Errors
/// A broker that does not answer (within 4 s or so), a missing topic or right. Queues that cannot be reached are told
/// as a remark, unless they were asked for.
pub async fn list(config: &Config, args: &ListArgs, output: &mut Output<'_>) -> anyhow::Result<()> {
    let selection = Selection::new(&args.filter, &[], SystemClock.now_ms())?;
    let mut desk = Desk::open(config).await?;
    let mut shown = 0;
    let mut last = None;
    let mut more = false;
    'partitions: for marks in desk.marks() {
        let partition = marks.partition();
        let after = match args.after {
            Some(after) if partition < after.partition => continue,
            Some(after) if partition == after.partition => after.offset.saturating_add(1),
            _ => 0,
        };
        let from = if args.all { 0 } else { marks.start() };
        desk.log.seek(partition, from.max(after))?;
        loop {
            let letters = desk.log.read().await?;
            if letters.is_empty() {
                break;
            }
            for incoming in letters {
                let open = !marks.is_done(&incoming);
                if !open && !args.all {
                    continue;
                }
                let letter = Letter::new(incoming, open);
                let names = &desk.policy.names;
                if !selection.is_for(letter.at, &letter.facts(names)) {
                    continue;
                }
                if shown >= args.limit {
                    more = true;
                    break 'partitions;
                }
                output.result(&letter.line(names), &letter.json(names))?;
                shown += 1;
                last = Some(letter.at);
            }
        }
    }
    let kind = if args.all { "letters" } else { "open letters" };
    let mut line = format!("{shown} {kind}");
    if let (true, Some(last)) = (more, last) {
        line.push_str(&format!(", and more: --after {last}"));
    }
    let next = last.filter(|_| more).map(|last| last.to_string());
    output.summary(&line, &json!({"shown": shown, "more_after": next}))?;
    if args.topic_only {
        return Ok(());
    }
    tell_queues(config, args, &selection, output).await
}

async fn tell_queues(
    config: &Config,
    args: &ListArgs,
    selection: &Selection,
    output: &mut Output<'_>,
) -> anyhow::Result<()> {
    if args.queues {
        return queues::list(config, selection, args.limit, output).await;
    }
    match queues::depths(config).await {
        Ok(depths) => {
            for (priority, name, depth) in depths {
                let Some(depth) = depth else {
                    let line = format!("queue {name} does not exist: run `delayq init`");
                    output.summary(&line, &json!({"queue": name, "messages": null}))?;
                    continue;
                };
                let messages = depth.visible + depth.in_flight + depth.delayed;
                if messages > 0 || output.json {
                    let line = format!(
                        "queue {name}: about {messages} messages that the emitters will write to the dead-letter topic"
                    );
                    let json = json!({"queue": name, "priority": Priority::as_str(priority), "messages": messages});
                    output.summary(&line, &json)?;
                }
            }
        }
        Err(error) => (output.note)(&format!(
            "the dead-letter queues were not looked at: {error:#}"
        ))?,
    }
    Ok(())
}
