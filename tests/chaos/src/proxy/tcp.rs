//! In front of Kafka: bytes, whose meaning it does not know.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use super::Switch;
use crate::plan::NetFault;

const PIECE_BYTES: usize = 64 * 1024;

/// Which way bytes go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Requests,
    Answers,
}

/// Passes connections on to `upstream`, until the process ends.
pub(crate) fn start(listener: TcpListener, upstream: SocketAddr, switch: Arc<Switch>) {
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let switch = switch.clone();
                    tokio::spawn(async move {
                        if let Err(error) = connection(stream, upstream, &switch).await {
                            tracing::debug!(%error, "a connection to Kafka ended");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the proxy of Kafka could not accept");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    });
}

async fn connection(
    client: TcpStream,
    upstream: SocketAddr,
    switch: &Switch,
) -> anyhow::Result<()> {
    let server = TcpStream::connect(upstream)
        .await
        .context("Kafka is away")?;
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
        // Dropped, a connection is reset and not closed in order.
        stream.set_zero_linger()?;
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    // The first that ends takes the other with it.
    tokio::select! {
        ended = pass(from_client, to_server, Way::Requests, switch) => ended,
        ended = pass(from_server, to_client, Way::Answers, switch) => ended,
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    way: Way,
    switch: &Switch,
) -> anyhow::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = from.read(&mut piece).await?;
        let Some(bytes) = piece.get(..read).filter(|bytes| !bytes.is_empty()) else {
            return Ok(());
        };
        if let Some(fault) = switch.now() {
            match (fault, way) {
                (NetFault::Delay(ms), _) => {
                    switch.hit(fault);
                    tokio::time::sleep(Duration::from_millis(switch.up_to(ms))).await;
                }
                // Not each piece: some must get through for there to be something to reset.
                (NetFault::ResetRequest, Way::Requests) | (NetFault::ResetAnswer, Way::Answers)
                    if switch.draw().is_some() =>
                {
                    anyhow::bail!("reset");
                }
                (NetFault::Silent, Way::Requests) | (NetFault::SilentAnswer, Way::Answers) => {
                    switch.hit(fault);
                    switch.changed_from(fault).await;
                }
                _ => {}
            }
        }
        to.write_all(bytes).await?;
    }
}
