//! The whole configuration of delayq: plain structs, read in layers, checked as one.
//!
//! Layers, each over the one before: defaults, the TOML file, environment `DELAYQ_SECTION__FIELD`, `--set
//! section.field=value`. [`load`] reports every fault at once; [`Config::to_redacted_toml`] prints what came out.

use serde::{Deserialize, Serialize};

mod aws;
mod canary;
mod check;
mod console;
mod delays;
mod emitter;
mod fault;
mod headers;
mod http;
mod kafka;
mod layers;
mod load;
mod log;
mod long;
mod metrics;
mod oidc;
mod packing;
mod publish;
mod router;
mod routes;
mod rules;
mod scheduler;
#[cfg(test)]
mod tests;
mod topics;
mod traces;
mod tracked;
mod values;

pub use aws::AwsConfig;
pub use canary::{CanaryConfig, CanaryDelays};
pub use console::ConsoleConfig;
pub use delays::DelaysConfig;
pub use emitter::EmitterConfig;
pub use fault::{ConfigErrors, Fault, Place, Source};
pub use headers::{HeaderPreset, HeadersConfig, UnknownHeaders};
pub use http::HttpConfig;
pub use kafka::{Compression, KafkaAuth, KafkaConfig};
pub use layers::Sources;
pub use load::{Origins, load, load_with_origins};
pub use log::{LogConfig, LogFormat};
pub use long::LongConfig;
pub use metrics::MetricsConfig;
pub use oidc::OidcConfig;
pub use packing::PackingConfig;
pub use publish::PublishConfig;
pub use router::RouterConfig;
pub use routes::{HighRule, RouteConfig, RouteDelays, RouteMatchConfig, RoutePriority};
pub use scheduler::SchedulerConfig;
pub use topics::TopicsConfig;
pub use traces::TracesConfig;
pub use tracked::TrackedConfig;
pub use values::{ByteSize, Properties, REDACTED, Secret};

/// Everything that can be configured. The default is complete but for `topics.allow`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The connection to the brokers.
    pub kafka: KafkaConfig,
    /// What is consumed, what may be a target, where refusals go.
    pub topics: TopicsConfig,
    /// Names of the control headers.
    pub headers: HeadersConfig,
    /// How long a delay may be, and which tier takes it.
    pub delays: DelaysConfig,
    /// SQS and DynamoDB.
    pub aws: AwsConfig,
    /// How records are packed into batches.
    pub packing: PackingConfig,
    /// The router.
    pub router: RouterConfig,
    /// The tier for delays beyond SQS.
    pub long: LongConfig,
    /// The scheduler.
    pub scheduler: SchedulerConfig,
    /// The emitter.
    pub emitter: EmitterConfig,
    /// Retries of a record that Kafka did not take.
    pub publish: PublishConfig,
    /// Records with a `delay-id`.
    pub tracked: TrackedConfig,
    /// Records of delayq's own by which a blocked path is noticed.
    pub canary: CanaryConfig,
    /// Where health and metrics are served.
    pub http: HttpConfig,
    /// The API and the page.
    pub console: ConsoleConfig,
    /// Metrics for CloudWatch.
    pub metrics: MetricsConfig,
    /// OpenTelemetry traces.
    pub traces: TracesConfig,
    /// Logs.
    pub log: LogConfig,
    /// What is decided by delay topic, target and message type; in order, the first that matches decides.
    pub routes: Vec<RouteConfig>,
}

impl Config {
    /// Checks every field and every rule between fields.
    ///
    /// # Errors
    /// All faults. [`load`] has done this already; call it for a configuration made in code.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        let mut faults = ConfigErrors::default();
        self.kafka.check(&mut faults);
        self.topics.check(&mut faults);
        self.headers.check(&mut faults);
        self.delays.check(&mut faults);
        self.aws.check(&mut faults);
        self.packing.check(&mut faults);
        self.router.check(&mut faults);
        self.long.check(&mut faults);
        self.scheduler.check(&mut faults);
        self.emitter.check(&mut faults);
        self.publish.check(&mut faults);
        self.tracked.check(&mut faults);
        self.http.check(&mut faults);
        self.console.check(&mut faults);
        self.metrics.check(&mut faults);
        self.traces.check(&mut faults);
        canary::check(self, &mut faults);
        self.log.check(&mut faults);
        routes::check(self, &mut faults);
        rules::check(self, &mut faults);
        faults.into_result()
    }

    /// As TOML, secrets as `***`: for `delayq config` and the log at start.
    ///
    /// # Errors
    /// A value that TOML has no form for; there is none today.
    pub fn to_redacted_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string_pretty(self)
    }
}
