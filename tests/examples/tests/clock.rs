//! The example of a test that moves the clock, against the embedded mode that it is for.

use std::net::TcpListener;

use clap::Parser as _;
use delayq::cli::{Cli, execute};
use delayq_examples_test::program::Setting;
use delayq_examples_test::workshop::{self, Workshop};

fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_cancelled_after_seven_days() {
    let tools = workshop::PYTHON;
    let Some(workshop) = Workshop::open("python-clock", "python-clock", tools, workshop::PIP).await
    else {
        return;
    };
    let (kafka, http) = (free_address(), free_address());
    let cli = Cli::parse_from([
        "delayq",
        "embedded",
        "--targets=orders",
        &format!("--kafka={kafka}"),
        &format!("--set=http.listen={http}"),
        "--set=log.level=error",
    ]);
    let setting = Setting {
        dir: workshop.dir.clone(),
        env: vec![
            ("KAFKA_BOOTSTRAP".to_owned(), kafka),
            ("DELAYQ_URL".to_owned(), format!("http://{http}")),
        ],
    };
    let test = setting.run(&[
        ".venv/bin/python",
        "-m",
        "unittest",
        "-v",
        "test_seven_days",
    ]);
    tokio::select! {
        ended = execute(cli) => panic!("delayq ended: {ended:?}"),
        _ = test => {}
    }
}
