//! Layers, faults, rules.

mod oidc;
mod routes;
mod rules;
mod sections;
mod topics;

use std::path::PathBuf;
use std::time::Duration;

use super::*;

/// A file with this text, which lives as long as the first part.
fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("delayq.toml");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

fn load_from(text: &str, env: &[(&str, &str)], set: &[&str]) -> Result<Config, ConfigErrors> {
    let (_folder, path) = file(text);
    load(&Sources {
        file: Some(path),
        env: env
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        set: set.iter().map(|pair| (*pair).to_owned()).collect(),
    })
}

/// All that a first configuration needs.
const MINIMAL: &str = "[topics]\nallow = [\"orders.*\"]\n";

fn minimal() -> Config {
    load_from(MINIMAL, &[], &[]).unwrap()
}

/// The keys that the faults are about, the first of each.
fn keys(errors: &ConfigErrors) -> Vec<&str> {
    errors
        .faults()
        .iter()
        .map(|fault| fault.places[0].key.as_str())
        .collect()
}

#[test]
fn a_minimal_file_is_enough() {
    let config = minimal();
    assert_eq!(config.topics.allow, ["orders.*"]);
    let expected = Config {
        topics: TopicsConfig {
            allow: vec!["orders.*".to_owned()],
            ..TopicsConfig::default()
        },
        ..Config::default()
    };
    assert_eq!(config, expected);
}

#[test]
fn the_default_alone_lacks_only_the_allowlist() {
    let errors = load(&Sources::default()).unwrap_err();
    assert_eq!(keys(&errors), ["topics.allow"]);
    assert!(
        errors.to_string().contains("list the target topics"),
        "{errors}"
    );
}

#[test]
fn the_defaults_fit_a_service_of_256_mib() {
    let config = Config::default();
    // What the consumer prefetches (FACTS §3) and the process itself.
    let rest = (16 << 20) + (64 << 20);
    for budget in [config.router.memory, config.emitter.memory] {
        let all = budget.as_u64() + config.kafka.sink_queue.as_u64() + rest;
        assert!(all <= 256 << 20, "{all}");
    }
}

#[test]
fn every_fault_is_listed_at_once() {
    let text = r#"
        [kafka]
        group_idd = "x"
        compression = "lz5"
        linger = 5
        session_timeout = "soon"
        [kafak]
        group_id = "x"
        client_id = "y"
        [topics]
        allow = ["orders.["]
        [packing]
        message_bytes = "256 cats"
        batch_records = -1
        [router]
        memory = true
        [long]
        shards = 0
        [emitter]
        visibility = "2m 500ms"
    "#;
    let errors = load_from(
        text,
        &[("DELAYQ_EMITTER__EARLY", "x"), ("DELAYQ_HTTP__PORT", "1")],
        &["delays.direct=1h", "publish.attempts=0", "nonsense"],
    )
    .unwrap_err();
    let mut found = keys(&errors);
    found.sort_unstable();
    assert_eq!(
        found,
        [
            "delays.direct",
            "emitter.early",
            "emitter.visibility",
            "http.port",
            "kafak",
            "kafka.compression",
            "kafka.group_idd",
            "kafka.linger",
            "kafka.session_timeout",
            "long.shards",
            "nonsense",
            "packing.batch_records",
            "packing.message_bytes",
            "publish.attempts",
            "router.memory",
            "router.stall_after",
            "topics.allow",
        ],
        "{errors}"
    );
    let text = errors.to_string();
    assert!(
        text.starts_with("the configuration has 17 faults:"),
        "{text}"
    );
    for part in [
        "delayq.toml): is not known; [kafka] has ",
        "kafka.compression (",
        "is \"lz5\"; give one of none, gzip, snappy, lz4, zstd",
        "is 5; give a number with a unit",
        "emitter.early (environment DELAYQ_EMITTER__EARLY)",
        "packing.message_bytes (",
        "give a size such as",
        "delays.direct (--set), delays.short (default): direct (1h) is not below short (15m)",
        "publish.attempts (--set): 0 is outside 1 to 100",
        "nonsense (--set): is not a setting; write it as section.field=value",
    ] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
}

#[test]
fn the_later_layer_wins() {
    let text =
        format!("{MINIMAL}[kafka]\ngroup_id = \"file\"\nclient_id = \"file\"\nlinger = \"3ms\"\n");
    let config = load_from(
        &text,
        &[
            ("DELAYQ_KAFKA__CLIENT_ID", "env"),
            ("DELAYQ_KAFKA__LINGER", "4ms"),
        ],
        &["kafka.linger=5ms", "kafka.linger=6ms"],
    )
    .unwrap();
    assert_eq!(config.kafka.group_id, "file");
    assert_eq!(config.kafka.client_id, "env");
    assert_eq!(config.kafka.linger, Duration::from_millis(6));
    assert_eq!(config.kafka.bootstrap_servers, "127.0.0.1:9092");
}

#[test]
fn text_takes_the_type_of_its_field() {
    let config = load_from(
        "",
        &[
            ("DELAYQ_TOPICS__ALLOW", "orders.*, billing"),
            ("DELAYQ_TOPICS__DELAY", r#"["a.delay", "b.delay"]"#),
            ("DELAYQ_KAFKA__GROUP_ID", "42"),
            ("DELAYQ_KAFKA__BOOTSTRAP_SERVERS", "a:9092,b:9092"),
            ("DELAYQ_ROUTER__SEND_CONCURRENCY", "7"),
            ("DELAYQ_ROUTER__MEMORY", "67108864"),
            ("DELAYQ_AWS__SQS_ENDPOINT", "http://127.0.0.1:9324"),
            ("DELAYQ_AWS__ACCESS_KEY_ID", "true"),
            ("DELAYQ_AWS__SECRET_ACCESS_KEY", "123"),
        ],
        &[
            "topics.output={target}",
            "emitter.memory=192MiB",
            "log.format=json",
            "packing.zstd_level=3",
        ],
    )
    .unwrap();
    assert_eq!(config.topics.allow, ["orders.*", "billing"]);
    assert_eq!(config.topics.delay, ["a.delay", "b.delay"]);
    assert_eq!(config.kafka.group_id, "42");
    assert_eq!(config.kafka.bootstrap_servers, "a:9092,b:9092");
    assert_eq!(config.router.send_concurrency, 7);
    assert_eq!(config.router.memory, ByteSize::mib(64));
    assert_eq!(
        config.aws.sqs_endpoint.as_deref(),
        Some("http://127.0.0.1:9324")
    );
    assert_eq!(config.aws.access_key_id.as_deref(), Some("true"));
    assert_eq!(config.aws.secret_access_key, Some(Secret::new("123")));
    assert_eq!(config.topics.output, "{target}");
    assert_eq!(config.emitter.memory, ByteSize::mib(192));
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.packing.zstd_level, 3);
}

#[test]
fn control_variables_are_no_keys() {
    let config = load_from(
        MINIMAL,
        &[
            ("DELAYQ_CONFIG", "/etc/delayq.toml"),
            ("DELAYQ_LOG", "debug"),
            ("DELAYQ_STACK_KAFKA__PORT", "1"),
            ("DELAYQ_STACK_KEEP", "1"),
            ("PATH", "/bin"),
        ],
        &[],
    );
    assert_eq!(config.unwrap(), minimal());
}

#[test]
fn one_underscore_too_few_is_told() {
    let errors = load_from(MINIMAL, &[("DELAYQ_KAFKA_GROUP_ID", "x")], &[]).unwrap_err();
    assert_eq!(keys(&errors), ["kafka.group_id"]);
    assert!(
        errors
            .to_string()
            .contains("name it DELAYQ_KAFKA__GROUP_ID"),
        "{errors}"
    );
}

#[test]
fn a_field_in_the_wrong_section_is_found() {
    let errors = load_from(&format!("{MINIMAL}[kafka]\nshards = 4\n"), &[], &[]).unwrap_err();
    assert!(
        errors.to_string().contains("did you mean long.shards?"),
        "{errors}"
    );
}

#[test]
fn a_section_is_no_field() {
    let errors = load_from(&format!("kafka = 5\ntopic = 1\n{MINIMAL}"), &[], &[]).unwrap_err();
    assert_eq!(keys(&errors), ["kafka", "topic"], "{errors}");
    assert!(errors.to_string().contains("it is a section"), "{errors}");
}

#[test]
fn a_file_that_is_not_there_or_not_toml_is_one_fault() {
    let errors = load(&Sources {
        file: Some(PathBuf::from("/nowhere/delayq.toml")),
        ..Sources::default()
    })
    .unwrap_err();
    assert_eq!(errors.faults().len(), 1, "{errors}");
    assert!(
        errors.to_string().contains("/nowhere/delayq.toml"),
        "{errors}"
    );

    let text = "[aws]\naccess_key_id = \"a\"\nsecret_access_key = \"hush hush\n";
    let errors = load_from(text, &[], &["long.shards=0", "long.shard=1"]).unwrap_err();
    assert_eq!(keys(&errors), ["the configuration file", "long.shard"]);
    assert!(errors.to_string().contains("line 3"), "{errors}");
    assert!(!errors.to_string().contains("hush"), "{errors}");
}

#[test]
fn properties_come_from_every_layer() {
    let text = format!(
        "{MINIMAL}[kafka.properties]\n\"security.protocol\" = \"sasl_ssl\"\nsocket.keepalive.enable = true\nfetch.min.bytes = 5\n"
    );
    let config = load_from(
        &text,
        &[("DELAYQ_KAFKA__PROPERTIES__SASL_PASSWORD", "0123")],
        &["kafka.properties.fetch.min.bytes=6"],
    )
    .unwrap();
    let properties: Vec<(&str, &str)> = config
        .kafka
        .properties
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        properties,
        [
            ("fetch.min.bytes", "6"),
            ("sasl.password", "0123"),
            ("security.protocol", "sasl_ssl"),
            ("socket.keepalive.enable", "true"),
        ]
    );
}

#[test]
fn secrets_are_never_printed() {
    let text = format!(
        "{MINIMAL}[aws]\naccess_key_id = \"AKIA\"\nsecret_access_key = \"hush-aws\"\n[kafka.properties]\n\"sasl.password\" = \"hush-sasl\"\n\"ssl.key.pem\" = \"hush-pem\"\n\"sasl.username\" = \"bob\"\n"
    );
    let config = load_from(&text, &[], &[]).unwrap();
    let secret = config.aws.secret_access_key.as_ref().map(Secret::reveal);
    assert_eq!(secret, Some("hush-aws"));
    let printed = config.to_redacted_toml().unwrap();
    assert!(printed.contains("secret_access_key = \"***\""), "{printed}");
    assert!(printed.contains("\"sasl.password\" = \"***\""), "{printed}");
    assert!(printed.contains("\"sasl.username\" = \"bob\""), "{printed}");
    for text in [printed, format!("{config:?}")] {
        assert!(!text.contains("hush"), "{text}");
    }
    let wrong = format!(
        "{MINIMAL}[aws]\nsecret_access_key = [\"hush\"]\n[kafka.properties]\nx = [\"hush\"]\n"
    );
    let errors = load_from(&wrong, &[], &[]).unwrap_err();
    assert_eq!(
        keys(&errors),
        ["aws.secret_access_key", "kafka.properties.x"]
    );
    assert!(!errors.to_string().contains("hush"), "{errors}");
}

#[test]
fn what_is_printed_can_be_read_back() {
    let config = minimal();
    let printed = config.to_redacted_toml().unwrap();
    assert_eq!(load_from(&printed, &[], &[]).unwrap(), config, "{printed}");
}

#[test]
fn sizes_are_read_and_written() {
    for (text, bytes) in [
        ("0", 0),
        ("350000", 350_000),
        ("7B", 7),
        ("256KiB", 262_144),
        ("256 kib", 262_144),
        ("4MiB", 4 << 20),
        ("1GiB", 1 << 30),
        ("64KB", 64_000),
    ] {
        assert_eq!(text.parse(), Ok(ByteSize::bytes(bytes)), "{text}");
    }
    for text in [
        "",
        "KiB",
        "-1",
        "+1",
        "1.5MiB",
        "1TiB",
        "1 2",
        "99999999999GiB",
    ] {
        assert!(text.parse::<ByteSize>().is_err(), "{text}");
    }
    for bytes in [0, 7, 1024, 350_000, 1_114_112, 4 << 20, u64::MAX] {
        let size = ByteSize::bytes(bytes);
        assert_eq!(size.to_string().parse(), Ok(size));
    }
    assert_eq!(ByteSize::kib(256).to_string(), "256KiB");
}

#[test]
fn derived_values() {
    let config = Config::default();
    assert_eq!(config.emitter.floor_every(), 10);
    assert_eq!(config.long_room(), Duration::from_secs(510));
    assert!(config.emitter.reserve() > ByteSize::mib(19));
}

/// What faults a change of the minimal configuration has: their keys and words.
fn broken(change: impl FnOnce(&mut Config)) -> Vec<(Vec<String>, String)> {
    let mut config = minimal();
    change(&mut config);
    let Err(errors) = config.validate() else {
        return Vec::new();
    };
    errors
        .into_iter()
        .map(|fault| {
            assert!(!fault.remedy.is_empty());
            let keys = fault.places.iter().map(|place| place.key.clone()).collect();
            (keys, fault.problem)
        })
        .collect()
}

/// One fault, about exactly these keys, whose words hold this.
#[track_caller]
fn one_fault(keys: &[&str], words: &str, change: impl FnOnce(&mut Config)) {
    let faults = broken(change);
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert_eq!(faults[0].0, keys, "{faults:?}");
    assert!(faults[0].1.contains(words), "{faults:?}");
}

/// This fault among others: some values break several rules.
#[track_caller]
fn a_fault(keys: &[&str], words: &str, change: impl FnOnce(&mut Config)) {
    let faults = broken(change);
    assert!(
        faults
            .iter()
            .any(|(at, problem)| at == keys && problem.contains(words)),
        "{faults:?}"
    );
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Resident memory under a backlog and a slow SQS, as measured by `delayq-chaos backlog` for four pairs of these two
/// settings (64 and 96 MiB, 8 and 32 calls: 165 to 310 MiB): 2.8 × memory + 3.4 MiB a call − 40 MiB.
#[test]
fn the_routers_defaults_stay_within_256_mib() {
    let router = Config::default().router;
    let budget_mib = router.memory.as_u64() / (1024 * 1024);
    let resident_mib = budget_mib * 28 / 10 + u64::from(router.send_concurrency) * 34 / 10 - 40;
    assert!(resident_mib <= 256, "{resident_mib} MiB");
}

#[test]
fn a_variable_may_name_a_file_that_holds_the_value() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("secret");
    std::fs::write(&file, "hush, hush\n").expect("written");
    let path = file.to_str().expect("a path");
    let config = load_from(
        MINIMAL,
        &[
            ("DELAYQ_AWS__ACCESS_KEY_ID", "AKIA"),
            ("DELAYQ_AWS__SECRET_ACCESS_KEY_FILE", path),
            ("DELAYQ_KAFKA__PROPERTIES__SASL_PASSWORD_FILE", path),
        ],
        &[],
    )
    .expect("valid");
    let secret = config.aws.secret_access_key.expect("set");
    assert_eq!(secret.reveal(), "hush, hush");
    let properties: Vec<_> = config.kafka.properties.iter().collect();
    assert_eq!(
        properties,
        [(&"sasl.password".to_owned(), &"hush, hush".to_owned())]
    );
}

#[test]
fn a_file_that_is_not_there_and_a_value_given_twice_are_named() {
    let faults = load_from(
        MINIMAL,
        &[
            ("DELAYQ_CONSOLE__OPERATOR_TOKEN_FILE", "/nowhere/at/all"),
            ("DELAYQ_AWS__REGION", "a"),
            ("DELAYQ_AWS__REGION_FILE", "/dev/null"),
        ],
        &[],
    )
    .expect_err("two faults")
    .to_string();
    for part in [
        "OPERATOR_TOKEN_FILE",
        "/nowhere/at/all cannot be read",
        "is a twin of DELAYQ_AWS__REGION",
    ] {
        assert!(faults.contains(part), "{part} in {faults}");
    }
}
