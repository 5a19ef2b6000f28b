//! What every service needs around its work: configuration, logs and metrics, health, stopping, supervision.
//!
//! Touches the environment, files (the configuration), standard error, signals and one listening socket. Knows no
//! broker and no cloud. The order in a binary:
//!
//! ```no_run
//! # use delayq_runtime::{config::{self, Sources}, health::Health, http::HttpServer, shutdown::Signals};
//! # use delayq_runtime::{supervisor::Supervisor, telemetry::{self, Metrics}};
//! # use tokio_util::sync::CancellationToken;
//! # async fn run() -> Result<i32, Box<dyn std::error::Error + Send + Sync>> {
//! let config = config::load(&Sources::from_process(None, Vec::new()))?;
//! telemetry::init_logs(&config.log)?;
//! let metrics = Metrics::install()?;
//! let stop = CancellationToken::new();
//! let signals = tokio::spawn(Signals::take()?.obey(stop.clone()));
//! let health = Health::new();
//! let server = HttpServer::bind(&config.http, health.clone(), metrics.clone()).await?;
//!
//! let mut supervisor = Supervisor::new(stop.clone());
//! supervisor.spawn_helper("http", server.serve(supervisor.helpers_token()));
//! let helpers = supervisor.helpers_token();
//! supervisor.spawn_helper("metrics", async move { Ok::<_, std::io::Error>(metrics.upkeep(helpers).await) });
//! // supervisor.spawn("router", config.router.stop_timeout, …);
//! let outcome = supervisor.run().await;
//! # signals.abort();
//! # Ok(outcome.exit_code())
//! # }
//! ```

pub mod config;
pub mod emf;
pub mod health;
pub mod http;
pub mod shutdown;
pub mod supervisor;
pub mod telemetry;
#[cfg(test)]
mod testing;
