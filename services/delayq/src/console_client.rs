//! The console's API, as a program without a browser uses it.

use anyhow::{Context as _, bail};
use futures::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

type Body = Full<axum::body::Bytes>;

/// The API of a deployment.
pub(crate) struct Api {
    base: String,
    token: Option<String>,
    client: Client<HttpConnector, Body>,
}

impl Api {
    pub(crate) fn new(base: &str, token: Option<String>) -> Self {
        Self {
            base: base.to_owned(),
            token,
            client: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    /// Status and body of a request.
    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<(u16, Value)> {
        let mut request = axum::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("content-type", "application/json");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let body = body.map_or_else(String::new, Value::to_string);
        let request = request.body(Body::from(body))?;
        let answer = self
            .client
            .request(request)
            .await
            .with_context(|| format!("the console at {} does not answer", self.base))?;
        let status = answer.status().as_u16();
        let bytes = answer.into_body().collect().await?.to_bytes();
        Ok((
            status,
            serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        ))
    }

    /// Listens to the changes of one record.
    pub(crate) async fn live(&self, id: &str) -> anyhow::Result<Live> {
        let url = format!("{}/v1/live", self.base.replacen("http", "ws", 1));
        let mut request = url.as_str().into_client_request()?;
        if let Some(token) = &self.token {
            let value = format!("delayq, token.{token}").parse()?;
            request
                .headers_mut()
                .insert("sec-websocket-protocol", value);
        }
        let (mut socket, _) = connect_async(request)
            .await
            .with_context(|| format!("no WebSocket at {url}"))?;
        let subscribe = json!({"subscribe": {"id": id}, "after": null});
        socket.send(Message::text(subscribe.to_string())).await?;
        let mut live = Live(socket);
        match live.next(Instant::now() + Duration::from_secs(5)).await? {
            Some(hello) if hello.get("hello").is_some() => Ok(live),
            other => bail!("a WebSocket that does not say hello: {other:?}"),
        }
    }
}

/// A WebSocket.
pub(crate) struct Live(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Live {
    /// What it says next; `None` when `until` comes first.
    pub(crate) async fn next(&mut self, until: Instant) -> anyhow::Result<Option<Value>> {
        loop {
            match timeout_at(until, self.0.next()).await {
                Err(_) => return Ok(None),
                Ok(None) => bail!("the WebSocket was closed"),
                Ok(Some(Ok(Message::Text(text)))) => return Ok(Some(serde_json::from_str(&text)?)),
                Ok(Some(Ok(_))) => {}
                Ok(Some(Err(error))) => return Err(error).context("the WebSocket"),
            }
        }
    }

    /// The states of the record as they change, until `last`.
    pub(crate) async fn states(
        &mut self,
        last: &str,
        within: Duration,
    ) -> anyhow::Result<Vec<String>> {
        let until = Instant::now() + within;
        let mut states = Vec::new();
        while states.last().is_none_or(|state| state != last) {
            let Some(said) = self.next(until).await? else {
                break;
            };
            let state = said.pointer("/change/message/state");
            states.extend(state.and_then(Value::as_str).map(str::to_owned));
        }
        Ok(states)
    }
}
