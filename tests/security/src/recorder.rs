//! In front of SQS and DynamoDB: passes everything on, and keeps which IAM action each call takes, and on what.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::net::TcpListener;

/// An action, and the name of the queue, table, index (`table/index`) or stream (`table/stream`) that it was on.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// As a policy names it: `sqs:SendMessage`.
    pub action: String,
    /// Without account and region.
    pub resource: String,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.action, self.resource)
    }
}

/// The two endpoints of one role.
pub struct Recorder {
    /// Instead of SQS.
    pub sqs: String,
    /// Instead of DynamoDB.
    pub dynamodb: String,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    calls: BTreeSet<Call>,
    /// The next call with this text is not answered well.
    fail_next: Option<(&'static str, Duration)>,
}

#[derive(Clone)]
struct Line {
    upstream: String,
    client: Client<HttpConnector, Body>,
    kept: Arc<Mutex<Kept>>,
}

fn locked(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Recorder {
    /// Starts it on ports of its own. It ends with the process.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(sqs: &str, dynamodb: &str) -> anyhow::Result<Self> {
        let kept = Arc::<Mutex<Kept>>::default();
        Ok(Self {
            sqs: listen(sqs, &kept).await?,
            dynamodb: listen(dynamodb, &kept).await?,
            kept,
        })
    }

    /// What has been called so far.
    #[must_use]
    pub fn calls(&self) -> BTreeSet<Call> {
        locked(&self.kept).calls.clone()
    }

    /// The next call with `text` in its body has its effect, and status 500 in place of its answer, after that time.
    pub fn fail_next(&self, text: &'static str, after: Duration) {
        locked(&self.kept).fail_next = Some((text, after));
    }
}

async fn listen(upstream: &str, kept: &Arc<Mutex<Kept>>) -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .context("a port for a recorder")?;
    let address = format!("http://{}", listener.local_addr()?);
    let line = Line {
        upstream: upstream.to_owned(),
        client: Client::builder(TokioExecutor::new()).build_http(),
        kept: kept.clone(),
    };
    let app = Router::new().fallback(pass_on).with_state(line);
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(address)
}

async fn pass_on(State(line): State<Line>, request: Request) -> Response {
    match line.pass_on(request).await {
        Ok(answer) => answer,
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")).into_response(),
    }
}

impl Line {
    async fn pass_on(&self, request: Request) -> anyhow::Result<Response> {
        let (mut head, body) = request.into_parts();
        let bytes = to_bytes(body, usize::MAX).await?;
        let calls = calls(&head.headers, &bytes)?;
        let fails = {
            let mut kept = locked(&self.kept);
            let body = String::from_utf8_lossy(&bytes);
            let fails = kept.fail_next.take_if(|(text, _)| body.contains(*text));
            kept.calls.extend(calls);
            fails
        };
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        head.uri = format!("{}{path}", self.upstream).parse::<Uri>()?;
        let answer = self
            .client
            .request(Request::from_parts(head, Body::from(bytes)))
            .await?;
        if let Some((_, after)) = fails {
            tokio::time::sleep(after).await;
            anyhow::bail!("the answer is kept back");
        }
        Ok(answer.map(Body::new))
    }
}

/// `AmazonSQS.SendMessageBatch`, `DynamoDB_20120810.PutItem`, `DynamoDBStreams_20120810.GetRecords`.
fn calls(headers: &HeaderMap, body: &Bytes) -> anyhow::Result<Vec<Call>> {
    let target = headers
        .get("x-amz-target")
        .context("a call without x-amz-target")?
        .to_str()?;
    let (api, operation) = target.split_once('.').context(target.to_owned())?;
    let body: Value = serde_json::from_slice(body)?;
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    let (service, resources) = if api.starts_with("AmazonSQS") {
        let name = text("QueueName").or_else(|| text("QueueUrl")?.rsplit('/').next());
        ("sqs", name.map(|name| vec![name.to_owned()]))
    } else if api.starts_with("DynamoDBStreams") {
        let stream = text("StreamArn").or_else(|| text("ShardIterator"));
        (
            "dynamodb",
            stream
                .and_then(table_of_stream)
                .map(|table| vec![format!("{table}/stream")]),
        )
    } else if let Some(tables) = body.get("RequestItems").and_then(Value::as_object) {
        ("dynamodb", Some(tables.keys().cloned().collect()))
    } else {
        let index = text("IndexName").map_or_else(String::new, |index| format!("/{index}"));
        (
            "dynamodb",
            text("TableName").map(|table| vec![format!("{table}{index}")]),
        )
    };
    // A policy knows the calls of one entry: SendMessage is also the right to send many.
    let operation = match service {
        "sqs" => operation.strip_suffix("Batch").unwrap_or(operation),
        _ => operation,
    };
    let resources = resources.with_context(|| format!("{target} names no resource: {body}"))?;
    Ok(resources
        .into_iter()
        .map(|resource| Call {
            action: format!("{service}:{operation}"),
            resource,
        })
        .collect())
}

/// `arn:aws:dynamodb:ddblocal:000000000000:table/<name>/stream/<label>`; an iterator begins or ends with it.
fn table_of_stream(text: &str) -> Option<String> {
    let (_, rest) = text.split_once(":table/")?;
    Some(rest.split('/').next()?.to_owned())
}
