//! How a scenario's figures are told.

use delayq_core::priority::Priority;
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use super::reader::Seen;

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
pub(super) fn print(result: &Value, json: bool) -> anyhow::Result<()> {
    if json {
        println!("{result}");
    } else {
        println!("{}", serde_json::to_string_pretty(result)?);
    }
    Ok(())
}
