//! How a scenario's figures are printed.

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// Milliseconds at the quantiles that count.
pub(super) fn quantiles(histogram: &Histogram<u64>) -> Value {
    json!({
        "p50": histogram.value_at_quantile(0.5),
        "p99": histogram.value_at_quantile(0.99),
        "p999": histogram.value_at_quantile(0.999),
        "max": histogram.max(),
    })
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
