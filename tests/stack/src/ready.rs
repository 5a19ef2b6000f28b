//! Does it answer? An open port is not enough: Kafka listens before it serves.

use std::net::Ipv4Addr;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::producer::{BaseProducer, Producer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::error::StackError;
use crate::options::Component;

const ANSWER_WITHIN: Duration = Duration::from_millis(500);

/// Asks one component again and again.
pub(crate) struct Probe {
    component: Component,
    port: u16,
    /// One client over all attempts: a fresh one would pay for its threads each time.
    client: Option<BaseProducer>,
}

impl Probe {
    pub(crate) fn new(component: Component, port: u16) -> Self {
        Self {
            component,
            port,
            client: None,
        }
    }

    /// True if it answered a real request. An error only for faults of our own.
    pub(crate) async fn answers(&mut self) -> Result<bool, StackError> {
        match self.component {
            Component::Kafka => self.kafka().await,
            Component::ElasticMq => Ok(self.http(&elasticmq_request()).await),
            Component::DynamoDb => Ok(self.http(&dynamodb_request()).await),
        }
    }

    /// The broker's metadata names it, at this very port.
    async fn kafka(&mut self) -> Result<bool, StackError> {
        let connected = timeout(
            ANSWER_WITHIN,
            TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)),
        )
        .await;
        if !matches!(connected, Ok(Ok(_))) {
            return Ok(false);
        }
        let port = self.port;
        let client = match self.client.take() {
            Some(client) => client,
            None => ClientConfig::new()
                .set("bootstrap.servers", format!("127.0.0.1:{port}"))
                .set("reconnect.backoff.ms", "10")
                .set("reconnect.backoff.max.ms", "50")
                .set_log_level(RDKafkaLogLevel::Emerg)
                .create()?,
        };
        let asked = tokio::task::spawn_blocking(move || {
            let metadata = client.client().fetch_metadata(None, ANSWER_WITHIN);
            let served = metadata.is_ok_and(|metadata| {
                metadata
                    .brokers()
                    .iter()
                    .any(|broker| broker.port() == i32::from(port))
            });
            (client, served)
        });
        match asked.await {
            Ok((client, served)) => {
                self.client = Some(client);
                Ok(served)
            }
            Err(_) => Ok(false),
        }
    }

    async fn http(&self, request: &str) -> bool {
        let exchange = async {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await?;
            stream.write_all(request.as_bytes()).await?;
            let mut answer = [0_u8; 12];
            stream.read_exact(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        matches!(timeout(ANSWER_WITHIN, exchange).await, Ok(Ok(answer)) if answer.starts_with(b"HTTP/1.1 200"))
    }
}

fn elasticmq_request() -> String {
    post(
        "Content-Type: application/x-www-form-urlencoded\r\n",
        "Action=ListQueues&Version=2012-11-05",
    )
}

fn dynamodb_request() -> String {
    // It refuses a request without a signature, but does not check the signature.
    let headers = "Content-Type: application/x-amz-json-1.0\r\nX-Amz-Target: DynamoDB_20120810.ListTables\r\n\
        Authorization: AWS4-HMAC-SHA256 Credential=ready/20260101/us-east-1/dynamodb/aws4_request, \
        SignedHeaders=host, Signature=0\r\n";
    post(headers, "{}")
}

fn post(headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    )
}
