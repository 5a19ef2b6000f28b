//! The binary as an operator meets it: wrong input, no broker, signals.

#![allow(clippy::expect_used, reason = "helpers of tests")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn delayq() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_delayq"));
    command.env_remove("DELAYQ_CONFIG").stdin(Stdio::null());
    command
}

fn output(args: &[&str]) -> (Output, String) {
    let output = delayq().args(args).output().expect("delayq runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, text)
}

#[test]
fn every_fault_of_a_configuration_is_listed_and_the_exit_code_is_2() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("delayq.toml");
    let toml = "[topics]\nallow = []\ndead_letter = 'delayq.delay'\n[delays]\nshrt = '5m'\nmax = 'soon'\n[http]\nlisten = 'nowhere'\n[long]\nshards = 0\n";
    std::fs::write(&file, toml).expect("written");
    let (output, text) = output(&["run", "all", "--config", file.to_str().expect("a path")]);
    assert_eq!(output.status.code(), Some(2), "{text}");
    for key in [
        "topics.allow",
        "topics.dead_letter",
        "delays.shrt",
        "delays.max",
        "http.listen",
        "long.shards",
    ] {
        assert!(text.contains(key), "{key} is missing in:\n{text}");
    }
}

#[test]
fn a_missing_file_and_an_unknown_role_are_clear() {
    let (missing, text) = output(&["run", "all", "--config", "no-such-file.toml"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(text.contains("no-such-file.toml"), "{text}");
    let (unknown, text) = output(&["run", "postman"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(
        text.contains("postman") && text.contains("router"),
        "{text}"
    );
}

#[test]
fn the_effective_configuration_hides_secrets() {
    let output = delayq()
        .args([
            "config",
            "--set",
            "topics.allow=orders",
            "--set",
            "aws.access_key_id=AKIA1",
        ])
        .env("DELAYQ_AWS__SECRET_ACCESS_KEY", "hunter2")
        .env("DELAYQ_KAFKA__BOOTSTRAP_SERVERS", "broker:9092")
        .output()
        .expect("delayq runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        text.contains("broker:9092") && text.contains("orders"),
        "{text}"
    );
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn a_port_in_use_says_which_setting_to_change() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let listen = format!("http.listen={}", taken.local_addr().expect("an address"));
    let (output, text) = output(&[
        "run",
        "scheduler",
        "--set",
        "topics.allow=orders",
        "--set",
        &listen,
    ]);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("http.listen"), "{text}");
}

/// A running delayq whose brokers and stores are not there.
struct Running {
    child: Child,
    address: String,
}

impl Running {
    fn start(sqs: Option<SocketAddr>) -> Self {
        // Ports on which nothing listens.
        let free = || -> SocketAddr {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            listener.local_addr().expect("an address")
        };
        let mut child = delayq()
            .args([
                "run",
                "all",
                "--set",
                "topics.allow=orders",
                "--set",
                "http.listen=127.0.0.1:0",
                "--set",
                "console.listen=127.0.0.1:0",
                "--set",
                "log.format=json",
            ])
            .args(["--set", &format!("kafka.bootstrap_servers={}", free())])
            .args([
                "--set",
                &format!("aws.sqs_endpoint=http://{}", sqs.unwrap_or_else(free)),
            ])
            .args(["--set", &format!("aws.dynamodb_endpoint=http://{}", free())])
            .args(
                [
                    "aws.connect_timeout=1s".to_owned(),
                    // A silent queue keeps its callers for longer than any test lasts.
                    format!(
                        "aws.call_timeout={}",
                        if sqs.is_some() { "25s" } else { "2s" }
                    ),
                    "kafka.revoke_timeout=2s".to_owned(),
                    "router.stop_timeout=60s".to_owned(),
                    "emitter.stop_timeout=60s".to_owned(),
                    "scheduler.stop_timeout=60s".to_owned(),
                ]
                .map(|set| format!("--set={set}")),
            )
            .stderr(Stdio::piped())
            .spawn()
            .expect("delayq starts");
        let mut lines = BufReader::new(child.stderr.take().expect("stderr"));
        let mut line = String::new();
        while !line.contains("serving") {
            line.clear();
            assert!(
                lines.read_line(&mut line).expect("a line") > 0,
                "ended early"
            );
        }
        let address = line
            .split("\"address\":\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next())
            .expect("the address")
            .to_owned();
        // Read on, so that logging never blocks.
        std::thread::spawn(move || lines.read_to_string(&mut String::new()));
        Self { child, address }
    }

    async fn get(&self, path: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(&self.address)
            .await
            .expect("connected");
        stream
            .write_all(
                format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes(),
            )
            .await
            .expect("asked");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("answered");
        text
    }

    fn signal(&self) {
        let sent = Command::new("kill")
            .args(["-INT", &self.child.id().to_string()])
            .status()
            .expect("kill runs");
        assert!(sent.success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already ended, in a test that passed.
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.child.kill().expect("killed");
            self.child.wait().expect("reaped");
        }
    }
}

#[tokio::test]
async fn without_broker_queue_and_table_it_lives_is_not_ready_says_why_and_stops_cleanly() {
    let mut delayq = Running::start(None);
    let readyz = loop {
        let readyz = delayq.get("/readyz").await;
        if readyz.matches("\"reason\"").count() >= 4 {
            break readyz;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert!(readyz.starts_with("HTTP/1.1 503"), "{readyz}");
    for part in ["delay topics", "queue high (receive)", "ticks"] {
        assert!(readyz.contains(part), "{readyz}");
    }
    assert!(delayq.get("/livez").await.starts_with("HTTP/1.1 200"));
    assert!(delayq.get("/metrics").await.contains("delayq_"));
    delayq.signal();
    let ended =
        tokio::task::spawn_blocking(move || delayq.child.wait().map(|status| (status, delayq)))
            .await
            .expect("waited")
            .expect("ended");
    assert_eq!(
        ended.0.code(),
        Some(0),
        "a clean stop, though nothing answers"
    );
}

/// A queue service that reads requests and never answers.
struct SilentQueue {
    address: SocketAddr,
    received: mpsc::Receiver<()>,
}

impl SilentQueue {
    fn bind() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (asked, received) = mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, asked) = (stream.expect("a connection"), asked.clone());
                std::thread::spawn(move || {
                    // The target header precedes the body; the stream stays open until the client goes away.
                    for line in BufReader::new(stream).lines().map_while(Result::ok) {
                        if line.contains("AmazonSQS.") {
                            // The test may have ended already.
                            asked.send(()).ok();
                        }
                    }
                });
            }
        });
        Self { address, received }
    }

    /// Blocks until a call is under way.
    fn wait_until_asked(&self) {
        self.received
            .recv_timeout(Duration::from_secs(60))
            .expect("a role calls its queue");
    }
}

#[tokio::test]
async fn a_second_interrupt_ends_it_at_once() {
    // A queue that takes calls and never answers: the calls under way are waited for.
    let silent = SilentQueue::bind();
    let mut delayq = Running::start(Some(silent.address));
    silent.wait_until_asked();
    delayq.signal();
    while delayq.get("/readyz").await.contains("\"stopping\":false") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    delayq.signal();
    let status = tokio::task::spawn_blocking(move || delayq.child.wait())
        .await
        .expect("waited")
        .expect("ended");
    assert_eq!(status.code(), Some(130));
}
