//! What the demo shows: a picture that is drawn again in a terminal, plain lines elsewhere.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the screen is what this module is for"
)]

use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use delayq_core::priority::Priority;

use super::deployment::Deployment;
use super::tally::{Summary, Tally};

/// Time between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(2);

/// Where and how to show.
pub(super) struct View {
    json: bool,
    terminal: bool,
    drawn_lines: usize,
    next_line: Duration,
}

impl View {
    /// With `json`, stdout is for the summary alone.
    pub(super) fn new(json: bool) -> Self {
        Self {
            json,
            terminal: !json && std::io::stdout().is_terminal(),
            drawn_lines: 0,
            next_line: Duration::ZERO,
        }
    }

    /// A line that stays.
    pub(super) fn say(&self, line: &str) {
        if self.json {
            eprintln!("{line}");
        } else {
            println!("{line}");
        }
    }

    /// What runs here, and how to join in.
    pub(super) fn introduce(&self, deployment: &Deployment, console: SocketAddr) {
        let (bootstrap, topic) = (deployment.bootstrap(), deployment.delay_topic());
        self.say(&format!(
            "\n{words}\n\nThe console, live: http://{console}\n\nYour own record, while this runs (kcat, or any other client):\n\n  \
             echo '{{\"order\":1}}' | kcat -P -b {bootstrap} -t {topic} -k mine \\\n      \
             -H delay-ms=5000 -H delay-target=orders -H delay-priority=high\n  \
             kcat -C -b {bootstrap} -t orders.high -f '%k %s\\n%h\\n'\n\n  \
             # or in Python, with pip install confluent-kafka\n  \
             from confluent_kafka import Producer\n  \
             p = Producer({{\"bootstrap.servers\": \"{bootstrap}\"}})\n  \
             p.produce(\"{topic}\", b\"hello\", key=\"mine\",\n            \
             headers={{\"delay-ms\": \"5000\", \"delay-target\": \"orders\", \"delay-priority\": \"high\"}})\n  \
             p.flush()\n",
            words = deployment.words(),
        ));
    }

    /// The state of things.
    pub(super) fn draw(&mut self, tally: &Tally, elapsed: Duration, hint: &str) {
        if self.terminal {
            self.picture(tally, elapsed, hint);
        } else if elapsed >= self.next_line {
            self.next_line = elapsed + LINE_EVERY;
            let summary = tally.summary();
            self.say(&format!(
                "{:>4} s  accepted {}  waiting {}  published {}  refused {}  late p50/p99/max {}/{}/{} ms{}{}",
                elapsed.as_secs(),
                summary.accepted,
                tally.missing(),
                summary.published.total,
                summary.dead_lettered,
                summary.lateness_ms.p50,
                summary.lateness_ms.p99,
                summary.lateness_ms.max,
                if hint.is_empty() { "" } else { "  " },
                hint,
            ));
        }
    }

    fn picture(&mut self, tally: &Tally, elapsed: Duration, hint: &str) {
        let summary = tally.summary();
        let waiting = tally.waiting();
        let mut lines = vec![format!(
            "{:>4} s   accepted {}   published {}   refused {}   early {}   duplicates {}",
            elapsed.as_secs(),
            summary.accepted,
            summary.published.total,
            summary.dead_lettered,
            summary.early,
            summary.duplicates,
        )];
        lines.push(
            "         waiting:  high  standard   low       published:  high  standard   low"
                .to_owned(),
        );
        for (path, label) in [
            ("direct", "direct (router)"),
            ("short", "short (SQS)"),
            ("long", "long (DynamoDB)"),
        ] {
            let waits = Priority::ALL.map(|p| waiting.get(&(path, p)).copied().unwrap_or(0));
            let came = Priority::ALL.map(|p| tally.published(p, path));
            lines.push(format!(
                "{label:>17} {:>6} {:>9} {:>5} {:>22} {:>9} {:>5}",
                waits[0], waits[1], waits[2], came[0], came[1], came[2]
            ));
        }
        let late = &summary.lateness_ms;
        lines.push(format!(
            "         late by:  p50 {} ms   p99 {} ms   max {} ms   (seen by a consumer of the output topics)",
            late.p50, late.p99, late.max
        ));
        let reasons: Vec<_> = summary
            .dead_letters_by_reason
            .iter()
            .map(|(reason, count)| format!("{reason} {count}"))
            .collect();
        lines.push(format!("         refused:  {}", reasons.join("  ")));
        if let Some((count, last)) = tally.own() {
            lines.push(format!("      your own:  {count}, the last: {last}"));
        }
        lines.push(if hint.is_empty() {
            "Ctrl-C drains and sums up".to_owned()
        } else {
            hint.to_owned()
        });
        // Up to where the last picture began, and clear from there.
        if self.drawn_lines > 0 {
            print!("\x1b[{}A\x1b[J", self.drawn_lines);
        }
        self.drawn_lines = lines.len();
        println!("{}", lines.join("\n"));
        if let Err(error) = std::io::stdout().flush() {
            tracing::debug!(%error, "the terminal is gone");
        }
    }

    /// The end of it.
    pub(super) fn summarise(&self, summary: &Summary) -> anyhow::Result<()> {
        if self.json {
            println!("{}", serde_json::to_string(summary)?);
            return Ok(());
        }
        let published = &summary.published;
        let counts = |by: &std::collections::BTreeMap<&str, u64>| {
            let parts: Vec<_> = by
                .iter()
                .map(|(name, count)| format!("{name} {count}"))
                .collect();
            parts.join(", ")
        };
        let late = &summary.lateness_ms;
        println!(
            "\naccepted     {}\npublished    {} ({}; {})\nrefused      {}, in the dead-letter topic with their reasons\n\
             lost {}   early {}   duplicates {}   misplaced {}   altered {}\nlate by      p50 {} ms, p99 {} ms, p99.9 {} ms, max {} ms",
            summary.accepted,
            published.total,
            counts(&published.by_priority),
            counts(&published.by_path),
            summary.dead_lettered,
            summary.lost,
            summary.early,
            summary.duplicates,
            summary.misplaced,
            summary.altered,
            late.p50,
            late.p99,
            late.p999,
            late.max,
        );
        Ok(())
    }
}
