//! OTLP over HTTP to a collector, by the client that is here anyway. The exporter works on a thread of its own, the client on ours.

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use tokio::runtime::Handle;

/// Where collectors take spans: <https://opentelemetry.io/docs/specs/otlp/#otlphttp-request>.
const PATH: &str = "/v1/traces";

/// An exporter to `http://host:port`. Calls nobody yet. Must be called within a runtime.
pub(super) fn exporter(endpoint: &str) -> anyhow::Result<SpanExporter> {
    let client = OnRuntime {
        runtime: Handle::current(),
        client: Client::builder(TokioExecutor::new()).build_http(),
    };
    let endpoint = format!("{}{PATH}", endpoint.trim_end_matches('/'));
    Ok(SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_endpoint(endpoint)
        .build()?)
}

#[derive(Debug, Clone)]
struct OnRuntime {
    runtime: Handle,
    client: Client<HttpConnector, Full<Bytes>>,
}

#[async_trait]
impl HttpClient for OnRuntime {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let answered = self.runtime.spawn(async move {
            let answer = client.request(request.map(Full::new)).await?;
            let (head, body) = answer.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok::<_, HttpError>(Response::from_parts(head, body))
        });
        answered.await?
    }
}
