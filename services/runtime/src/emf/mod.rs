//! Metrics for CloudWatch without an agent: lines of embedded metric format on standard output, which CloudWatch Logs turns into
//! metrics where a task's output goes there (`awslogs`).
//!
//! The format and its limits: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>.
//! Counters are sent as what was added since the last line, gauges as they are, histograms as values with their counts, so that
//! CloudWatch has percentiles. Each combination of a name and its labels is a metric that AWS bills: only those asked for are sent.

mod sketch;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use metrics_util::registry::{Registry, Storage};
use serde_json::{Map, Value, json};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::config::MetricsConfig;
use sketch::Sketch;

/// Values of one metric in a line, at most.
const VALUES_MAX: usize = 100;
/// Metrics of one line, at most.
const METRICS_MAX: usize = 100;

/// Names and values of labels, in order of name.
type Labels = Vec<(String, String)>;

/// The metrics of this process that go to CloudWatch. Cheap to clone.
#[derive(Clone)]
pub struct Emf {
    registry: Arc<Registry<Key, Kept>>,
    names: Arc<BTreeSet<String>>,
    namespace: Arc<str>,
    every: Duration,
}

impl std::fmt::Debug for Emf {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Emf")
    }
}

/// How values are kept between two lines.
#[derive(Debug)]
struct Kept;

impl Storage<Key> for Kept {
    type Counter = Arc<AtomicU64>;
    type Gauge = Arc<AtomicU64>;
    type Histogram = Arc<Sketch>;

    fn counter(&self, _: &Key) -> Self::Counter {
        Arc::default()
    }

    fn gauge(&self, _: &Key) -> Self::Gauge {
        Arc::default()
    }

    fn histogram(&self, _: &Key) -> Self::Histogram {
        Arc::default()
    }
}

impl Emf {
    /// As `[metrics]` says.
    #[must_use]
    pub fn new(config: &MetricsConfig) -> Self {
        Self {
            registry: Arc::new(Registry::new(Kept)),
            names: Arc::new(config.emf_metrics.iter().cloned().collect()),
            namespace: Arc::from(config.emf_namespace.as_str()),
            every: config.emf_every,
        }
    }

    /// Writes lines until `stop`, and then once more; `role` is the dimension that all metrics have. `now_ms`: the wall clock.
    ///
    /// # Errors
    /// Standard output is closed.
    pub async fn run(
        self,
        role: String,
        now_ms: impl Fn() -> i64 + Send,
        stop: CancellationToken,
    ) -> std::io::Result<()> {
        let mut tick = tokio::time::interval(self.every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let more = stop.run_until_cancelled(tick.tick()).await.is_some();
            let mut text = String::new();
            for line in self.lines(&role, now_ms()) {
                text.push_str(&line.to_string());
                text.push('\n');
            }
            std::io::stdout().lock().write_all(text.as_bytes())?;
            if !more {
                return Ok(());
            }
        }
    }

    /// What there is to be said now: an object for all metrics that have the same labels.
    fn lines(&self, role: &str, now_ms: i64) -> Vec<Value> {
        let mut lines: BTreeMap<Labels, Vec<(String, Value)>> = BTreeMap::new();
        let mut say = |key: &Key, value: Value| {
            let mut labels: Vec<_> = key
                .labels()
                .map(|label| (label.key().to_owned(), label.value().to_owned()))
                .collect();
            labels.sort();
            let name = key.name().to_owned();
            lines.entry(labels).or_default().push((name, value));
        };
        self.registry.visit_counters(|key, counter| {
            say(key, json!(counter.swap(0, Ordering::Relaxed)));
        });
        self.registry.visit_gauges(|key, gauge| {
            let value = f64::from_bits(gauge.load(Ordering::Relaxed));
            if value.is_finite() {
                say(key, json!(value));
            }
        });
        self.registry.visit_histograms(|key, sketch| {
            for some in sketch.take().chunks(VALUES_MAX) {
                let (values, counts): (Vec<f64>, Vec<u64>) = some.iter().copied().unzip();
                say(key, json!({"Values": values, "Counts": counts}));
            }
        });
        let lines = lines.into_iter();
        lines
            .flat_map(|(labels, metrics)| self.of_labels(role, now_ms, &labels, metrics))
            .collect()
    }

    /// Lines for one set of labels: several where a metric has more values, or there are more metrics, than one holds.
    fn of_labels(
        &self,
        role: &str,
        now_ms: i64,
        labels: &[(String, String)],
        metrics: Vec<(String, Value)>,
    ) -> Vec<Value> {
        let mut lines: Vec<BTreeMap<String, Value>> = Vec::new();
        for (name, value) in metrics {
            let room =
                |line: &&mut BTreeMap<_, _>| line.len() < METRICS_MAX && !line.contains_key(&name);
            match lines.iter_mut().find(room) {
                Some(line) => drop(line.insert(name, value)),
                None => lines.push(BTreeMap::from([(name, value)])),
            }
        }
        let dimensions: Vec<&str> = std::iter::once("role")
            .chain(labels.iter().map(|(name, _)| name.as_str()))
            .collect();
        let line = |metrics: BTreeMap<String, Value>| {
            let named: Vec<_> = metrics.keys().map(|name| definition(name)).collect();
            let mut object = Map::new();
            object.insert(
                "_aws".to_owned(),
                json!({
                    "Timestamp": now_ms,
                    "CloudWatchMetrics": [{
                        "Namespace": *self.namespace,
                        "Dimensions": [dimensions],
                        "Metrics": named,
                    }],
                }),
            );
            object.insert("role".to_owned(), json!(role));
            let labels = labels.iter().cloned();
            object.extend(labels.map(|(name, value)| (name, json!(value))));
            object.extend(metrics);
            Value::Object(object)
        };
        lines.into_iter().map(line).collect()
    }

    fn is_sent(&self, key: &Key) -> bool {
        self.names.contains(key.name())
    }
}

/// A metric's name with its unit, which its last syllable says.
fn definition(name: &str) -> Value {
    let unit = match name.rsplit('_').next() {
        Some("ms") => "Milliseconds",
        Some("bytes") => "Bytes",
        Some("total") => "Count",
        _ => "None",
    };
    json!({"Name": name, "Unit": unit})
}

impl Recorder for Emf {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        if !self.is_sent(key) {
            return Counter::noop();
        }
        self.registry
            .get_or_create_counter(key, |counter| Counter::from_arc(counter.clone()))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        if !self.is_sent(key) {
            return Gauge::noop();
        }
        self.registry
            .get_or_create_gauge(key, |gauge| Gauge::from_arc(gauge.clone()))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        if !self.is_sent(key) {
            return Histogram::noop();
        }
        self.registry
            .get_or_create_histogram(key, |sketch| Histogram::from_arc(sketch.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn emf(names: &[&str]) -> Emf {
        Emf::new(&MetricsConfig {
            emf_metrics: names.iter().map(|&name| name.to_owned()).collect(),
            ..MetricsConfig::default()
        })
    }

    #[test]
    fn metrics_of_one_set_of_labels_share_a_line() {
        let emf = emf(&[
            "delayq_published_total",
            "delayq_lateness_ms",
            "delayq_breaker_open",
        ]);
        metrics::with_local_recorder(&emf, || {
            metrics::counter!("delayq_published_total", "priority" => "high").increment(3);
            metrics::histogram!("delayq_lateness_ms", "priority" => "high").record(4.0);
            metrics::histogram!("delayq_lateness_ms", "priority" => "high").record(4.2);
            metrics::histogram!("delayq_lateness_ms", "priority" => "high").record(25.0);
            metrics::gauge!("delayq_breaker_open").set(1.0);
            metrics::counter!("delayq_not_asked_for_total").increment(1);
        });
        let lines = emf.lines("emitter", 1_790_000_000_000);
        let definition = |name: &str, unit: &str| json!({"Name": name, "Unit": unit});
        let aws = |dimensions: Value, metrics: Value| {
            json!({"Timestamp": 1_790_000_000_000_i64, "CloudWatchMetrics": [
                {"Namespace": "delayq", "Dimensions": [dimensions], "Metrics": metrics}
            ]})
        };
        assert_eq!(
            lines,
            [
                json!({
                    "_aws": aws(json!(["role"]), json!([definition("delayq_breaker_open", "None")])),
                    "role": "emitter",
                    "delayq_breaker_open": 1.0,
                }),
                json!({
                    "_aws": aws(json!(["role", "priority"]), json!([
                        definition("delayq_lateness_ms", "Milliseconds"),
                        definition("delayq_published_total", "Count"),
                    ])),
                    "role": "emitter",
                    "priority": "high",
                    "delayq_lateness_ms": {"Values": [4.0, 25.0], "Counts": [2, 1]},
                    "delayq_published_total": 3,
                }),
            ]
        );
    }

    #[test]
    fn counters_and_histograms_begin_anew_after_each_line_and_gauges_stay() {
        let emf = emf(&["a_total", "b_ms", "c"]);
        metrics::with_local_recorder(&emf, || {
            metrics::counter!("a_total").increment(1);
            metrics::histogram!("b_ms").record(1.0);
            metrics::gauge!("c").set(7.0);
        });
        emf.lines("all", 0);
        let again = emf.lines("all", 1);
        assert_eq!(again.len(), 1);
        assert_eq!(again[0]["a_total"], 0);
        assert_eq!(again[0]["c"], 7.0);
        assert_eq!(again[0].get("b_ms"), None, "nothing was recorded");
    }

    #[test]
    fn what_one_line_cannot_hold_goes_into_the_next() {
        let names: Vec<String> = (0..150).map(|n| format!("m{n}_total")).collect();
        let mut all: Vec<&str> = names.iter().map(String::as_str).collect();
        all.push("wide_ms");
        let emf = emf(&all);
        metrics::with_local_recorder(&emf, || {
            for name in names.clone() {
                metrics::counter!(name).increment(1);
            }
            for value in 0..250 {
                metrics::histogram!("wide_ms").record(f64::from(value));
            }
        });
        let lines = emf.lines("all", 0);
        let mut values = 0;
        let mut seen = BTreeSet::new();
        for line in &lines {
            let metrics = line["_aws"]["CloudWatchMetrics"][0]["Metrics"]
                .as_array()
                .unwrap();
            assert!(metrics.len() <= METRICS_MAX);
            for metric in metrics {
                let name = metric["Name"].as_str().unwrap();
                seen.insert(name.to_owned());
                if let Some(some) = line[name]["Values"].as_array() {
                    assert!(some.len() <= VALUES_MAX);
                    values += some.len();
                }
            }
        }
        assert_eq!(seen.len(), 151);
        // 0 to 99 as they are, then by two digits: 100, 110, … 240.
        assert_eq!(values, 115);
    }
}
