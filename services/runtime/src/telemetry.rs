//! Logs to standard error, metrics for Prometheus. Both are the process's: set up once, by the binary.

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use metrics::{Unit, describe_gauge, gauge};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_util::layers::FanoutBuilder;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::config::{LogConfig, LogFormat};
use crate::emf::Emf;
use crate::health;

/// Buckets of histograms in milliseconds (`…_ms`, so `delayq_lateness_ms`): fine where the promise is (P3: 25 and 100 ms).
pub const MS_BUCKETS: [f64; 14] = [
    1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 15_000.0,
    60_000.0,
];

/// Buckets of histograms in bytes (`…_bytes`): up to SQS's 1 MiB and a batch's 4 MiB.
pub const BYTES_BUCKETS: [f64; 8] = [
    256.0,
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
];

/// Buckets of all other histograms, which count things (records a batch): up to a batch's 5,000.
pub const COUNT_BUCKETS: [f64; 10] = [
    1.0, 2.0, 5.0, 10.0, 50.0, 100.0, 500.0, 1000.0, 2000.0, 5000.0,
];

/// Gauge, always 1: which version runs, as label `version`.
pub const BUILD_INFO: &str = "delayq_build_info";

/// How often the histograms' samples are folded into their buckets; between two renders they would only pile up.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `log.level` cannot be read; never after [`crate::config::Config::validate`].
    #[error("log.level is not a level or a list of module=level: {0}")]
    Level(#[from] ParseError),
    /// Logs are set up already.
    #[error("logs were set up twice: {0}")]
    Logs(Box<dyn std::error::Error + Send + Sync>),
    /// The buckets are refused; they are constants.
    #[error("the metrics cannot be set up: {0}")]
    Buckets(#[from] BuildError),
    /// Something else has installed a recorder.
    #[error("another recorder of metrics is installed in this process")]
    Recorder,
}

/// Sends logs to standard error from here on, as `[log]` says.
///
/// # Errors
/// A level that cannot be read, or logs that are set up already.
pub fn init_logs(config: &LogConfig) -> Result<(), TelemetryError> {
    let filter = EnvFilter::builder().parse(&config.level)?;
    let terminal = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if is_json(config.format, terminal) {
        builder
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .try_init()
    } else {
        // https://no-color.org: set and not empty means none.
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        builder.with_ansi(terminal && !plain).try_init()
    }
    .map_err(TelemetryError::Logs)
}

const fn is_json(format: LogFormat, terminal: bool) -> bool {
    match format {
        LogFormat::Json => true,
        LogFormat::Pretty => false,
        LogFormat::Auto => !terminal,
    }
}

/// The process's metrics. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Metrics")
    }
}

impl Metrics {
    /// Makes the macros of `metrics` record here. The second call in a process gives the same metrics as the first, so that
    /// several services (and tests) can share one.
    ///
    /// # Errors
    /// Another recorder is installed.
    pub fn install() -> Result<Self, TelemetryError> {
        Self::install_with(None)
    }

    /// As [`Metrics::install`]; what is recorded goes to `emf` as well, unless metrics were installed before.
    ///
    /// # Errors
    /// Another recorder is installed.
    pub fn install_with(emf: Option<&Emf>) -> Result<Self, TelemetryError> {
        static INSTALLED: Mutex<Option<Metrics>> = Mutex::new(None);
        let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(metrics) = &*installed {
            return Ok(metrics.clone());
        }
        let recorder = builder()?.build_recorder();
        let metrics = Self {
            handle: recorder.handle(),
        };
        let set = match emf {
            None => metrics::set_global_recorder(recorder).is_ok(),
            Some(emf) => {
                let both = FanoutBuilder::default()
                    .add_recorder(recorder)
                    .add_recorder(emf.clone());
                metrics::set_global_recorder(both.build()).is_ok()
            }
        };
        if !set {
            return Err(TelemetryError::Recorder);
        }
        describe_gauge!(BUILD_INFO, Unit::Count, "Always 1; the version is a label.");
        gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        health::describe_metrics();
        *installed = Some(metrics.clone());
        Ok(metrics)
    }

    /// All metrics, in Prometheus's text format.
    #[must_use]
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Keeps the memory of histograms bounded while nobody scrapes; run it as a helper of the supervisor, until `stop`.
    pub async fn upkeep(self, stop: CancellationToken) {
        let mut every = tokio::time::interval(UPKEEP_EVERY);
        while stop.run_until_cancelled(every.tick()).await.is_some() {
            self.handle.run_upkeep();
        }
    }
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new()
        .set_buckets(&COUNT_BUCKETS)?
        .set_buckets_for_metric(Matcher::Suffix("_ms".to_owned()), &MS_BUCKETS)?
        .set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), &BYTES_BUCKETS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_is_pretty_only_on_a_terminal() {
        assert!(!is_json(LogFormat::Auto, true));
        assert!(is_json(LogFormat::Auto, false));
        assert!(is_json(LogFormat::Json, true));
        assert!(!is_json(LogFormat::Pretty, false));
    }

    #[test]
    fn lateness_has_the_buckets_of_its_promise() {
        let recorder = builder().unwrap().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            metrics::histogram!("delayq_lateness_ms", "path" => "short").record(26.0);
            metrics::histogram!("delayq_batch_bytes").record(300.0);
        });
        let text = recorder.handle().render();
        assert!(
            text.contains(r#"delayq_lateness_ms_bucket{path="short",le="25"} 0"#),
            "{text}"
        );
        assert!(
            text.contains(r#"delayq_lateness_ms_bucket{path="short",le="50"} 1"#),
            "{text}"
        );
        assert!(
            text.contains(r#"delayq_batch_bytes_bucket{le="1024"} 1"#),
            "{text}"
        );
    }

    #[test]
    fn a_second_install_gives_the_same_metrics() {
        let first = Metrics::install().unwrap();
        let second = Metrics::install().unwrap();
        metrics::counter!("delayq_test_installs_total").increment(1);
        for metrics in [first, second] {
            assert!(metrics.render().contains("delayq_test_installs_total 1"));
            assert!(metrics.render().contains(BUILD_INFO));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn upkeep_ends_with_its_token() {
        let recorder = builder().unwrap().build_recorder();
        let metrics = Metrics {
            handle: recorder.handle(),
        };
        let stop = CancellationToken::new();
        let upkeep = tokio::spawn(metrics.upkeep(stop.clone()));
        tokio::time::sleep(UPKEEP_EVERY * 3).await;
        assert!(!upkeep.is_finished());
        stop.cancel();
        upkeep.await.unwrap();
    }
}
