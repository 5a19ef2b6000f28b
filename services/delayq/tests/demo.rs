//! The demo as a newcomer starts it.

#![allow(clippy::expect_used, reason = "helpers of tests")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use serde_json::Value;

fn demo(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_delayq"));
    command
        .arg("demo")
        .args(args)
        .env_remove("DELAYQ_CONFIG")
        .stdin(Stdio::null());
    command
}

/// Runs to the end and answers with the summary.
fn summary(args: &[&str]) -> Value {
    let output = demo(args).output().expect("delayq runs");
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(0), "{stdout}\n{stderr}");
    let last = stdout.lines().last().expect("a line");
    serde_json::from_str(last).expect("the last line is JSON")
}

fn assert_whole(summary: &Value) {
    let count = |path: &str| {
        let value = summary.pointer(path).and_then(Value::as_u64);
        value.unwrap_or_else(|| panic!("{path} is missing in {summary}"))
    };
    for none in [
        "/lost",
        "/early",
        "/duplicates",
        "/misplaced",
        "/altered",
        "/not_taken",
    ] {
        assert_eq!(count(none), 0, "{none}: {summary}");
    }
    assert_eq!(
        count("/accepted"),
        count("/published/total") + count("/dead_lettered")
    );
    for some in [
        "/published/by_priority/high",
        "/published/by_priority/standard",
        "/published/by_priority/low",
        "/published/by_path/direct",
        "/published/by_path/short",
        "/published/by_path/long",
        "/dead_lettered",
    ] {
        assert!(count(some) > 0, "{some}: {summary}");
    }
    for quantile in ["p50", "p99", "p999", "max"] {
        count(&format!("/lateness_ms/{quantile}"));
    }
}

#[test]
fn twenty_seconds_embedded_lose_nothing_on_any_path() {
    assert_whole(&summary(&["--for=20s", "--json", "--kafka=127.0.0.1:0"]));
}

#[test]
fn twenty_seconds_on_the_real_stack_lose_nothing_on_any_path() {
    assert_whole(&summary(&["--real", "--for=20s", "--json"]));
}

#[test]
fn ctrl_c_drains_and_sums_up_in_plain_lines() {
    let mut child = demo(&["--kafka=127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("delayq starts");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout"));
    let mut text = String::new();
    while !text.contains("accepted 8") {
        let read = lines.read_line(&mut text).expect("a line");
        assert!(read > 0, "ended early:\n{text}");
    }
    assert!(
        text.contains("delay-target"),
        "says how to send one's own record:\n{text}"
    );
    let signal = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(signal.expect("kill runs").success());
    lines.read_to_string(&mut text).expect("the rest");
    assert_eq!(child.wait().expect("ended").code(), Some(0), "{text}");
    assert!(text.contains("draining"), "{text}");
    assert!(text.contains("lost 0   early 0"), "{text}");
    assert!(
        !text.contains('\x1b'),
        "no control sequences without a terminal:\n{text}"
    );
}

#[test]
fn an_address_that_is_taken_says_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let output = demo(&["--for=1s", "--kafka", &address])
        .output()
        .expect("delayq runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains(&address) && text.contains("--kafka"),
        "{text}"
    );
}
