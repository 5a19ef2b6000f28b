//! `[metrics]`: metrics for CloudWatch. Those for Prometheus are always there, at `http.listen`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::duration_between;
use super::fault::ConfigErrors;

/// What the alarms and the dashboard of `deploy/terraform` look at.
const NAMES: [&str; 26] = [
    "delayq_aws_clock_skew_ms",
    "delayq_aws_cost_nanodollars_total",
    "delayq_aws_throttled_total",
    "delayq_breaker_open",
    "delayq_canary_age_ms",
    "delayq_canary_overdue",
    "delayq_component_ready",
    "delayq_dead_letters_total",
    "delayq_emitter_held_bytes",
    "delayq_emitter_held_overdue_ms",
    "delayq_emitter_leases_lapsed_total",
    "delayq_kafka_lag_records",
    "delayq_lateness_ms",
    "delayq_publish_oldest_overdue_ms",
    "delayq_publish_retries_total",
    "delayq_published_total",
    "delayq_router_head_of_line_ms",
    "delayq_router_held_bytes",
    "delayq_router_paused",
    "delayq_router_records_total",
    "delayq_router_routed_total",
    "delayq_scheduler_behind_ms",
    "delayq_scheduler_leases_lost_total",
    "delayq_scheduler_records_total",
    "delayq_scheduler_watermark_age_ms",
    "delayq_tracked_changes_total",
];

/// `[metrics]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricsConfig {
    /// Whether metrics are written to standard output in CloudWatch's embedded metric format: on ECS with the `awslogs` driver they
    /// become metrics there, without an agent. Default `false`.
    pub emf: bool,
    /// How often (1 s to 1 h). Default 1 min.
    #[serde(with = "humantime_serde")]
    pub emf_every: Duration,
    /// CloudWatch namespace. Default `delayq`.
    pub emf_namespace: String,
    /// Which metrics: each combination of a name and its labels is billed by AWS. Default those that the alarms and the dashboard of
    /// `deploy/terraform` look at.
    pub emf_metrics: Vec<String>,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self {
            emf: false,
            emf_every: Duration::from_secs(60),
            emf_namespace: "delayq".to_owned(),
            emf_metrics: NAMES.map(str::to_owned).into(),
        }
    }
}

impl MetricsConfig {
    pub(super) fn check(&self, faults: &mut ConfigErrors) {
        let (least, most) = (Duration::from_secs(1), Duration::from_secs(3600));
        duration_between(faults, "metrics.emf_every", self.emf_every, least, most);
        let namespace = &self.emf_namespace;
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_./#:".contains(c);
        if namespace.is_empty()
            || namespace.len() > 255
            || namespace.starts_with("AWS/")
            || !namespace.chars().all(fits)
        {
            faults.add(
                &["metrics.emf_namespace"],
                format!("\"{namespace}\" is no namespace of one's own in CloudWatch"),
                "use 1 to 255 of the characters A-Z a-z 0-9 - _ . / # :, and not AWS/ at the beginning",
            );
        }
    }
}
