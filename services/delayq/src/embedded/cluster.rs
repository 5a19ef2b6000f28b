//! A Kafka broker in this process, on loopback: the mock cluster of librdkafka.
//! <https://github.com/confluentinc/librdkafka/blob/master/src/rdkafka_mock.h>
//!
//! It speaks enough of the protocol for clients on librdkafka and kafka-python 2. It keeps at most 5 MiB or 100,000 records a
//! partition, knows no `LogAppendTime` and no admin calls, and Java's client, kafkajs and franz-go do not work with it.

use std::net::SocketAddr;

use anyhow::Context as _;
use delayq_runtime::config::Config;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::PARTITIONS;
use crate::topology;

/// A broker; it ends when dropped.
pub struct EmbeddedKafka {
    cluster: MockCluster<'static, DefaultProducerContext>,
    address: SocketAddr,
    door: JoinHandle<()>,
}

impl EmbeddedKafka {
    /// Starts it; clients find it at `listen`, which may have port 0 for any.
    ///
    /// # Errors
    /// `listen` is taken or not this machine's.
    pub async fn start(listen: &str) -> anyhow::Result<Self> {
        let cluster = MockCluster::new(1).context("the embedded Kafka broker")?;
        let broker = cluster.bootstrap_servers();
        // The mock chooses a port of its own: a door at a known address leads there. Clients bootstrap through it and are
        // told the broker's own address.
        let listener = TcpListener::bind(listen).await.with_context(|| {
            format!(
                "cannot listen on {listen} for Kafka clients: choose another address with --kafka"
            )
        })?;
        let address = listener.local_addr()?;
        let door = tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((client, _)) => {
                        tokio::spawn(pass(client, broker.clone()));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a Kafka client could not be accepted");
                        tokio::task::yield_now().await;
                    }
                }
            }
        });
        Ok(Self {
            cluster,
            address,
            door,
        })
    }

    /// Where clients find it.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Creates the delay topics, the dead-letter topic, and the output topics of `targets`.
    ///
    /// # Errors
    /// The broker refuses, for one because a topic exists.
    pub fn create_topics(&self, config: &Config, targets: &[String]) -> anyhow::Result<()> {
        for topic in topology::topics(config, targets) {
            self.cluster
                .create_topic(&topic.name, PARTITIONS, 1)
                .with_context(|| topic.label())?;
        }
        Ok(())
    }
}

impl Drop for EmbeddedKafka {
    fn drop(&mut self) {
        self.door.abort();
    }
}

async fn pass(mut client: TcpStream, broker: String) {
    let passed = async {
        let mut broker = TcpStream::connect(&broker).await?;
        copy_bidirectional(&mut client, &mut broker).await
    };
    if let Err(error) = passed.await {
        tracing::debug!(%error, "a Kafka client's connection broke");
    }
}
