//! `delayq dead-letters redrive`: letters back to their delay topics.

use anyhow::bail;
use delayq_core::clock::{Clock as _, SystemClock};
use delayq_core::offsets::Token;
use delayq_core::record::{Incoming, Outgoing};
use delayq_kafka::{KafkaSink, SinkSettings};
use delayq_runtime::config::Config;
use serde_json::json;
use std::time::Duration;

use super::desk::Desk;
use super::letter::Letter;
use super::marks::Marks;
use super::page::{self, Ready};
use super::position::Position;
use super::queues;
use super::rebuild::{Mend, rebuild};
use super::select::{FilterArgs, Selection};
use super::{Ended, needs_selection};
use crate::operator::Output;
use crate::send::{describe, header};
use crate::settings;

/// Letters that are sent and marked together: as many can be repeated after a crash.
const PAGE_LETTERS: usize = 100;
const PAGE_BYTES: usize = 16 << 20;
/// How long the broker may take to confirm a record.
const CONFIRM: Duration = Duration::from_secs(10);
/// A topic that exists is known within this.
const TOPIC_APPEARS: Duration = Duration::from_secs(2);

/// How often a letter is redriven, unless more is said.
pub const MAX_REDRIVES: u32 = 3;

/// Arguments.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct RedriveArgs {
    /// These letters, by PARTITION/OFFSET as `list` shows them.
    #[arg(value_name = "LETTER")]
    pub letters: Vec<Position>,
    /// Which letters.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// All open letters.
    #[arg(long)]
    pub all: bool,
    /// At most this many.
    #[arg(long, value_name = "LETTERS")]
    pub limit: Option<usize>,
    /// Set this header, as name=value, in place of those of the name; may be repeated.
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header)]
    pub headers: Vec<(String, String)>,
    /// Remove this header; may be repeated.
    #[arg(long, value_name = "NAME")]
    pub without: Vec<String>,
    /// Send them to this target.
    #[arg(long, value_name = "TARGET")]
    pub to: Option<String>,
    /// Write them to this delay topic. Default: the one that each came from.
    #[arg(long, value_name = "TOPIC")]
    pub topic: Option<String>,
    /// Leave those that were redriven so often already.
    #[arg(long, default_value_t = MAX_REDRIVES, value_name = "TIMES")]
    pub max_redrives: u32,
    /// Send them even if the router would refuse them again, and however often they were redriven.
    #[arg(long)]
    pub force: bool,
    /// Only say what would be done.
    #[arg(long)]
    pub dry_run: bool,
    /// Instead of letters, messages of the dead-letter queues in SQS: back to their main queues.
    #[arg(long, conflicts_with_all = ["letters", "headers", "without", "to", "topic"])]
    pub queues: bool,
    /// One JSON object a line.
    #[arg(long)]
    pub json: bool,
}

/// Redrives.
///
/// # Errors
/// A broker that does not answer, a missing topic or right, marks that do not fit. What was confirmed before is marked.
pub async fn redrive(
    config: &Config,
    args: &RedriveArgs,
    output: &mut Output<'_>,
) -> anyhow::Result<Ended> {
    let selection = Selection::new(&args.filter, &args.letters, SystemClock.now_ms())?;
    if !needs_selection(&selection, args.all, output)? {
        return Ok(Ended::Refused);
    }
    if args.queues {
        return queues::redrive(config, &selection, args.limit, args.dry_run, output).await;
    }
    let desk = Desk::open(config).await?;
    let sink = SinkSettings {
        linger_ms: 0,
        message_timeout: CONFIRM,
        unknown_topic_timeout: TOPIC_APPEARS,
        ..settings::sink(config)
    };
    let sink = KafkaSink::new(&desk.kafka, sink)?;
    let mend = Mend {
        headers: args.headers.clone(),
        without: args.without.clone(),
        target: args.to.clone(),
        topic: args.topic.clone(),
    };
    let mut work = Redrive {
        desk,
        sink,
        args,
        selection,
        mend,
        output,
        redriven: 0,
        left: 0,
    };
    for marks in work.desk.marks() {
        if !work.partition(marks).await? {
            break;
        }
    }
    work.finish()
}

struct Redrive<'a, 'o> {
    desk: Desk<'a>,
    sink: KafkaSink,
    args: &'a RedriveArgs,
    selection: Selection,
    mend: Mend,
    output: &'a mut Output<'o>,
    redriven: usize,
    left: usize,
}

impl Redrive<'_, '_> {
    /// `false`: no more are wanted.
    async fn partition(&mut self, mut marks: Marks) -> anyhow::Result<bool> {
        let until = self.selection.last_place(marks.partition());
        if until == Some(None) {
            return Ok(true);
        }
        self.desk.log.seek(marks.partition(), marks.start())?;
        let (mut page, mut page_bytes, mut wanted) = (Vec::new(), 0, true);
        'reading: loop {
            let letters = self.desk.log.read().await?;
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
                if let Some(limit) = self.args.limit
                    && self.redriven + page.len() >= limit
                {
                    wanted = false;
                    break 'reading;
                }
                let Some(ready) = self.prepare(incoming, token).await? else {
                    continue;
                };
                page_bytes += ready.record.record.payload_bytes();
                page.push(ready);
                if page.len() >= PAGE_LETTERS || page_bytes >= PAGE_BYTES {
                    self.send(std::mem::take(&mut page), &mut marks).await?;
                    page_bytes = 0;
                }
            }
        }
        self.send(page, &mut marks).await?;
        Ok(wanted)
    }

    /// The record to send, if the letter is meant and can be sent.
    async fn prepare(&mut self, incoming: Incoming, token: Token) -> anyhow::Result<Option<Ready>> {
        let letter = Letter::new(incoming, true);
        let facts = letter.facts(&self.desk.policy.names);
        if !self.selection.is_for(letter.at, &facts) {
            return Ok(None);
        }
        let judged = match self.desk.content(&letter).await {
            Ok(content) => self.judge(&content),
            Err(error) => Err(format!("{error:#}")),
        };
        match judged {
            Ok((record, outlook)) => Ok(Some(Ready {
                at: letter.at,
                token,
                record,
                outlook,
            })),
            Err(why) => {
                self.leave(letter.at, &why)?;
                Ok(None)
            }
        }
    }

    /// The record, and what the router will do with it; or why it is left.
    fn judge(&self, content: &delayq_core::record::Record) -> Result<(Outgoing, String), String> {
        let (policy, force) = (&self.desk.policy, self.args.force);
        let times = super::letter::redrives(content);
        if times >= self.args.max_redrives && !force {
            return Err(format!(
                "it was redriven {times} times already: look at what fails, then raise --max-redrives"
            ));
        }
        let (topic, record) = rebuild(content, policy, &self.mend, SystemClock.now_ms())?;
        let known = &self.desk.config.topics.delay;
        if !known.iter().any(|one| **one == *topic) {
            return Err(format!(
                "it came from {topic}, which topics.delay does not have ({}): name one with --topic",
                known.join(", ")
            ));
        }
        let outlook = match describe(policy, &record, &topic, None) {
            Ok(outlook) => outlook,
            Err(refusal) if force => format!("will be refused ({refusal})"),
            Err(refusal) => {
                return Err(format!(
                    "it would be refused again: {refusal}; mend it with --header, --without or --to, or the configuration; --force sends it all the same"
                ));
            }
        };
        Ok((Outgoing::standard(topic, record), outlook))
    }

    fn leave(&mut self, at: Position, why: &str) -> anyhow::Result<()> {
        self.left += 1;
        let why = super::letter::plain(why);
        let line = format!("{at} left: {why}");
        let json = json!({"letter": at.to_string(), "left": why});
        Ok(self.output.summary(&line, &json)?)
    }

    async fn send(&mut self, page: Vec<Ready>, marks: &mut Marks) -> anyhow::Result<()> {
        if page.is_empty() {
            return Ok(());
        }
        let tokens: Vec<Token> = page.iter().map(|ready| ready.token).collect();
        marks.room_for(&tokens)?;
        if self.args.dry_run {
            for ready in page {
                self.redriven += 1;
                let (at, topic, outlook) = (ready.at, &ready.record.topic, &ready.outlook);
                let line = format!("{at} would go to {topic}, {outlook}");
                let json =
                    json!({"letter": at.to_string(), "would_go_to": &**topic, "outlook": outlook});
                self.output.result(&line, &json)?;
            }
            marks.finish(&tokens);
            return Ok(());
        }
        let sent = page::send(page, &self.sink, marks, &mut self.desk.log).await;
        for (ready, result) in sent.done {
            match result {
                Ok(published) => {
                    self.redriven += 1;
                    let (at, outlook) = (ready.at, &ready.outlook);
                    let place = format!(
                        "{}/{}/{}",
                        ready.record.topic, published.partition, published.offset
                    );
                    let line = format!("{at} is {place}, {outlook}");
                    let json =
                        json!({"letter": at.to_string(), "redriven_to": place, "outlook": outlook});
                    self.output.result(&line, &json)?;
                }
                Err(error) => self.leave(ready.at, &error.to_string())?,
            }
        }
        if let Some(error) = sent.stopped {
            bail!(
                "stopped after {} letters: {error}; run it again: what is not marked as done is sent again",
                self.redriven
            );
        }
        Ok(())
    }

    fn finish(self) -> anyhow::Result<Ended> {
        let verb = if self.args.dry_run {
            "would be redriven"
        } else {
            "redriven"
        };
        let line = format!("{} {verb}, {} left", self.redriven, self.left);
        let json =
            json!({"redriven": self.redriven, "left": self.left, "dry_run": self.args.dry_run});
        self.output.summary(&line, &json)?;
        let missing = self.selection.places().len() > self.redriven + self.left;
        if missing && self.args.limit.is_none() {
            (self.output.note)(
                "some of the letters named are not there, or not open: see `delayq dead-letters list --all`",
            )?;
            return Ok(Ended::Left);
        }
        Ok(if self.left > 0 {
            Ended::Left
        } else {
            Ended::Done
        })
    }
}
