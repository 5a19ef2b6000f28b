//! The metrics that exist, by the names in the sources, and those that a dashboard asks for.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::repo;

const PREFIX: &str = "delayq_";
/// What Prometheus adds to the name of a histogram.
const OF_HISTOGRAMS: [&str; 3] = ["_bucket", "_sum", "_count"];

/// The names of all metrics: the string constants that begin with `delayq_`, tests aside.
pub fn in_sources() -> BTreeSet<String> {
    let is_source =
        |path: &std::path::Path| path.is_dir() || path.extension().is_some_and(|e| e == "rs");
    let mut names = BTreeSet::new();
    for folder in ["services", "scheduler"] {
        for file in repo::files(&repo::root().join(folder), &is_source) {
            let text = std::fs::read_to_string(&file).expect("a source file");
            let text = text.split("#[cfg(test)]").next().unwrap_or_default();
            for literal in text.split('"').skip(1).step_by(2) {
                let is_name = literal.len() > PREFIX.len()
                    && literal.chars().all(|c| c.is_ascii_lowercase() || c == '_');
                if literal.starts_with(PREFIX) && is_name {
                    names.insert(literal.to_owned());
                }
            }
        }
    }
    names
}

/// Every PromQL expression of a Grafana dashboard, with the title of its panel.
pub fn expressions(dashboard: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let panels = dashboard["panels"].as_array().expect("panels");
    for panel in panels {
        let title = panel["title"].as_str().unwrap_or_default();
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expr = target["expr"].as_str().expect("an expression");
            found.push((title.to_owned(), expr.to_owned()));
        }
    }
    found
}

/// The metrics in an expression, without what Prometheus adds to histograms.
pub fn in_expression(expr: &str) -> Vec<String> {
    expr.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| word.starts_with(PREFIX))
        .map(|word| {
            let base = OF_HISTOGRAMS.iter().find_map(|end| word.strip_suffix(end));
            base.unwrap_or(word).to_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_expressions() {
        let expr = "sum by (le) (rate(delayq_lateness_ms_bucket{path=\"short\"}[1m])) / delayq_router_paused";
        assert_eq!(
            in_expression(expr),
            ["delayq_lateness_ms", "delayq_router_paused"]
        );
    }
}
