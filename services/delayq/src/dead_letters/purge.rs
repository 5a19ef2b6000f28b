//! `delayq dead-letters purge`: letters that nobody will send again.

use delayq_core::clock::{Clock as _, SystemClock};
use delayq_core::offsets::Token;
use delayq_runtime::config::Config;
use serde_json::json;

use super::desk::Desk;
use super::letter::Letter;
use super::marks::Marks;
use super::page;
use super::position::Position;
use super::select::{FilterArgs, Selection};
use super::{Ended, needs_selection};
use crate::operator::Output;

/// Letters that are marked together.
const PAGE_LETTERS: usize = 1_000;

/// Arguments.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct PurgeArgs {
    /// These letters, by PARTITION/OFFSET as `list` shows them.
    #[arg(value_name = "LETTER")]
    pub letters: Vec<Position>,
    /// Which letters.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// All open letters.
    #[arg(long)]
    pub all: bool,
    /// Only say what would be done.
    #[arg(long)]
    pub dry_run: bool,
    /// Do it: what is purged cannot be redriven.
    #[arg(long)]
    pub yes: bool,
    /// One JSON object a line.
    #[arg(long)]
    pub json: bool,
}

/// Purges: marks letters as done, then deletes those at the head of each partition, before the first open one.
///
/// # Errors
/// A broker that does not answer, a missing topic or right, marks that do not fit. A delete that is refused is a remark:
/// the marks hold all the same.
pub async fn purge(
    config: &Config,
    args: &PurgeArgs,
    output: &mut Output<'_>,
) -> anyhow::Result<Ended> {
    let selection = Selection::new(&args.filter, &args.letters, SystemClock.now_ms())?;
    if !needs_selection(&selection, args.all, output)? {
        return Ok(Ended::Refused);
    }
    if !args.yes && !args.dry_run {
        (output.note)(
            "purged letters cannot be redriven: see what would go with --dry-run, then say --yes",
        )?;
        return Ok(Ended::Refused);
    }
    let mut desk = Desk::open(config).await?;
    let (mut purged, mut deletes) = (0, Vec::new());
    for mut marks in desk.marks() {
        let done = partition(&mut desk, &mut marks, &selection, args, output).await?;
        purged += done;
        if done > 0 {
            deletes.push((marks.partition(), marks.head()));
        }
    }
    if !args.dry_run {
        let admin = desk.admin()?;
        for (partition, head) in deletes {
            let topic = &config.topics.dead_letter;
            if let Err(error) = admin.delete_before(topic, partition, head).await {
                (output.note)(&format!(
                    "marked as done, but Kafka keeps the letters until retention.ms is over: {error}"
                ))?;
            }
        }
    }
    let verb = if args.dry_run {
        "would be purged"
    } else {
        "purged"
    };
    let json = json!({"purged": purged, "dry_run": args.dry_run});
    output.summary(&format!("{purged} {verb}"), &json)?;
    if selection.places().len() > purged {
        (output.note)(
            "some of the letters named are not there, or not open: see `delayq dead-letters list --all`",
        )?;
        return Ok(Ended::Left);
    }
    Ok(Ended::Done)
}

async fn partition(
    desk: &mut Desk<'_>,
    marks: &mut Marks,
    selection: &Selection,
    args: &PurgeArgs,
    output: &mut Output<'_>,
) -> anyhow::Result<usize> {
    let until = selection.last_place(marks.partition());
    if until == Some(None) {
        return Ok(0);
    }
    desk.log.seek(marks.partition(), marks.start())?;
    let mut purged = 0;
    let mut page: Vec<(Token, String, serde_json::Value)> = Vec::new();
    'reading: loop {
        let letters = desk.log.read().await?;
        if letters.is_empty() {
            break;
        }
        for incoming in letters {
            if until
                .flatten()
                .is_some_and(|last| incoming.source.offset > last)
            {
                break 'reading;
            }
            let Some(token) = marks.deliver(&incoming)? else {
                continue;
            };
            let letter = Letter::new(incoming, true);
            let names = &desk.policy.names;
            if selection.is_for(letter.at, &letter.facts(names)) {
                page.push((token, letter.line(names), letter.json(names)));
            }
            if page.len() >= PAGE_LETTERS {
                purged += end(desk, marks, std::mem::take(&mut page), args, output).await?;
            }
        }
    }
    purged += end(desk, marks, page, args, output).await?;
    Ok(purged)
}

/// Marks a page and tells it.
async fn end(
    desk: &mut Desk<'_>,
    marks: &mut Marks,
    page: Vec<(Token, String, serde_json::Value)>,
    args: &PurgeArgs,
    output: &mut Output<'_>,
) -> anyhow::Result<usize> {
    let tokens: Vec<Token> = page.iter().map(|(token, ..)| *token).collect();
    marks.room_for(&tokens)?;
    if args.dry_run {
        marks.finish(&tokens);
    } else {
        page::mark(&tokens, marks, &mut desk.log).await?;
    }
    for (_, line, json) in &page {
        output.result(line, json)?;
    }
    Ok(page.len())
}
