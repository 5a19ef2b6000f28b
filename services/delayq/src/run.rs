//! A process of roles: logs, metrics, signals, HTTP, and what stops when.

use std::time::Duration;

use axum::Router;
use delayq_core::clock::{Clock as _, SystemClock};
use delayq_runtime::config::Config;
use delayq_runtime::emf::Emf;
use delayq_runtime::health::Health;
use delayq_runtime::http::HttpServer;
use delayq_runtime::shutdown::Signals;
use delayq_runtime::supervisor::Supervisor;
use delayq_runtime::telemetry::{self, Metrics};
use tokio_util::sync::CancellationToken;

use crate::app::{self, Backends};
use crate::console::Console;
use crate::exit;
use crate::role::Role;

/// Runs roles, and the console, until SIGTERM or Ctrl-C, over `backends`, or SQS and DynamoDB; `routes` are answered beside health
/// and metrics. Answers with the exit code.
///
/// # Errors
/// What kept it from starting: a port that is taken, backends that cannot be reached.
pub(crate) async fn run_over(
    roles: Vec<Role>,
    console: bool,
    config: Config,
    backends: Option<Backends>,
    routes: Router,
) -> anyhow::Result<u8> {
    telemetry::init_logs(&config.log)?;
    let emf = config.metrics.emf.then(|| Emf::new(&config.metrics));
    let metrics = Metrics::install_with(emf.as_ref())?;
    describe_metrics();
    let stop = CancellationToken::new();
    let signals = tokio::spawn(Signals::take()?.obey(stop.clone()));
    let health = Health::new();
    let server = HttpServer::bind(&config.http, health.clone(), metrics.clone())
        .await?
        .with_routes(routes);
    tracing::info!(
        address = %server.address(),
        bootstrap_servers = config.kafka.bootstrap_servers,
        ?roles,
        "serving /livez, /readyz and /metrics"
    );
    let mut supervisor = Supervisor::new(stop.clone());
    let helpers = supervisor.helpers_token();
    supervisor.spawn_helper("http", server.serve(helpers.clone()));
    supervisor.spawn_helper("metrics", async move {
        metrics.upkeep(helpers).await;
        Ok::<_, std::io::Error>(())
    });
    if let Some(emf) = emf {
        let helpers = supervisor.helpers_token();
        let role = role_name(&roles, console);
        let now_ms = || SystemClock.now_ms();
        supervisor.spawn_helper("metrics for CloudWatch", emf.run(role, now_ms, helpers));
    }
    let limit = stop_limit(&config) + STOP_MARGIN;
    let (stopping, told) = (stop.clone(), health.clone());
    tokio::spawn(async move {
        stopping.cancelled().await;
        told.stopping();
    });
    let backends = match backends {
        Some(backends) => backends,
        None => Backends::aws(&config).await?,
    };
    if console {
        let console = Console::bind(&config, backends.clone(), &health).await?;
        let stop = stop.clone();
        supervisor.spawn("console", limit, async move {
            console
                .serve(stop)
                .await
                .map_err(|error| format!("{error:#}"))
        });
    }
    if !roles.is_empty() {
        supervisor.spawn("roles", limit, async move {
            let ran = app::run_on(&config, &roles, backends, health, stop).await;
            ran.map_err(|error| format!("{error:#}"))
        });
    }
    let outcome = supervisor.run().await;
    signals.abort();
    Ok(u8::try_from(outcome.exit_code()).unwrap_or(exit::FAILED))
}

/// What this process is to whoever looks at its metrics.
fn role_name(roles: &[Role], console: bool) -> String {
    match roles {
        [] => "console",
        [Role::Router] if !console => "router",
        [Role::Scheduler] if !console => "scheduler",
        [Role::Emitter] if !console => "emitter",
        _ => "all",
    }
    .to_owned()
}

/// Room for the adapters to close after the roles have stopped.
const STOP_MARGIN: Duration = Duration::from_secs(5);

fn stop_limit(config: &Config) -> Duration {
    config
        .router
        .stop_timeout
        .max(config.emitter.stop_timeout)
        .max(config.scheduler.stop_timeout)
}

fn describe_metrics() {
    crate::canary::metrics::describe();
    delayq_console::describe();
    delayq_router::metrics::describe();
    delayq_scheduler::metrics::describe();
    delayq_emitter::metrics::describe();
    delayq_delivery::describe();
    delayq_aws::metrics::describe();
    delayq_kafka::metrics::describe();
}
