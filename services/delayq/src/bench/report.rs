//! How a scenario's figures are told.

use std::path::PathBuf;

use delayq_core::priority::Priority;
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use super::plots::Plots;
use super::reader::Seen;
use super::timeline::Memory;

/// How a scenario's figures are told.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Output {
    /// Print one JSON object on one line instead of a table.
    #[arg(long)]
    pub json: bool,
    /// Draw throughput, lateness and memory into this directory, as SVG.
    #[arg(long, value_name = "DIR")]
    pub plots: Option<PathBuf>,
}

/// What a run leaves to be drawn.
pub(super) struct Drawn {
    pub(super) seen: Seen,
    /// The output topics, by priority.
    pub(super) outputs: Vec<String>,
    /// Where the axis of time begins, milliseconds since the epoch.
    pub(super) from_ms: i64,
    pub(super) memory: Memory,
}

impl Output {
    /// Draws one run, if asked to. `name`: of the files; `caption`: what the plots are headed with.
    pub(super) fn draw(&self, name: &str, caption: &str, run: &Drawn) -> anyhow::Result<()> {
        let Some(directory) = &self.plots else {
            return Ok(());
        };
        let plots = Plots::new(directory, name.to_owned(), caption.to_owned())?;
        plots.throughput(&run.seen, run.from_ms)?;
        plots.lateness(&run.seen, &run.outputs)?;
        plots.memory(run.memory.clone())
    }
}

/// Milliseconds at the quantiles that count.
pub(super) fn quantiles(histogram: &Histogram<u64>) -> Value {
    json!({
        "p50": histogram.value_at_quantile(0.5),
        "p99": histogram.value_at_quantile(0.99),
        "p999": histogram.value_at_quantile(0.999),
        "max": histogram.max(),
    })
}

/// What was published, and how late. `outputs`: the topics by priority.
pub(super) fn published(seen: &Seen, outputs: &[String]) -> anyhow::Result<Value> {
    let by_priority: Map<String, Value> = Priority::ALL
        .into_iter()
        .zip(outputs)
        .filter_map(|(p, topic)| {
            let histogram = seen.lateness_ms.get(topic.as_str())?;
            Some((p.to_string(), quantiles(histogram)))
        })
        .collect();
    Ok(json!({
        "published": seen.published, "lost": seen.lost(), "early": seen.early, "duplicates": seen.duplicates,
        "lateness_ms": quantiles(&seen.all()?), "lateness_ms_by_priority": by_priority,
    }))
}

/// The fields of all of these in one object; of equal names the last counts.
pub(super) fn together(parts: impl IntoIterator<Item = Value>) -> Value {
    let mut all = Map::new();
    for part in parts {
        if let Value::Object(fields) = part {
            all.extend(fields);
        }
    }
    Value::Object(all)
}

/// The middle one; of an even number the lower.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len().saturating_sub(1) / 2;
    values.get(middle).copied().unwrap_or(f64::NAN)
}

/// Rounded to two digits after the point, for people.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[allow(clippy::print_stdout, reason = "the result of the command")]
pub(super) fn print(result: &Value, json: bool) {
    if json {
        println!("{result}");
    } else {
        print!("{}", table(result));
    }
}

/// One line a figure; those of inner objects by their path.
fn table(result: &Value) -> String {
    let mut rows = Vec::new();
    rows_of("", result, &mut rows);
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines = rows
        .iter()
        .map(|(name, value)| format!("{name:width$}  {value}\n"));
    lines.collect()
}

fn rows_of(name: &str, value: &Value, rows: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                let path = match name {
                    "" => field.clone(),
                    _ => format!("{name} {field}"),
                };
                rows_of(&path, value, rows);
            }
        }
        Value::Array(values) => {
            let texts: Vec<_> = values.iter().map(text_of).collect();
            rows.push((name.to_owned(), texts.join(" ")));
        }
        value => rows.push((name.to_owned(), text_of(value))),
    }
}

fn text_of(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_one_line_a_figure() {
        let result = json!({"lost": 0, "lateness_ms": {"p50": 3, "by": {"high": 2}}, "runs": [1.5, 2], "usd": null});
        let expected = "lost                 0\nlateness_ms p50      3\nlateness_ms by high  2\nruns                 1.5 2\nusd                  -\n";
        let mut lines: Vec<_> = expected.lines().collect();
        let shown = table(&result);
        let mut shown: Vec<_> = shown.lines().collect();
        lines.sort_unstable();
        shown.sort_unstable();
        assert_eq!(shown, lines, "whatever the order of the fields");
    }

    #[test]
    fn the_middle_of_an_even_number_is_the_lower_one() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.0);
        assert!(median(Vec::new()).is_nan());
    }
}
