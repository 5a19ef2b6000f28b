//! A short run of everything, as `.ci/run` has it, and the command line.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::process::{Command, Output};

fn chaos(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_delayq-chaos"))
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn half_a_minute_of_faults_breaks_no_promise() {
    let output = chaos(&["--for", "30s", "--seed", "1", "--rate", "60", "--json"]);
    let said = String::from_utf8_lossy(&output.stderr);
    let line = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{line}\n{said}");
    let result: serde_json::Value = serde_json::from_str(&line).unwrap();
    for name in [
        "lost",
        "early",
        "altered",
        "unexplained_duplicates",
        "uncommitted",
    ] {
        assert_eq!(result[name], 0, "{name} in {line}");
    }
    assert!(result["records"].as_u64() > Some(1_500), "{line}");
    // Of each sort something was done: the run proves nothing else.
    let done = |name: &str| result[name].as_object().is_some_and(|of| !of.is_empty());
    assert!(
        done("kills") && done("calls_hit") && done("faults"),
        "{line}"
    );
}

#[test]
fn arguments_that_make_no_sense_are_refused_with_what_to_do() {
    for (arguments, said) in [
        (["--for", "5s"], "choose 20s to 24h"),
        (["--for", "180"], "write it as 180s or 10m"),
        (["--rate", "0"], "1..=5000"),
    ] {
        let output = chaos(&arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(said), "{stderr}");
    }
}
