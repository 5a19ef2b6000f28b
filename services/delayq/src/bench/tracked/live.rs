//! Changes of the registry in memory, told by a console over loopback to many WebSocket clients. Clients and console share this
//! process: what is measured is both.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use delayq_core::clock::{Clock, EpochMs, SystemClock};
use delayq_core::ports::{MessageRegistry, Written};
use delayq_core::priority::Priority;
use delayq_core::record::Path;
use delayq_core::tracked::{Details, KEPT_MS, MessageKey, MessageRow, State, Version};
use delayq_runtime::config::Config;
use delayq_runtime::health::Health;
use futures::{StreamExt as _, TryStreamExt as _};
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};
use tokio_util::sync::CancellationToken;

use crate::console::Console;
use crate::embedded::EmbeddedTiers;

/// How long changes are written, seconds.
const FOR_S: u32 = 5;
/// Connections that are being made.
const CONNECTING: usize = 50;
const CONNECTED: Duration = Duration::from_secs(30);
/// A client that was told nothing for so long is told nothing more.
const PATIENCE: Duration = Duration::from_secs(20);
/// Open files of this process besides the sockets of the clients, about.
const OTHER_FILES: u64 = 200;
/// Of each client: the default of 128 KiB is for large frames.
const READ_BUFFER_BYTES: usize = 8 * 1024;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// What is measured.
pub(super) struct Live {
    pub(super) clients: u32,
    pub(super) per_s: u32,
}

/// How it went.
pub(super) struct Told {
    pub(super) figures: Value,
    /// Changes that a client was not told of.
    pub(super) missed: u64,
}

/// What one client was told.
struct Heard {
    /// From the write of a change to its receipt.
    delays_ms: Vec<u64>,
    /// Closed by the console, or cut off.
    dropped: Option<String>,
}

/// Whether this process may open two sockets for each client.
///
/// # Errors
/// It may not.
pub(super) fn check_open_files(clients: u32) -> anyhow::Result<()> {
    // Other systems than Linux have no such file: there the connections themselves tell.
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    let needed = 2 * u64::from(clients) + OTHER_FILES;
    match soft {
        Some(soft) if soft < needed => bail!(
            "{clients} WebSocket clients and their console need about {needed} open files, and the limit is {soft}: \
             raise it (ulimit -n {needed}) or give fewer --clients"
        ),
        _ => Ok(()),
    }
}

impl Live {
    /// Runs a console and its clients. `config`: of the stage; the console asks nothing of its broker.
    pub(super) async fn measure(&self, config: &Config) -> anyhow::Result<Told> {
        let mut config = config.clone();
        "127.0.0.1:0".clone_into(&mut config.console.listen);
        let mut tiers = EmbeddedTiers::default().backends();
        let (registry, feed) = (tiers.registry.clone(), tiers.feed.clone());
        let (opened, stop) = (CancellationToken::new(), CancellationToken::new());
        let is_open = opened.clone();
        // A change before the feed is open is told to nobody.
        tiers.feed = Arc::new(move || {
            let feed = feed();
            is_open.cancel();
            feed
        });
        let console = Console::bind(&config, tiers, &Health::new()).await?;
        let url = format!("ws://{}/v1/live", console.address()?);
        let serving = tokio::spawn(console.serve(stop.clone()));
        opened.cancelled().await;
        let measured = self.with_clients(&url, registry).await;
        stop.cancel();
        serving.await??;
        measured
    }

    async fn with_clients(
        &self,
        url: &str,
        registry: Arc<dyn MessageRegistry>,
    ) -> anyhow::Result<Told> {
        let changes = self.per_s * FOR_S;
        let started = Instant::now();
        let clients: Vec<Socket> = futures::stream::iter((0..self.clients).map(|_| connect(url)))
            .buffer_unordered(CONNECTING)
            .try_collect()
            .await?;
        let connecting_ms = started.elapsed().as_millis() as u64;
        let mut listening = JoinSet::new();
        for client in clients {
            listening.spawn(listen(client, changes));
        }
        let per_s = self.per_s;
        let runtime = tokio::runtime::Handle::current();
        // On a thread of its own: however busy the others are, changes are written at their moments.
        let writing = tokio::task::spawn_blocking(move || {
            runtime.block_on(write_paced(registry.as_ref(), per_s, changes))
        });
        let behind_max = writing.await??;
        let (mut delays_ms, mut dropped) = (Histogram::<u64>::new(3)?, 0_u32);
        while let Some(heard) = listening.join_next().await {
            let heard = heard?;
            for delay_ms in heard.delays_ms {
                delays_ms.record(delay_ms)?;
            }
            if let Some(reason) = heard.dropped {
                tracing::warn!(reason, "a client was dropped");
                dropped += 1;
            }
        }
        let expected = u64::from(self.clients) * u64::from(changes);
        let missed = expected.saturating_sub(delays_ms.len());
        let figures = json!({
            "clients": self.clients, "connecting_ms": connecting_ms, "changes_per_s": per_s,
            "changes": changes, "expected": expected, "received": delays_ms.len(), "missed": missed,
            "clients_dropped": dropped, "writer_behind_ms_max": behind_max.as_millis() as u64,
            "took_ms": started.elapsed().as_millis() as u64 - connecting_ms,
            "delay_ms": {
                "p50": delays_ms.value_at_quantile(0.5), "p99": delays_ms.value_at_quantile(0.99), "max": delays_ms.max(),
            },
        });
        Ok(Told { figures, missed })
    }
}

/// Connects, and returns once the console has said hello: it listens for this client then.
async fn connect(url: &str) -> anyhow::Result<Socket> {
    let connected = async {
        let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES);
        let (mut socket, _) = connect_async_with_config(url, Some(config), true).await?;
        match socket.next().await {
            Some(Ok(Message::Text(hello))) if hello.contains("\"hello\"") => Ok(socket),
            other => bail!("a WebSocket that does not say hello: {other:?}"),
        }
    };
    let connected = tokio::time::timeout(CONNECTED, connected).await;
    let refused = "a WebSocket client was refused; of a limit on open files `ulimit -n` tells";
    connected.context(refused)?.context(refused)
}

/// Until all changes were told, or none for a time.
async fn listen(mut socket: Socket, changes: u32) -> Heard {
    let mut heard = Heard {
        delays_ms: Vec::with_capacity(usize::try_from(changes).unwrap_or(0)),
        dropped: None,
    };
    let mut last = 0;
    while last < u64::from(changes) {
        match tokio::time::timeout(PATIENCE, socket.next()).await {
            Ok(Some(Ok(Message::Text(text)))) => {
                let now_ms = SystemClock.now_ms();
                // Numbers rise: one that does not was told before.
                if let Some((number, at_ms)) = read_change(&text).filter(|(n, _)| *n > last) {
                    last = number;
                    let delay_ms = u64::try_from(now_ms - at_ms).unwrap_or(0);
                    heard.delays_ms.push(delay_ms);
                }
            }
            Ok(Some(Ok(Message::Close(frame)))) => {
                heard.dropped = Some(format!("closed: {frame:?}"));
                break;
            }
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(error))) => {
                heard.dropped = Some(error.to_string());
                break;
            }
            Ok(None) => {
                heard.dropped = Some("cut off".to_owned());
                break;
            }
            Err(_) => break,
        }
    }
    heard
}

/// Number and time of a change. Picked out of the text: to read all of it, a million times, would be most of what is measured.
fn read_change(text: &str) -> Option<(u64, EpochMs)> {
    let change = text.strip_prefix("{\"change\":")?;
    let (_, position) = change.split_once("\"position\":\"")?;
    let (_, number) = position.split_once('"')?.0.rsplit_once('-')?;
    let (_, at_ms) = change.split_once("\"at_ms\":")?;
    let at_ms = at_ms.split([',', '}']).next()?;
    Some((number.parse().ok()?, at_ms.parse().ok()?))
}

/// Writes each change at its moment; answers with how far behind that was at most.
async fn write_paced(
    registry: &dyn MessageRegistry,
    per_s: u32,
    changes: u32,
) -> anyhow::Result<Duration> {
    let gap = Duration::from_secs_f64(1.0 / f64::from(per_s.max(1)));
    let started = Instant::now();
    let mut behind_max = Duration::ZERO;
    for n in 0..changes {
        let moment = gap * n;
        std::thread::sleep(moment.saturating_sub(started.elapsed()));
        behind_max = behind_max.max(started.elapsed().saturating_sub(moment));
        let written = registry.write(change(n), None).await.context("a change")?;
        if written != Written::Done {
            bail!("change {n} met another row");
        }
    }
    Ok(behind_max)
}

fn change(n: u32) -> MessageRow {
    let now_ms = SystemClock.now_ms();
    MessageRow {
        key: MessageKey {
            topic: "delay".into(),
            id: format!("order-{n}-timeout").into(),
        },
        version: Version {
            partition: 0,
            offset: i64::from(n),
            appended_ms: now_ms,
        },
        revision: 1,
        details: Some(Details {
            due_ms: now_ms + 60_000,
            output_topic: "orders.high".into(),
            priority: Priority::High,
            path: Path::Short,
        }),
        state: State::Scheduled,
        overlaps: false,
        expires_s: (now_ms + KEPT_MS).div_euclid(1000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_read_wherever_its_fields_stand() {
        let told = r#"{"change":{"at_ms":17,"message":{"id":"a-1"},"position":"name-23"}}"#;
        assert_eq!(read_change(told), Some((23, 17)));
        let told = r#"{"change":{"position":"name-23","message":{"id":"a-1"},"at_ms":17}}"#;
        assert_eq!(read_change(told), Some((23, 17)));
        assert_eq!(read_change(r#"{"ping":17}"#), None);
    }
}
