//! `/livez`, `/readyz` and `/metrics` over HTTP, for load balancers, orchestrators and Prometheus.

use std::io;
use std::net::SocketAddr;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::config::HttpConfig;
use crate::health::Health;
use crate::telemetry::Metrics;

/// The server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Something else listens there.
    #[error(
        "{listen} is in use by another process: set {setting} ({}) to a free address, or to port 0 for any",
        variable(setting)
    )]
    InUse {
        /// The setting's name.
        setting: &'static str,
        /// Its value.
        listen: String,
    },
    /// The port is one that only root may bind.
    #[error(
        "this user may not listen on {listen}: set {setting} ({}) to a port above 1023",
        variable(setting)
    )]
    Forbidden {
        /// The setting's name.
        setting: &'static str,
        /// Its value.
        listen: String,
    },
    /// Anything else, such as an address that this machine has not got.
    #[error(
        "cannot listen on {listen}, see {setting} ({}): {source}",
        variable(setting)
    )]
    Listen {
        /// The setting's name.
        setting: &'static str,
        /// Its value.
        listen: String,
        /// What the system said.
        source: io::Error,
    },
}

/// The environment variable of a setting.
fn variable(setting: &str) -> String {
    format!("DELAYQ_{}", setting.to_uppercase().replace('.', "__"))
}

/// Binds a socket to the value of a setting.
///
/// # Errors
/// The address is taken, forbidden or not this machine's; each says which setting to change.
pub async fn listen(setting: &'static str, listen: &str) -> Result<TcpListener, HttpError> {
    TcpListener::bind(listen).await.map_err(|source| {
        let listen = listen.to_owned();
        match source.kind() {
            io::ErrorKind::AddrInUse => HttpError::InUse { setting, listen },
            io::ErrorKind::PermissionDenied => HttpError::Forbidden { setting, listen },
            _ => HttpError::Listen {
                setting,
                listen,
                source,
            },
        }
    })
}

/// A server that listens, and answers once [`HttpServer::serve`] runs.
#[derive(Debug)]
pub struct HttpServer {
    listener: TcpListener,
    address: SocketAddr,
    routes: Router,
}

#[derive(Debug, Clone)]
struct Served {
    health: Health,
    metrics: Metrics,
}

impl HttpServer {
    /// Binds the socket.
    ///
    /// # Errors
    /// The address is taken, forbidden or not this machine's; each says which setting to change.
    pub async fn bind(
        config: &HttpConfig,
        health: Health,
        metrics: Metrics,
    ) -> Result<Self, HttpError> {
        const SETTING: &str = "http.listen";
        let listener = listen(SETTING, &config.listen).await?;
        let address = listener.local_addr().map_err(|source| HttpError::Listen {
            setting: SETTING,
            listen: config.listen.clone(),
            source,
        })?;
        let routes = Router::new()
            .route("/livez", get(livez))
            .route("/readyz", get(readyz))
            .route("/metrics", get(render))
            .with_state(Served { health, metrics });
        Ok(Self {
            listener,
            address,
            routes,
        })
    }

    /// Answers to `routes` as well.
    #[must_use]
    pub fn with_routes(mut self, routes: Router) -> Self {
        self.routes = self.routes.merge(routes);
        self
    }

    /// Where it listens: the real port, when the setting says 0.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop`. Give it the supervisor's token for helpers: health must be seen while the work drains.
    ///
    /// # Errors
    /// The socket broke.
    pub async fn serve(self, stop: CancellationToken) -> io::Result<()> {
        info!(address = %self.address, "health and metrics are served");
        axum::serve(self.listener, self.routes)
            .with_graceful_shutdown(stop.cancelled_owned())
            .await
    }
}

async fn livez(State(served): State<Served>) -> impl IntoResponse {
    let report = served.health.liveness();
    (status(report.live), Json(report))
}

async fn readyz(State(served): State<Served>) -> impl IntoResponse {
    let report = served.health.readiness();
    (status(report.ready), Json(report))
}

async fn render(State(served): State<Served>) -> impl IntoResponse {
    // https://prometheus.io/docs/instrumenting/exposition_formats/
    let format = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    (format, served.metrics.render())
}

const fn status(good: bool) -> StatusCode {
    if good {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    fn any_port() -> HttpConfig {
        HttpConfig {
            listen: "127.0.0.1:0".to_owned(),
        }
    }

    async fn started(health: &Health) -> (SocketAddr, CancellationToken) {
        let metrics = Metrics::install().unwrap();
        let server = HttpServer::bind(&any_port(), health.clone(), metrics)
            .await
            .unwrap();
        let address = server.address();
        let stop = CancellationToken::new();
        tokio::spawn(server.serve(stop.clone()));
        (address, stop)
    }

    async fn fetch(address: SocketAddr, path: &str) -> (u16, String) {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    }

    #[tokio::test]
    async fn readiness_shows_all_components_with_reasons() {
        let health = Health::new();
        let (address, _stop) = started(&health).await;
        health.component("kafka source").ready();
        let queue = health.component("sqs high");
        queue.not_ready("the queue delayq-high does not exist: run delayq init");
        let (status, body) = fetch(address, "/readyz").await;
        assert_eq!(status, 503);
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["ready"], false);
        assert_eq!(body["components"][0]["name"], "kafka source");
        assert_eq!(body["components"][0]["ready"], true);
        assert_eq!(
            body["components"][1]["reason"],
            "the queue delayq-high does not exist: run delayq init"
        );
        queue.ready();
        let (status, body) = fetch(address, "/readyz").await;
        assert_eq!(status, 200, "{body}");
    }

    #[tokio::test]
    async fn liveness_names_the_task_that_hangs() {
        let health = Health::new();
        let (address, _stop) = started(&health).await;
        assert_eq!(fetch(address, "/livez").await.0, 200);
        // A limit that has passed at once; a beat is at millisecond 0 or later.
        let pulse = health.pulse("router poll", Duration::ZERO);
        let hangs = async {
            loop {
                let (status, body) = fetch(address, "/livez").await;
                if status == 503 {
                    break body;
                }
            }
        };
        let body = tokio::time::timeout(Duration::from_secs(10), hangs)
            .await
            .unwrap();
        assert!(body.contains("router poll"), "{body}");
        drop(pulse);
        assert_eq!(fetch(address, "/livez").await.0, 200);
    }

    #[tokio::test]
    async fn metrics_are_rendered() {
        let (address, _stop) = started(&Health::new()).await;
        let (status, body) = fetch(address, "/metrics").await;
        assert_eq!(status, 200);
        assert!(body.contains("delayq_build_info{version="), "{body}");
        assert_eq!(fetch(address, "/nothing").await.0, 404);
    }

    #[tokio::test]
    async fn a_taken_port_names_the_setting() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = HttpConfig {
            listen: taken.local_addr().unwrap().to_string(),
        };
        let error = HttpServer::bind(&config, Health::new(), Metrics::install().unwrap())
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(&config.listen), "{error}");
        assert!(error.contains("http.listen"), "{error}");
    }

    #[tokio::test]
    async fn the_token_ends_it() {
        let server = HttpServer::bind(&any_port(), Health::new(), Metrics::install().unwrap())
            .await
            .unwrap();
        let stop = CancellationToken::new();
        let served = tokio::spawn(server.serve(stop.clone()));
        stop.cancel();
        served.await.unwrap().unwrap();
    }
}
