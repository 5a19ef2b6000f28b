//! Seeds repeat exactly, keep every promise, and the program says clearly when it is asked wrongly.

use std::process::{Command, Output};

use delayq_sim::report::SeedReport;
use serde_json::Value;

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_delayq-sim"))
        .args(arguments)
        .output()
        .expect("the program starts")
}

fn seed(seed: &str, more: &[&str]) -> SeedReport {
    let arguments = [&["--seed", seed, "--json"], more].concat();
    let output = run(&arguments);
    serde_json::from_slice(&output.stdout).expect("a report")
}

#[test]
fn a_seed_repeats_exactly_also_when_it_is_watched() {
    // A storm: crashes, outages, two emitters and more.
    for name in ["3", "48"] {
        let first = seed(name, &[]);
        let watched = seed(name, &["--log", "delayq_sim::history=debug"]);
        assert!(first.events > 500, "much must have happened: {first:?}");
        assert_eq!(first.digest, watched.digest, "seed {name}");
        assert_ne!(first.digest, seed("5", &[]).digest, "another is another");
    }
}

#[test]
fn seeds_of_every_kind_keep_every_promise() {
    let output = run(&["--seeds", "60", "--json"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("one line of JSON");
    for broken in ["lost", "early", "late", "wrong", "unexplained_duplicates"] {
        assert_eq!(report[broken], 0, "{broken}");
    }
    assert_eq!(report["failed_seeds"], Value::Array(Vec::new()));
    assert_eq!(report["seeds"], 60);
    let ends = [
        "published",
        "dead_lettered",
        "superseded",
        "cancelled",
        "cancels",
    ];
    let ended = ends.map(|end| report[end].as_u64().expect("a number"));
    assert!(ended.iter().all(|count| *count > 10), "{ended:?}");
    let records = report["records"].as_u64().expect("a number");
    assert!(records > 1_000, "{records} records");
    assert_eq!(
        ended.iter().sum::<u64>(),
        records,
        "accepted = published + dead-lettered + superseded + cancelled, and the cancels themselves"
    );
    // What is to be survived must have happened.
    for kind in [
        "crash after a call",
        "crash before a call",
        "crash at an await",
        "clock set",
        "delivered twice",
        "failed call",
        "failed entry",
        "failed publish",
        "kill",
        "outage",
        "restart",
        "sessions expired",
        "stop",
        "unanswered call",
        "unanswered publish",
    ] {
        assert!(report["faults"][kind].as_u64() > Some(0), "no {kind}");
    }
    for cause in ["crash", "unanswered", "queue-failed", "closing-bucket"] {
        let doubled = &report["duplicates_by_cause"][cause];
        assert!(doubled.as_u64() > Some(0), "nothing was doubled by {cause}");
    }
}

#[test]
fn wrong_arguments_are_refused() {
    for (arguments, what) in [
        (&["--seeds", "0"][..], "0 is not in 1.."),
        (&["--seed", "1", "--seeds", "2"], "cannot be used with"),
        (&["--seed", "one"], "invalid digit"),
        (&["--log", "debug"], "--seed"),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(what), "{arguments:?}: {stderr}");
    }
}
