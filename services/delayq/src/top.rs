//! `delayq top`: how a deployment is, in the terminal, again and again.

use std::time::Duration;

use anyhow::bail;
use serde_json::Value;

use crate::console_client::Api;

/// Arguments.
#[derive(Debug, Clone, clap::Args)]
pub struct TopArgs {
    /// The console of the deployment.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8081")]
    pub console: String,
    /// The token of console.viewer_token or console.operator_token.
    #[arg(long, value_name = "TOKEN", env = "DELAYQ_CONSOLE__VIEWER_TOKEN")]
    pub token: Option<String>,
    /// Time between two pictures.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "1s")]
    pub every: Duration,
    /// One picture, and the end.
    #[arg(long)]
    pub once: bool,
    /// A JSON object a line in place of pictures.
    #[arg(long)]
    pub json: bool,
}

/// Clears a terminal.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// Draws until standard output is closed, or Ctrl-C; `terminal`: pictures may be drawn over one another.
///
/// # Errors
/// The console does not answer, or refuses the token; standard output is closed.
pub async fn top(
    args: &TopArgs,
    terminal: bool,
    out: &mut (dyn FnMut(&str) -> std::io::Result<()> + Send),
) -> anyhow::Result<()> {
    let api = Api::new(args.console.trim_end_matches('/'), args.token.clone());
    loop {
        let (status, overview) = api.ask("GET", "/v1/overview", None).await?;
        if status != 200 {
            bail!(
                "the console at {} refuses (--token): {status} {overview}",
                args.console
            );
        }
        if args.json {
            out(&overview.to_string())?;
        } else {
            let picture = picture(&overview, &args.console);
            let clear = if terminal && !args.once { CLEAR } else { "" };
            out(&format!("{clear}{picture}"))?;
        }
        if args.once {
            return Ok(());
        }
        tokio::time::sleep(args.every).await;
    }
}

fn picture(overview: &Value, console: &str) -> String {
    let of = |value: &Value, name: &str| match value.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let rows = |name: &str| {
        overview
            .get(name)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let mut lines = vec![format!("delayq at {console}")];
    let problems = rows("problems");
    if problems.is_empty() {
        lines.push("ready, no problems".to_owned());
    }
    for problem in &problems {
        lines.push(format!(
            "NOT READY  {}: {}",
            of(problem, "component"),
            of(problem, "reason")
        ));
    }
    lines.push("\ntracked records, last five minutes\n  state       priority   changes".to_owned());
    for count in rows("counts") {
        lines.push(format!(
            "  {:<11} {:<9} {:>8}",
            of(&count, "state"),
            of(&count, "priority"),
            of(&count, "count")
        ));
    }
    lines.push("\n  priority      late p50    p99    max ms   records".to_owned());
    for late in rows("lateness") {
        lines.push(format!(
            "  {:<12} {:>9} {:>6} {:>9} {:>9}",
            of(&late, "priority"),
            of(&late, "p50_ms"),
            of(&late, "p99_ms"),
            of(&late, "max_ms"),
            of(&late, "count")
        ));
    }
    lines.push("\n  queue                             ready  in flight   delayed".to_owned());
    for queue in rows("queues") {
        lines.push(format!(
            "  {:<30} {:>8} {:>10} {:>9}",
            of(&queue, "name"),
            of(&queue, "messages"),
            of(&queue, "in_flight"),
            of(&queue, "delayed")
        ));
    }
    lines.push("\n  shard  handed over until   closing  owner".to_owned());
    for shard in rows("shards") {
        let age_ms = shard
            .get("watermark_age_ms")
            .and_then(Value::as_i64)
            .unwrap_or(0);
        let until = match age_ms {
            ahead if ahead < 0 => format!("{} s ahead", -ahead / 1000),
            behind => format!("{} s ago", behind / 1000),
        };
        lines.push(format!(
            "  {:<6} {:<19} {:<8} {}",
            of(&shard, "shard"),
            until,
            of(&shard, "closing"),
            of(&shard, "owner")
        ));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_picture_has_every_part() {
        let overview = json!({
            "problems": [{"component": "shard 3", "reason": "late"}],
            "counts": [{"state": "published", "priority": "high", "count": 7}],
            "lateness": [{"priority": "high", "p50_ms": 3, "p99_ms": 9, "max_ms": 11, "count": 7}],
            "queues": [{"name": "delayq-high", "messages": 1, "in_flight": 2, "delayed": 3}],
            "shards": [{"shard": 3, "owner": "me", "watermark_age_ms": -420_000, "closing": false}],
        });
        let picture = picture(&overview, "here");
        for part in [
            "NOT READY  shard 3: late",
            "published",
            "delayq-high",
            "420 s ahead",
            "me",
        ] {
            assert!(picture.contains(part), "{part} in {picture}");
        }
    }
}
