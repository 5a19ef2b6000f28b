//! Nothing outlives its owner; and the owner may be somebody else, by the environment.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;

use delayq_stack::{Component, Stack, StackError, StackOptions};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{Instant, sleep, timeout};

/// What the program printed: the pids, and the run's directory.
struct Started {
    child: Child,
    pids: Vec<u32>,
    dir: PathBuf,
    exports: Vec<String>,
}

async fn program(arguments: &[&str]) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_delayq-stack"))
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let stdout = child.stdout.take().unwrap();
    (child, BufReader::new(stdout).lines())
}

async fn started() -> Started {
    let (child, mut lines) = program(&["--free-ports"]).await;
    let (mut pids, mut exports, mut dir) = (Vec::new(), Vec::new(), PathBuf::new());
    while let Some(line) = timeout(Duration::from_secs(180), lines.next_line())
        .await
        .unwrap()
        .unwrap()
    {
        if let Some(export) = line.strip_prefix("export ") {
            exports.push(export.to_owned());
        } else if let Some((_, rest)) = line.split_once(": pid ") {
            let (pid, log) = rest.split_once(", log ").unwrap();
            pids.push(pid.parse().unwrap());
            dir = Path::new(log).parent().unwrap().to_owned();
        } else if line.starts_with("# ready") {
            break;
        }
    }
    assert_eq!((pids.len(), exports.len()), (3, 3));
    Started {
        child,
        pids,
        dir,
        exports,
    }
}

fn alive(pid: u32) -> bool {
    // A zombie is dead: in a container without an init nobody reaps orphans.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

async fn all_end(pids: &[u32]) {
    let began = Instant::now();
    while pids.iter().any(|pid| alive(*pid)) {
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "still alive of {pids:?}"
        );
        sleep(Duration::from_millis(10)).await;
    }
}

async fn signal(pid: u32, name: &str) {
    let status = Command::new("sh")
        .args(["-c", &format!("kill -s {name} {pid}")])
        .status()
        .await
        .unwrap();
    assert!(status.success());
}

#[tokio::test]
async fn a_killed_owner_leaves_no_process_and_its_directory_is_swept_by_the_next() {
    let mut owner = started().await;
    assert!(owner.pids.iter().all(|pid| alive(*pid)));
    // A stopped one too: the kernel hangs up on orphaned groups that have a stopped member.
    signal(owner.pids[0], "STOP").await;
    owner.child.kill().await.unwrap();
    all_end(&owner.pids).await;
    assert!(owner.dir.exists());
    let options = StackOptions {
        components: vec![Component::ElasticMq],
        ..StackOptions::default()
    };
    let _next = Stack::start(options).await.unwrap();
    assert!(!owner.dir.exists());
}

#[tokio::test]
async fn ctrl_c_stops_all_and_exits_0() {
    let mut owner = started().await;
    signal(owner.child.id().unwrap(), "INT").await;
    let status = timeout(Duration::from_secs(10), owner.child.wait())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(!owner.pids.iter().any(|pid| alive(*pid)));
    assert!(!owner.dir.exists());
}

#[tokio::test]
async fn a_port_in_use_is_named_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (child, _) = program(&[
        "--kafka-port",
        &port,
        "--sqs-port",
        &port,
        "--dynamodb-port",
        &port,
    ])
    .await;
    let output = child.wait_with_output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text.contains(&format!("port {port} for")) && text.contains("--free-ports"),
        "{text}"
    );
}

static NEVER_DROPPED: OnceLock<Stack> = OnceLock::new();
const CHILD: &str = "DELAYQ_STACK_TEST_CHILD";

/// This test binary again, with one test and more environment.
async fn again(test: &str, env: &[(&str, &str)]) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, "1")
        .envs(env.iter().copied())
        .output()
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

#[tokio::test]
async fn a_stack_in_a_static_ends_with_its_process() {
    if std::env::var_os(CHILD).is_some() {
        let options = StackOptions {
            components: vec![Component::ElasticMq],
            ..StackOptions::default()
        };
        let stack = Stack::start(options).await.unwrap();
        println!(
            "pid={}",
            stack.pid(Component::ElasticMq).await.unwrap().unwrap()
        );
        assert!(NEVER_DROPPED.set(stack).is_ok());
        return;
    }
    let text = again("a_stack_in_a_static_ends_with_its_process", &[]).await;
    let pid: u32 = text
        .split("pid=")
        .nth(1)
        .unwrap()
        .lines()
        .next()
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    all_end(&[pid]).await;
}

#[tokio::test]
async fn endpoints_of_the_environment_are_used_and_nothing_is_started() {
    if std::env::var_os(CHILD).is_some() {
        let stack = Stack::from_env_or_start(StackOptions::default())
            .await
            .unwrap();
        assert!(!stack.is_ours());
        let endpoints = stack.endpoints();
        assert_eq!(
            (endpoints.kafka.as_str(), endpoints.sqs.as_str()),
            ("k:1", "http://s:2")
        );
        assert_eq!(endpoints.dynamodb, "http://d:3");
        assert!(matches!(
            stack.kill(Component::Kafka).await,
            Err(StackError::External(_))
        ));
        return;
    }
    let variables = [
        ("DELAYQ_STACK_KAFKA", "k:1"),
        ("DELAYQ_STACK_SQS", "http://s:2"),
        ("DELAYQ_STACK_DYNAMODB", "http://d:3"),
    ];
    again(
        "endpoints_of_the_environment_are_used_and_nothing_is_started",
        &variables,
    )
    .await;
}

#[tokio::test]
async fn the_printed_exports_are_the_variables_that_are_read() {
    let owner = started().await;
    for name in [
        "DELAYQ_STACK_KAFKA=127.0.0.1:",
        "DELAYQ_STACK_SQS=http://",
        "DELAYQ_STACK_DYNAMODB=http://",
    ] {
        assert!(
            owner.exports.iter().any(|export| export.starts_with(name)),
            "{:?}",
            owner.exports
        );
    }
}
