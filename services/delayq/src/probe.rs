//! `delayq health`: whether a process on this machine is ready, or alive, for the health check of a container that has no HTTP client.

use std::time::Duration;

use anyhow::{Context as _, bail};
use delayq_runtime::config::Config;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::time::timeout;

/// Container platforms give up after 5 s.
const LIMIT: Duration = Duration::from_secs(4);

/// Asks for `/readyz` at `http.listen`, or for `/livez`: whether a restart would help.
///
/// # Errors
/// Nobody answers in time, or not ready: the answer's reasons.
pub async fn probe(config: &Config, live: bool) -> anyhow::Result<()> {
    let path = if live { "livez" } else { "readyz" };
    let url = format!("http://{}/{path}", reachable(&config.http.listen));
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<axum::body::Bytes>>();
    let asked = async {
        let answer = client.get(url.parse()?).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        anyhow::Ok((status, body))
    };
    let (status, body) = timeout(LIMIT, asked)
        .await
        .with_context(|| format!("{url} does not answer within {LIMIT:?}"))?
        .with_context(|| format!("{url} does not answer"))?;
    if !status.is_success() {
        bail!("{url} answers {status}: {}", String::from_utf8_lossy(&body));
    }
    Ok(())
}

/// Where a socket that listens on all addresses is reached from this machine.
fn reachable(listen: &str) -> String {
    let (host, port) = listen.rsplit_once(':').unwrap_or((listen, "8080"));
    match host {
        "0.0.0.0" => format!("127.0.0.1:{port}"),
        "[::]" => format!("[::1]:{port}"),
        _ => listen.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_addresses_are_reached_by_loopback() {
        assert_eq!(reachable("0.0.0.0:8080"), "127.0.0.1:8080");
        assert_eq!(reachable("[::]:1"), "[::1]:1");
        assert_eq!(reachable("127.0.0.1:9"), "127.0.0.1:9");
        assert_eq!(reachable("localhost:9"), "localhost:9");
    }

    #[tokio::test]
    async fn what_is_not_there_is_not_ready() {
        let mut config = Config::default();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        config.http.listen = free.local_addr().unwrap().to_string();
        drop(free);
        let error = probe(&config, false).await.unwrap_err();
        assert!(
            format!("{error:#}").contains("does not answer"),
            "{error:#}"
        );
    }
}
