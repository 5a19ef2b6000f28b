//! Records whose producer traces them have a span when they are received and one when they are published, in the producer's trace.

#![allow(clippy::expect_used, reason = "tests fail by panicking")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use delayq::role::Role;
use delayq_e2e::produce::record;
use delayq_e2e::{Deployment, Producer, read_until, stack};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::net::TcpListener;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
const LIMIT: Duration = Duration::from_secs(60);

/// Takes what a collector would.
async fn collector() -> (String, Arc<Mutex<Vec<Span>>>) {
    let spans = Arc::<Mutex<Vec<Span>>>::default();
    let into = spans.clone();
    let take = move |body: Bytes| {
        let request = ExportTraceServiceRequest::decode(body).expect("OTLP");
        let resources = request.resource_spans.into_iter();
        let scopes = resources.flat_map(|resource| resource.scope_spans);
        let taken = scopes.flat_map(|scope| scope.spans);
        into.lock().expect("no panic").extend(taken);
        async { Vec::new() }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let app = Router::new().route("/v1/traces", post(take));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (format!("http://{address}"), spans)
}

fn attribute(span: &Span, name: &str) -> Option<String> {
    let found = span.attributes.iter().find(|one| one.key == name)?;
    Some(match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sampled_record_is_followed_through_each_path_and_others_are_not() {
    let (endpoint, spans) = collector().await;
    let deployment = Deployment::new(&[&format!("traces.otlp_endpoint={endpoint}")]).await;
    deployment.init(&["orders"]).await;
    let replica = deployment.start(&Role::ALL);
    let kafka = &stack().await.endpoints().kafka;
    let topic = format!("{}.delay", deployment.prefix);
    let producer = Producer::new(kafka, &topic);
    let target = deployment.target("orders");
    let output = format!("{target}.standard");
    let arrived = async |count: usize| {
        let topics = std::slice::from_ref(&output);
        let arrived = read_until(kafka, topics, LIMIT, |arrived| arrived.len() >= count).await;
        assert_eq!(arrived.len(), count);
        arrived
    };
    // What is overdue when it is first read goes past the tiers.
    let headers = [("delay-target", target.as_str()), ("delay-ms", "0")];
    producer.send(record(None, Some("v"), &headers)).await;
    arrived(1).await;
    let paths = [("direct", "0"), ("short", "3000"), ("long", "20000")];
    for (_, delay) in paths {
        for flags in ["01", "00"] {
            let parent = format!("00-{TRACE}-{PARENT}-{flags}");
            let headers = [
                ("delay-target", target.as_str()),
                ("delay-ms", delay),
                ("traceparent", &parent),
            ];
            producer.send(record(None, Some("v"), &headers)).await;
        }
    }
    let arrived = arrived(7).await;
    // The context is the producer's, as it was written.
    let passed = |flags: &str| {
        let parent = format!("00-{TRACE}-{PARENT}-{flags}");
        let has = |one: &&delayq_e2e::Arrived| one.text("traceparent") == Some(parent.as_str());
        arrived.iter().filter(has).count()
    };
    assert_eq!((passed("01"), passed("00")), (3, 3));
    // A clean stop sends the last spans.
    replica.stop().await;

    let spans = spans.lock().expect("no panic").clone();
    for span in &spans {
        assert_eq!(hex(&span.trace_id), TRACE);
        assert_eq!(hex(&span.parent_span_id), PARENT);
        let linked: Vec<_> = span.links.iter().map(|link| hex(&link.span_id)).collect();
        assert_eq!(linked, [PARENT]);
    }
    let received = spans
        .iter()
        .filter(|span| span.name == format!("receive {topic}"));
    assert_eq!(received.count(), 3);
    let published: Vec<_> = spans
        .iter()
        .filter(|span| span.name == format!("publish {output}"))
        .collect();
    for (path, _) in paths {
        let of: Vec<_> = published
            .iter()
            .filter(|span| attribute(span, "delayq.path").as_deref() == Some(path))
            .collect();
        assert_eq!(of.len(), 1, "{path}: {spans:#?}");
        // From due to confirmed: how late it was.
        let due_ms = attribute(of[0], "delayq.due_ms").expect("due");
        assert_eq!((of[0].start_time_unix_nano / 1_000_000).to_string(), due_ms);
        assert!(of[0].end_time_unix_nano >= of[0].start_time_unix_nano);
    }
    assert_eq!(published.len(), 3);
    assert_eq!(spans.len(), 6);
}

/// Whoever only watches must not stand in the way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_away_delays_nothing() {
    let deployment = Deployment::new(&["traces.otlp_endpoint=http://127.0.0.1:9"]).await;
    deployment.init(&["orders"]).await;
    let replica = deployment.start(&Role::ALL);
    let kafka = &stack().await.endpoints().kafka;
    let producer = Producer::new(kafka, &format!("{}.delay", deployment.prefix));
    let target = deployment.target("orders");
    let parent = format!("00-{TRACE}-{PARENT}-01");
    let headers = [
        ("delay-target", target.as_str()),
        ("delay-ms", "0"),
        ("traceparent", &parent),
    ];
    let records = vec![record(None, Some("v"), &headers); 3_000];
    Arc::new(producer).send_all(records).await;
    let output = [format!("{target}.standard")];
    let arrived = read_until(kafka, &output, LIMIT, |arrived| arrived.len() >= 3_000).await;
    assert_eq!(arrived.len(), 3_000);
    replica.stop().await;
}
