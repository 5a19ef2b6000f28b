//! `delayq dead-letters`: what could not be delivered, listed, shown, sent again or given up.
//!
//! Letters live in the dead-letter topic, from which Kafka deletes no single record: what is done is remembered by the
//! commits of a group of its own ([`desk::group_id`], `marks`). A letter is marked only after what was to be done with it is
//! confirmed: a crash repeats, it never loses.

mod content;
pub mod desk;
mod letter;
mod list;
mod marks;
mod page;
pub mod position;
mod purge;
mod queues;
mod rebuild;
mod redrive;
pub mod select;
mod show;

use clap::Subcommand;
use delayq_runtime::config::Config;

pub use list::{ListArgs, list};
pub use purge::{PurgeArgs, purge};
pub use redrive::{MAX_REDRIVES, RedriveArgs, redrive};
pub use show::{ShowArgs, show};

use crate::operator::Output;

/// Commands.
#[derive(Debug, Subcommand)]
pub enum DeadLettersCommand {
    /// One line a letter: where it is, since when, why, for which target, from where.
    List(ListArgs),
    /// A letter whole: headers, key and value. Exit code 1 if there is none.
    Show(ShowArgs),
    /// Send letters to the delay topics that they came from. Exit code 1 if one that was meant is left.
    Redrive(Box<RedriveArgs>),
    /// Give letters up. Needs --yes. Exit code 1 if one that was named is left.
    Purge(PurgeArgs),
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All that was meant is done.
    Done,
    /// Something that was meant is left, and why was told.
    Left,
    /// Nothing was tried: the arguments do not say enough.
    Refused,
}

/// Runs a command.
///
/// # Errors
/// What stopped it, with what to do.
pub async fn run(
    config: &Config,
    command: &DeadLettersCommand,
    output: &mut Output<'_>,
) -> anyhow::Result<Ended> {
    match command {
        DeadLettersCommand::List(args) => list(config, args, output).await.map(|()| Ended::Done),
        DeadLettersCommand::Show(args) => Ok(if show(config, args, output).await? {
            Ended::Done
        } else {
            Ended::Left
        }),
        DeadLettersCommand::Redrive(args) => redrive(config, args, output).await,
        DeadLettersCommand::Purge(args) => purge(config, args, output).await,
    }
}

impl DeadLettersCommand {
    /// Whether it prints JSON.
    #[must_use]
    pub fn is_json(&self) -> bool {
        match self {
            Self::List(args) => args.json,
            Self::Show(args) => args.json,
            Self::Redrive(args) => args.json,
            Self::Purge(args) => args.json,
        }
    }
}

/// All letters are not meant by saying nothing.
fn needs_selection(
    selection: &select::Selection,
    all: bool,
    output: &mut Output<'_>,
) -> std::io::Result<bool> {
    if all || selection.is_narrowed() {
        return Ok(true);
    }
    (output.note)(
        "name letters (PARTITION/OFFSET), or a filter (--reason, --target, --source, --since, --until), or --all",
    )?;
    Ok(false)
}
