//! `config`: each value with its source, as TOML that loads.

use crate::support::{finish, program};

#[tokio::test]
async fn each_value_has_its_source_and_the_output_loads_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let toml = "[topics]\nallow = ['orders', 'orders.*']\n[kafka]\ngroup_id = 'from-file'\nclient_id = 'from-file'\n[[routes]]\nname = 'payments'\nmatch = { message_type = 'payment' }\ndelay = { standard = '5m' }\n";
    std::fs::write(folder.path().join("delayq.toml"), toml).expect("written");
    let mut command = program();
    command
        .current_dir(folder.path())
        .args(["config", "--set", "delays.max=3d"])
        .env("DELAYQ_KAFKA__GROUP_ID", "from-env")
        .env("DELAYQ_AWS__ACCESS_KEY_ID", "AKIA1")
        .env("DELAYQ_AWS__SECRET_ACCESS_KEY", "hunter2");
    let ran = finish(command, b"").await;
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let squeezed = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: Vec<_> = ran.out.lines().map(squeezed).collect();
    for expected in [
        "bootstrap_servers = \"127.0.0.1:9092\" # default",
        "allow = [\"orders\", \"orders.*\"] # delayq.toml",
        "client_id = \"from-file\" # delayq.toml",
        "group_id = \"from-env\" # env DELAYQ_KAFKA__GROUP_ID",
        "secret_access_key = \"***\" # env DELAYQ_AWS__SECRET_ACCESS_KEY",
        "max = \"3days\" # --set",
        "name = \"payments\" # delayq.toml",
    ] {
        assert!(
            lines.iter().any(|line| line == expected),
            "{expected}\n{}",
            ran.out
        );
    }
    assert!(!ran.out.contains("hunter2"));

    std::fs::write(folder.path().join("again.toml"), &ran.out).expect("written");
    let mut command = program();
    command
        .current_dir(folder.path())
        .args(["config", "--config", "again.toml"]);
    let again = finish(command, b"").await;
    assert_eq!(again.code, Some(0), "{again:#?}");
    let values = |text: &str| -> Vec<String> {
        text.lines()
            .map(|line| squeezed(line.split(" # ").next().unwrap_or(line)))
            .collect()
    };
    assert_eq!(values(&again.out), values(&ran.out));
}
