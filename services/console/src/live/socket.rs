//! A listener: says what it wants to see, gets that, and is dropped with a reason when it is too slow.

use std::borrow::Cow;
use std::future::Future;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message as Frame, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use delayq_core::clock::Clock;
use futures::SinkExt as _;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::hub::{Hub, Listening, News, Told};
use crate::Shared;
use crate::access::{PROTOCOL, Who};
use crate::message::Message;

/// How often it is looked whether the other side is there.
const PING_EVERY: Duration = Duration::from_secs(15);
/// How long a frame may take to leave.
const SEND_WITHIN: Duration = Duration::from_secs(10);
/// Changes that leave together, at most.
const AT_ONCE: usize = 64;
/// Longest frame of a listener, in bytes.
const ASKED_MAX_BYTES: usize = 16 * 1024;
/// Close code: reads too slowly. Of the range that applications may use.
const TOO_SLOW: u16 = 4008;
/// Close code: who it is has to be proved again.
const SIGNED_OUT: u16 = 4001;
/// Close code: what it sent makes no sense.
const NONSENSE: u16 = 4000;

/// What a listener wants to see: everything where nothing is said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Subscription {
    topic: Option<String>,
    target: Option<String>,
    priority: Option<String>,
    state: Option<String>,
    id: Option<String>,
}

/// What a listener sends.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    subscribe: Subscription,
    after: Option<String>,
}

impl Subscription {
    fn wants(&self, message: &Message) -> bool {
        let is = |asked: &Option<String>, found: Option<&str>| {
            asked.as_ref().is_none_or(|asked| found == Some(asked))
        };
        is(&self.topic, Some(&message.topic))
            && is(&self.target, message.output_topic.as_deref())
            && is(&self.priority, message.priority)
            && is(&self.state, Some(message.state))
            && is(&self.id, Some(&message.id))
    }
}

/// Why a listener is let go.
enum Gone {
    /// It left, or cannot be reached.
    Left,
    /// Told so.
    Dropped(u16, Cow<'static, str>),
}

pub(crate) async fn connect(
    State(shared): State<Shared>,
    Extension(who): Extension<Who>,
    upgrade: WebSocketUpgrade,
) -> Response {
    upgrade
        .protocols([PROTOCOL])
        .max_message_size(ASKED_MAX_BYTES)
        .on_upgrade(move |socket| async move {
            let clock = shared.ports.clock;
            let left_ms = who
                .until_ms
                .map(|until_ms| until_ms.saturating_sub(clock.now_ms()));
            listen(socket, &shared.hub, clock.as_ref(), left_ms).await;
        })
}

/// `left_ms`: how long who it is counts as proved.
async fn listen(mut socket: WebSocket, hub: &Hub, clock: &dyn Clock, left_ms: Option<i64>) {
    if let Gone::Dropped(code, reason) = follow(&mut socket, hub, clock, left_ms).await {
        metrics::counter!(DROPPED).increment(1);
        tracing::info!(code, %reason, "a listener is dropped");
        let close = Frame::Close(Some(CloseFrame {
            code,
            reason: reason.as_ref().into(),
        }));
        // It may be gone already.
        drop(timeout(SEND_WITHIN, socket.send(close)).await);
    }
}

/// Counter: listeners that were dropped.
pub(crate) const DROPPED: &str = "delayq_console_listeners_dropped_total";

async fn follow(
    socket: &mut WebSocket,
    hub: &Hub,
    clock: &dyn Clock,
    left_ms: Option<i64>,
) -> Gone {
    let signed_out = signed_out(left_ms);
    tokio::pin!(signed_out);
    let mut listening = hub.listen(None);
    let mut subscription = Subscription::default();
    let hello = json!({"hello": {"position": listening.position, "now_ms": clock.now_ms()}});
    if let Err(gone) = send(socket, hello.to_string()).await {
        return gone;
    }
    let mut ping = interval(PING_EVERY);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ping.reset();
    loop {
        let sent = tokio::select! {
            told = listening.receiver.recv() => match told {
                Ok(news) => send_all(socket, &subscription, news, &mut listening.receiver).await,
                Err(error) => Err(no_more(&error)),
            },
            () = &mut signed_out => {
                let reason = "the sign-in has expired: sign in again";
                return Gone::Dropped(SIGNED_OUT, reason.into());
            }
            _ = ping.tick() => send(socket, json!({"ping": clock.now_ms()}).to_string()).await,
            frame = socket.recv() => match frame {
                Some(Ok(Frame::Text(text))) => match serde_json::from_str::<Asked>(&text) {
                    Ok(asked) => {
                        subscription = asked.subscribe;
                        match asked.after {
                            Some(after) => {
                                listening = hub.listen(Some(&after));
                                catch_up(socket, &subscription, &mut listening).await
                            }
                            None => Ok(()),
                        }
                    }
                    Err(error) => Err(Gone::Dropped(NONSENSE, format!("not a subscription: {error}").into())),
                },
                Some(Ok(Frame::Ping(_) | Frame::Pong(_))) => Ok(()),
                Some(Ok(Frame::Binary(_))) => Err(Gone::Dropped(NONSENSE, "send text".into())),
                Some(Ok(Frame::Close(_)) | Err(_)) | None => return Gone::Left,
            },
        };
        if let Err(gone) = sent {
            return gone;
        }
    }
}

/// Ends when who it is has to be proved again.
async fn signed_out(left_ms: Option<i64>) {
    match left_ms {
        Some(left_ms) => sleep(Duration::from_millis(left_ms.max(0).unsigned_abs())).await,
        None => std::future::pending().await,
    }
}

/// What was missed, or that it is not known any more.
async fn catch_up(
    socket: &mut WebSocket,
    subscription: &Subscription,
    listening: &mut Listening,
) -> Result<(), Gone> {
    match listening.missed.take() {
        Some(missed) => {
            for told in &missed {
                feed_wanted(socket, subscription, told).await?;
            }
            in_time(socket.flush()).await
        }
        None => {
            let reason =
                "that position is too long ago, or of another start of the console: list again";
            in_time(socket.send(gap(reason))).await
        }
    }
}

/// Why nothing more comes.
fn no_more(error: &RecvError) -> Gone {
    match error {
        RecvError::Lagged(missed) => {
            let reason =
                format!("too slow: {missed} changes behind; come back with the last position");
            Gone::Dropped(TOO_SLOW, reason.into())
        }
        RecvError::Closed => Gone::Dropped(1001, "the console stops".into()),
    }
}

/// A change, and those that have come meanwhile: a system call for each would be most of the work.
async fn send_all(
    socket: &mut WebSocket,
    subscription: &Subscription,
    first: News,
    receiver: &mut Receiver<News>,
) -> Result<(), Gone> {
    let mut next = Some(first);
    for _ in 0..AT_ONCE {
        let Some(news) = next.take() else { break };
        feed_news(socket, subscription, &news).await?;
        next = match receiver.try_recv() {
            Ok(news) => Some(news),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Lagged(missed)) => return Err(no_more(&RecvError::Lagged(missed))),
            Err(TryRecvError::Closed) => return Err(no_more(&RecvError::Closed)),
        };
    }
    if let Some(news) = next {
        feed_news(socket, subscription, &news).await?;
    }
    in_time(socket.flush()).await
}

async fn feed_news(
    socket: &mut WebSocket,
    subscription: &Subscription,
    news: &News,
) -> Result<(), Gone> {
    match news {
        News::Change(told) => feed_wanted(socket, subscription, told).await,
        News::Gap(reason) => in_time(socket.feed(gap(reason))).await,
    }
}

fn gap(reason: &str) -> Frame {
    Frame::Text(json!({"gap": {"reason": reason}}).to_string().into())
}

async fn feed_wanted(
    socket: &mut WebSocket,
    subscription: &Subscription,
    told: &Told,
) -> Result<(), Gone> {
    if !subscription.wants(&told.message) {
        return Ok(());
    }
    in_time(socket.feed(Frame::Text(told.text.to_string().into()))).await
}

async fn send(socket: &mut WebSocket, text: String) -> Result<(), Gone> {
    in_time(socket.send(Frame::Text(text.into()))).await
}

/// What a socket does, if it does it in time.
async fn in_time(work: impl Future<Output = Result<(), axum::Error>>) -> Result<(), Gone> {
    match timeout(SEND_WITHIN, work).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Gone::Left),
        Err(_) => Err(Gone::Dropped(
            TOO_SLOW,
            "too slow: a change could not be sent".into(),
        )),
    }
}
