//! In front of SQS or DynamoDB, one for each process of delayq: knows the calls, fails them, and keeps the ledger.

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use delayq::role::Role;
use delayq_core::record::Source;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::Switch;
use super::answers::{answer, failed_entry, list, server_error, sources, text, throttled};
use crate::ledger::{Ledger, id};
use crate::plan::{Line, NetFault, Slot};

/// The connection is closed instead of an answer.
#[derive(Debug)]
struct Cut(String);

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no answer: {}", self.0)
    }
}

impl std::error::Error for Cut {}

/// A proxy of one process of delayq.
pub(crate) struct HttpProxy {
    slot: Slot,
    line: Line,
    /// `127.0.0.1:port` of the service.
    upstream: String,
    switch: Arc<Switch>,
    ledger: Arc<Ledger>,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// A request, read.
struct Call {
    operation: String,
    headers: hyper::HeaderMap,
    bytes: Bytes,
    body: Value,
}

impl HttpProxy {
    /// Listens on a port of its own, whose address it answers with, until the process ends.
    pub(crate) async fn start(
        slot: Slot,
        upstream: &str,
        switch: Arc<Switch>,
        ledger: Arc<Ledger>,
    ) -> anyhow::Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .context("a port for a proxy")?;
        let address = listener.local_addr()?;
        let proxy = Arc::new(Self {
            slot,
            line: switch.line,
            upstream: upstream
                .strip_prefix("http://")
                .unwrap_or(upstream)
                .to_owned(),
            switch,
            ledger,
            client: Client::builder(TokioExecutor::new())
                .pool_idle_timeout(Duration::from_secs(10))
                .pool_timer(TokioTimer::new())
                .build_http(),
        });
        tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let proxy = proxy.clone();
                        tokio::spawn(async move { proxy.serve(stream).await });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a proxy could not accept");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
            }
        });
        Ok(address)
    }

    async fn serve(self: Arc<Self>, stream: tokio::net::TcpStream) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "nodelay");
        }
        let service = service_fn(|request| {
            let proxy = self.clone();
            async move { proxy.handle(request).await }
        });
        let served = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), service)
            .await;
        if let Err(error) = served {
            tracing::debug!(slot = %self.slot, line = self.line.name(), %error, "connection ended");
        }
    }

    async fn handle(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Cut> {
        let (head, body) = request.into_parts();
        let bytes = body
            .collect()
            .await
            .map_err(|error| Cut(error.to_string()))?
            .to_bytes();
        let target = head
            .headers
            .get("x-amz-target")
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let call = Call {
            operation: target.rsplit('.').next().unwrap_or_default().to_owned(),
            body: serde_json::from_slice(&bytes).unwrap_or_default(),
            headers: head.headers,
            bytes,
        };
        let fault = self.switch.draw();
        match fault {
            Some(NetFault::Delay(ms)) => {
                tokio::time::sleep(Duration::from_millis(self.switch.up_to(ms))).await;
            }
            Some(NetFault::Slow {
                ms,
                throttled_percent,
            }) => {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                if self.switch.chance(throttled_percent) {
                    self.failed(&call, false);
                    return Ok(throttled(self.line, self.switch.chance(50)));
                }
            }
            Some(NetFault::ResetRequest) => {
                self.failed(&call, false);
                return Err(Cut("reset before the request".to_owned()));
            }
            Some(NetFault::Silent) => {
                self.failed(&call, false);
                return never().await;
            }
            Some(NetFault::ServerError) => {
                self.failed(&call, false);
                return Ok(server_error(self.switch.chance(50)));
            }
            Some(NetFault::Throttle) => {
                self.failed(&call, false);
                return Ok(throttled(self.line, self.switch.chance(50)));
            }
            Some(NetFault::Partial) if call.is_batch() => return self.partly(call).await,
            Some(NetFault::ResetAnswer | NetFault::SilentAnswer | NetFault::Partial) | None => {}
        }
        // Whatever ends the call before its answer is handed over (the client gone, the service gone) leaves it in doubt.
        let doubt = Doubt {
            proxy: self,
            call: &call,
            over: false,
        };
        let (response, answer) = self.forward(&call, call.bytes.clone()).await?;
        match fault {
            Some(NetFault::ResetAnswer) => Err(Cut("reset instead of the answer".to_owned())),
            Some(NetFault::SilentAnswer) => never().await,
            _ => {
                doubt.resolved();
                self.note(&call, &answer, &[]);
                Ok(response)
            }
        }
    }

    async fn forward(
        &self,
        call: &Call,
        body: Bytes,
    ) -> Result<(Response<Full<Bytes>>, Value), Cut> {
        let mut request = Request::post(format!("http://{}/", self.upstream))
            .body(Full::new(body))
            .map_err(|error| Cut(error.to_string()))?;
        for (name, value) in &call.headers {
            let hop = [hyper::header::CONTENT_LENGTH, hyper::header::HOST];
            if !hop.contains(name) {
                request.headers_mut().append(name, value.clone());
            }
        }
        let answered = self.client.request(request).await;
        let (head, body) = answered
            .map_err(|error| Cut(error.to_string()))?
            .into_parts();
        let bytes = body
            .collect()
            .await
            .map_err(|error| Cut(error.to_string()))?
            .to_bytes();
        // A refusal is kept as text: no answer of a call that succeeded is one.
        let answer = if head.status.is_success() {
            serde_json::from_slice(&bytes).unwrap_or_default()
        } else {
            Value::String(String::from_utf8_lossy(&bytes).into_owned())
        };
        let mut response = Response::new(Full::new(bytes));
        *response.status_mut() = head.status;
        for (name, value) in &head.headers {
            let hop = [
                hyper::header::CONTENT_LENGTH,
                hyper::header::TRANSFER_ENCODING,
                hyper::header::CONNECTION,
            ];
            if !hop.contains(name) {
                response.headers_mut().append(name, value.clone());
            }
        }
        Ok((response, answer))
    }

    /// Some entries fail; half of those take effect all the same.
    async fn partly(&self, mut call: Call) -> Result<Response<Full<Bytes>>, Cut> {
        let name = call.entries_name();
        let (mut passed, mut failed, mut lied) = (Vec::new(), Vec::new(), Vec::new());
        if call.operation == "BatchGetItem" {
            return self.unprocessed(call).await;
        }
        for entry in list(&call.body, name) {
            if self.switch.chance(50) {
                passed.push(entry.clone());
                continue;
            }
            let key = entry.get("Id").cloned().unwrap_or_default();
            failed.push(failed_entry(&key, self.switch.chance(50)));
            let takes_effect = self.switch.chance(50);
            self.entry_failed(&call, entry, takes_effect);
            if takes_effect {
                passed.push(entry.clone());
                lied.push(key);
            }
        }
        if passed.is_empty() {
            let body = json!({"Successful": [], "Failed": failed});
            return Ok(answer(hyper::StatusCode::OK, &body));
        }
        set(&mut call.body, name, passed);
        let doubt = Doubt {
            proxy: self,
            call: &call,
            over: false,
        };
        let bytes = Bytes::from(call.body.to_string());
        let (response, mut body) = self.forward(&call, bytes).await?;
        doubt.resolved();
        self.note(&call, &body, &lied);
        if body.is_string() {
            return Ok(response);
        }
        let successful: Vec<_> = list(&body, "Successful")
            .iter()
            .filter(|entry| entry.get("Id").is_none_or(|key| !lied.contains(key)))
            .cloned()
            .collect();
        failed.extend(list(&body, "Failed").iter().cloned());
        set(&mut body, "Successful", successful);
        set(&mut body, "Failed", failed);
        Ok(answer(hyper::StatusCode::OK, &body))
    }

    /// DynamoDB's form of it: some keys are to be asked for again.
    async fn unprocessed(&self, mut call: Call) -> Result<Response<Full<Bytes>>, Cut> {
        let mut unprocessed = serde_json::Map::new();
        let tables = call.body.get_mut("RequestItems");
        for (table, request) in tables.and_then(Value::as_object_mut).into_iter().flatten() {
            let mut rest = request.clone();
            let keys = request.get_mut("Keys").and_then(Value::as_array_mut);
            let Some(keys) = keys.filter(|keys| keys.len() > 1) else {
                continue;
            };
            let left = keys.split_off(keys.len() / 2);
            set(&mut rest, "Keys", left);
            unprocessed.insert(table.clone(), rest);
        }
        let bytes = Bytes::from(call.body.to_string());
        let (response, mut body) = self.forward(&call, bytes).await?;
        if body.is_string() || unprocessed.is_empty() {
            return Ok(response);
        }
        if let Some(body) = body.as_object_mut() {
            body.insert("UnprocessedKeys".to_owned(), Value::Object(unprocessed));
        }
        Ok(answer(hyper::StatusCode::OK, &body))
    }

    /// A call failed as a whole; `taken`: it may have taken effect.
    fn failed(&self, call: &Call, taken: bool) {
        self.ledger.suspect(self.slot, "a scheduler's call failed");
        if taken && call.operation == "PutItem" {
            self.stored(&call.body);
        }
        for entry in call.entries() {
            self.entry_failed(call, entry, taken);
        }
    }

    /// A batch is written, or may be: in which shard its records are.
    fn stored(&self, body: &Value) {
        let of = |pointer| body.pointer(pointer).and_then(Value::as_str);
        let shard = of("/Item/k/S").and_then(|key| key.split('#').nth(1)?.parse().ok());
        if let (Some(shard), Some(batch)) = (shard, of("/Item/b/B")) {
            self.ledger.stored(shard, &sources(batch));
        }
    }

    fn entry_failed(&self, call: &Call, entry: &Value, taken: bool) {
        self.ledger.suspect(self.slot, "a scheduler's call failed");
        let handle = text(entry, "ReceiptHandle");
        match call.operation.as_str() {
            "SendMessageBatch" if taken => {
                self.ledger
                    .unsure(self.slot, &sources(text(entry, "MessageBody")));
            }
            "DeleteMessageBatch" => self.ledger.not_kept(handle, "delete not answered"),
            "ChangeMessageVisibilityBatch" => {
                self.ledger.not_kept(handle, "heartbeat not answered");
            }
            _ => {}
        }
    }

    /// A call was answered; `lied`: entries whose success is kept from the client.
    fn note(&self, call: &Call, answer: &Value, lied: &[Value]) {
        if let Value::String(refusal) = answer {
            if refusal.contains("ConditionalCheckFailed") {
                return self.ledger.fenced(self.slot);
            }
            return self.failed(call, false);
        }
        let told = |entry: &&Value| {
            let key = entry.get("Id");
            let is_key = |other: &Value| other.get("Id") == key;
            key.is_none_or(|key| !lied.contains(key))
                && list(answer, "Successful").iter().any(is_key)
        };
        match call.operation.as_str() {
            "SendMessageBatch" => {
                for entry in call.entries().iter().filter(told) {
                    let sources: Vec<Source> = sources(text(entry, "MessageBody"));
                    self.ledger.sent(self.slot, &sources);
                }
            }
            "DeleteMessageBatch" => {
                for entry in call.entries().iter().filter(told) {
                    self.ledger.deleted(text(entry, "ReceiptHandle"));
                }
            }
            "ReceiveMessage" if self.slot.role == Role::Emitter => {
                for message in list(answer, "Messages") {
                    let ids = sources(text(message, "Body")).iter().map(id).collect();
                    let handle = text(message, "ReceiptHandle").to_owned();
                    self.ledger.received(self.slot, handle, ids);
                }
            }
            "PutItem" => self.stored(&call.body),
            // Taking a shard changes the row too, but only a save of the cursor sets it.
            "UpdateItem" if text(&call.body, "UpdateExpression").contains("#watermark") => {
                let shard = call
                    .body
                    .pointer("/Key/n/N")
                    .and_then(Value::as_str)
                    .and_then(|n| n.parse().ok());
                if let Some(shard) = shard {
                    self.ledger.saved(self.slot, shard);
                }
            }
            _ => {}
        }
    }
}

impl Call {
    fn is_batch(&self) -> bool {
        [
            "SendMessageBatch",
            "DeleteMessageBatch",
            "ChangeMessageVisibilityBatch",
            "BatchGetItem",
        ]
        .contains(&self.operation.as_str())
    }

    fn entries_name(&self) -> &'static str {
        "Entries"
    }

    fn entries(&self) -> &[Value] {
        list(&self.body, self.entries_name())
    }
}

/// A call that was passed on and whose answer is not with the client yet.
struct Doubt<'a> {
    proxy: &'a HttpProxy,
    call: &'a Call,
    over: bool,
}

impl Doubt<'_> {
    fn resolved(mut self) {
        self.over = true;
    }
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.proxy.failed(self.call, true);
        }
    }
}

fn set(body: &mut Value, name: &str, list: Vec<Value>) {
    if let Some(body) = body.as_object_mut() {
        body.insert(name.to_owned(), Value::Array(list));
    }
}

/// Until the client gives up, which drops this.
async fn never<T>() -> Result<T, Cut> {
    let forever: Infallible = std::future::pending().await;
    match forever {}
}
