//! Live changes over a real socket: everything once and in order, resumed after a cut, slow listeners dropped with a reason.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use delayq_console::access::Access;
use delayq_console::dead_letters::{LetterQuery, Letters, Redriven};
use delayq_console::error::ApiError;
use delayq_console::live::Hub;
use delayq_console::operations::{Operations, Problem, Queue, Rescheduled, Sending, Sent, Shard};
use delayq_console::{ConsolePorts, routes};
use delayq_core::clock::SystemClock;
use delayq_core::error::{ErrorClass, PortError};
use delayq_core::ports::{MessageChange, MessageFeed, MessageRegistry, Written};
use delayq_core::priority::Priority;
use delayq_core::record::{Path, Record, Scheduled, Source, TopicPartition};
use delayq_core::tracked::MessageRow;
use delayq_embedded::{MemoryMessageRegistry, MemoryTallyStore};
use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use tokio_util::sync::CancellationToken;

const LIMIT: Duration = Duration::from_secs(60);
const DUE_MS: i64 = 4_000_000_000_000;

/// What these tests do not ask for.
struct Nothing;

fn nothing<T>() -> Result<T, ApiError> {
    Err(ApiError::bad_request("not in this test"))
}

#[async_trait]
impl Operations for Nothing {
    async fn send(&self, _: Sending) -> Result<Sent, ApiError> {
        nothing()
    }
    async fn reschedule(
        &self,
        _: &MessageRow,
        _: i64,
    ) -> Result<(Rescheduled, MessageRow), ApiError> {
        nothing()
    }
    async fn dead_letters(&self, _: &LetterQuery) -> Result<Letters, ApiError> {
        nothing()
    }
    async fn dead_letter(&self, _: &str) -> Result<Option<Value>, ApiError> {
        nothing()
    }
    async fn redrive(
        &self,
        _: &[String],
        _: &[String],
        _: bool,
    ) -> Result<Vec<Redriven>, ApiError> {
        nothing()
    }
    async fn purge(&self, _: &[String], _: bool) -> Result<u64, ApiError> {
        nothing()
    }
    async fn problems(&self) -> Vec<Problem> {
        Vec::new()
    }
    async fn shards(&self) -> Result<Vec<Shard>, ApiError> {
        nothing()
    }
    async fn queues(&self) -> Result<Vec<Queue>, ApiError> {
        nothing()
    }
}

struct Bench {
    registry: Arc<MemoryMessageRegistry>,
    address: SocketAddr,
    fails: Arc<AtomicBool>,
}

/// A feed that fails once when it is told to, with whatever has come meanwhile.
struct Failing(Box<dyn MessageFeed>, Arc<AtomicBool>);

#[async_trait]
impl MessageFeed for Failing {
    async fn next(&mut self) -> Result<Vec<MessageChange>, PortError> {
        let changes = self.0.next().await?;
        if self.1.swap(false, Ordering::SeqCst) {
            return Err(PortError::new(
                ErrorClass::Transient,
                "test",
                "changes were missed",
            ));
        }
        Ok(changes)
    }
}

impl Bench {
    async fn new(access: Access) -> Self {
        let registry = Arc::new(MemoryMessageRegistry::new(Arc::new(SystemClock)));
        let hub = Hub::new("hub");
        let ports = ConsolePorts {
            registry: registry.clone(),
            index: registry.clone(),
            tallies: Arc::new(MemoryTallyStore::default()),
            upcoming: Arc::default(),
            operations: Arc::new(Nothing),
            clock: Arc::new(SystemClock),
        };
        let routes = routes(ports, hub.clone(), access, &["d".to_owned()]);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let fails = Arc::new(AtomicBool::new(false));
        let feed = Failing(Box::new(registry.feed()), fails.clone());
        let feed = Mutex::new(Some(Box::new(feed) as Box<dyn MessageFeed>));
        tokio::spawn(async move {
            let open = || {
                let feed = feed.lock().expect("unpoisoned").take();
                std::future::ready(Ok(feed.expect("opened once")))
            };
            hub.run(open, CancellationToken::new()).await;
        });
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self {
            registry,
            address,
            fails,
        }
    }

    async fn write(&self, id: &str, priority: Priority) {
        let record = Scheduled {
            source: Source {
                at: TopicPartition::new("d", 0),
                offset: 1,
            },
            output_topic: "out".into(),
            priority,
            due_ms: DUE_MS,
            timestamp_ms: DUE_MS - 1,
            id: Some(id.into()),
            path: Path::Short,
            record: Record::default(),
            payload: None,
            limit: None,
        };
        let row = MessageRow::first(record.key().expect("an id"), &record);
        assert_eq!(self.registry.write(row, None).await, Ok(Written::Done));
    }

    fn url(&self) -> String {
        format!("ws://{}/v1/live", self.address)
    }

    async fn listen(&self) -> Listener {
        Listener(connect_async(self.url()).await.expect("a socket").0)
    }
}

struct Listener(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Listener {
    async fn next(&mut self) -> Option<Value> {
        let told = tokio::time::timeout(LIMIT, self.0.next())
            .await
            .expect("in time")?;
        match told.ok()? {
            Message::Text(text) => Some(serde_json::from_str(&text).expect("JSON")),
            Message::Close(frame) => {
                let frame = frame.expect("a reason");
                Some(json!({"closed": u16::from(frame.code), "reason": frame.reason.as_str()}))
            }
            other => panic!("{other:?}"),
        }
    }

    async fn position(&mut self) -> String {
        let hello = self.next().await.expect("hello");
        let position = hello["hello"]["position"].as_str();
        position.expect("a position").to_owned()
    }

    async fn ask(&mut self, subscribe: Value, after: Option<&str>) {
        let text = json!({"subscribe": subscribe, "after": after}).to_string();
        self.0.send(Message::text(text)).await.expect("sent");
    }

    /// Id and position of the next change.
    async fn change(&mut self) -> (String, String) {
        let told = self.next().await.expect("a change");
        let text = |path: &str| told.pointer(path).and_then(Value::as_str);
        let id = text("/change/message/id").unwrap_or_else(|| panic!("{told}"));
        let position = text("/change/position").expect("a position");
        (id.to_owned(), position.to_owned())
    }
}

/// A number that was not used before.
fn number() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::SeqCst)
}

#[tokio::test]
async fn a_listener_that_was_cut_off_misses_nothing_and_gets_nothing_twice() {
    let bench = Bench::new(Access::default()).await;
    let mut first = bench.listen().await;
    first.position().await;
    for n in 0..5 {
        bench.write(&format!("o-{n}"), Priority::High).await;
    }
    assert_eq!(first.change().await.0, "o-0");
    let (id, seen) = first.change().await;
    assert_eq!(id, "o-1");
    drop(first);
    bench.write("o-5", Priority::High).await;
    let mut again = bench.listen().await;
    again.position().await;
    again.ask(json!({}), Some(&seen)).await;
    for n in 2..6 {
        assert_eq!(again.change().await.0, format!("o-{n}"));
    }
    bench.write("o-6", Priority::High).await;
    assert_eq!(again.change().await.0, "o-6", "and goes on");
}

#[tokio::test]
async fn a_position_that_is_not_known_is_a_gap_and_changes_follow() {
    let bench = Bench::new(Access::default()).await;
    for after in ["another-3", "hub-99", "nonsense", "hub-x"] {
        let mut listener = bench.listen().await;
        listener.position().await;
        listener.ask(json!({}), Some(after)).await;
        let gap = listener.next().await.expect("an answer");
        assert!(gap["gap"]["reason"].as_str().is_some(), "{after}: {gap}");
        bench.write(&format!("after-{after}"), Priority::Low).await;
        assert_eq!(listener.change().await.0, format!("after-{after}"));
    }
}

#[tokio::test]
async fn what_the_feed_has_missed_is_a_gap_for_everybody() {
    let bench = Bench::new(Access::default()).await;
    let mut listener = bench.listen().await;
    listener.position().await;
    bench.write("before", Priority::High).await;
    let (_, seen) = listener.change().await;
    bench.fails.store(true, Ordering::SeqCst);
    bench.write("missed", Priority::High).await;
    let gap = listener.next().await.expect("an answer");
    let reason = gap["gap"]["reason"].as_str().expect("a reason");
    assert!(reason.contains("list again"), "{reason}");
    bench.write("after", Priority::High).await;
    assert_eq!(listener.change().await.0, "after");
    // Nor can anybody go on from before.
    let mut again = bench.listen().await;
    again.position().await;
    again.ask(json!({}), Some(&seen)).await;
    assert!(again.next().await.expect("an answer").get("gap").is_some());
}

#[tokio::test]
async fn a_listener_gets_what_it_asked_for() {
    let bench = Bench::new(Access::default()).await;
    let mut listener = bench.listen().await;
    listener.position().await;
    // The answer shows that the subscription holds.
    listener
        .ask(json!({"priority": "low", "topic": "d"}), Some("nowhere-1"))
        .await;
    assert!(
        listener
            .next()
            .await
            .expect("an answer")
            .get("gap")
            .is_some()
    );
    for n in 0..3 {
        bench.write(&format!("high-{n}"), Priority::High).await;
        bench.write(&format!("low-{n}"), Priority::Low).await;
    }
    for n in 0..3 {
        assert_eq!(listener.change().await.0, format!("low-{n}"));
    }
}

#[tokio::test]
async fn nonsense_is_answered_with_a_reason() {
    let bench = Bench::new(Access::default()).await;
    for text in ["", "{}", r#"{"subscribe": {"prio": "low"}, "after": null}"#] {
        let mut listener = bench.listen().await;
        listener.position().await;
        listener.0.send(Message::text(text)).await.expect("sent");
        let closed = listener.next().await.expect("a reason");
        assert_eq!(closed["closed"], 4000, "{text}: {closed}");
        let reason = closed["reason"].as_str().expect("a reason");
        assert!(reason.contains("not a subscription"), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_reads_too_slowly_is_dropped_and_the_others_are_not() {
    const COUNT: usize = 40_000;
    let bench = Bench::new(Access::default()).await;
    let mut slow = bench.listen().await;
    slow.position().await;
    let mut quick = bench.listen().await;
    quick.position().await;
    let (tell, mut told) = tokio::sync::watch::channel(0);
    let reading = tokio::spawn(async move {
        for n in 1..=COUNT {
            quick.change().await;
            tell.send_replace(n);
        }
    });
    // Far more than the sockets' own buffers and what a listener may be behind; no faster than the quick one reads.
    for n in 0..COUNT {
        let id = format!("an-id-that-takes-room-{:0120}", number());
        bench.write(&id, Priority::High).await;
        if n % 500 == 0 {
            told.wait_for(|read| *read + 1_000 >= n)
                .await
                .expect("it reads");
        }
    }
    reading.await.expect("read all");
    let mut last = None;
    while let Some(told) = slow.next().await {
        last = Some(told);
    }
    let last = last.expect("something");
    assert_eq!(last["closed"], 4008, "{last}");
    let reason = last["reason"].as_str().expect("a reason");
    assert!(reason.contains("too slow"), "{reason}");
}

#[tokio::test]
async fn without_the_token_there_is_no_socket() {
    let access = Access {
        viewer: Some("view".to_owned()),
        operator: Some("operate".to_owned()),
        oidc: None,
    };
    let bench = Bench::new(access).await;
    assert!(connect_async(bench.url()).await.is_err());
    let mut request = bench.url().into_client_request().expect("a request");
    let protocols = "delayq, token.view".parse().expect("a value");
    request
        .headers_mut()
        .insert("sec-websocket-protocol", protocols);
    let (socket, answer) = connect_async(request).await.expect("a socket");
    assert_eq!(answer.headers()["sec-websocket-protocol"], "delayq");
    Listener(socket).position().await;
}
