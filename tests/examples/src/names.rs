//! Names that the sources define and that documents and dashboards repeat: metrics, and the codes of dead letters.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::repo;

const PREFIX: &str = "delayq_";
/// What Prometheus adds to the name of a histogram.
const OF_HISTOGRAMS: [&str; 3] = ["_bucket", "_sum", "_count"];

/// The text of every source file, tests aside.
fn sources() -> Vec<String> {
    let is_source = |path: &Path| {
        let name = path.file_name().unwrap_or_default();
        name != "tests"
            && name != "tests.rs"
            && (path.is_dir() || path.extension().is_some_and(|e| e == "rs"))
    };
    let folders = ["services", "scheduler"].map(|folder| repo::root().join(folder));
    let files = folders
        .iter()
        .flat_map(|folder| repo::files(folder, &is_source));
    let code = |file| {
        let text = std::fs::read_to_string(file).expect("a source file");
        let (code, _) = text.split_once("#[cfg(test)]\nmod ").unwrap_or((&text, ""));
        code.to_owned()
    };
    files.map(code).collect()
}

/// The names of all metrics: the string constants that begin with `delayq_`.
pub fn in_sources() -> BTreeSet<String> {
    let is_name = |literal: &str| {
        literal
            .strip_prefix(PREFIX)
            .is_some_and(|rest| rest.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
    };
    let literals = sources().into_iter().flat_map(|text| {
        let literals = text.split('"').skip(1).step_by(2);
        let names = literals.filter(|literal| is_name(literal));
        names.map(str::to_owned).collect::<Vec<_>>()
    });
    literals.collect()
}

/// The codes of all dead letters that the sources spell out: what refusals are made with, and what batches and payloads can
/// have wrong.
pub fn refusal_codes() -> BTreeSet<String> {
    let mut codes = BTreeSet::new();
    for text in sources() {
        let mut add = |code: &str| codes.insert(code.to_owned());
        for rest in text.split("Refusal::new(").skip(1) {
            let literal = rest.trim_start().strip_prefix('"');
            literal.and_then(|l| l.split('"').next()).map(&mut add);
        }
        for rest in text.split("pub const fn code(&self)").skip(1) {
            let body = rest.split("\n    }\n").next().unwrap_or_default();
            body.split('"').skip(1).step_by(2).for_each(|code| {
                add(code);
            });
        }
        // Passed on to the function that makes the refusal.
        for code in ["queue-refused", "store-refused"] {
            if text.contains(&format!("\"{code}\"")) {
                add(code);
            }
        }
    }
    codes
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
