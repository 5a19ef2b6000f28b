//! Topics by configuration, and what is found wrong with them.

use delayq_runtime::config::{Sources, load};

use super::*;

const ROUTES: &str = r#"
[topics]
allow = ["*"]
[[routes]]
name = "audit"
match = { target = "orders", message_type = "audit" }
output = "audit.{target}"
[[routes]]
name = "bills"
match = { target = "bill*" }
output = "{target}"
"#;

fn config(toml: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("delayq.toml");
    std::fs::write(&file, toml).unwrap();
    load(&Sources {
        file: Some(file),
        ..Sources::default()
    })
    .unwrap()
}

fn names(config: &Config, targets: &[&str]) -> Vec<String> {
    let targets: Vec<_> = targets.iter().map(ToString::to_string).collect();
    let topics = topics(config, &targets);
    topics.into_iter().map(|topic| topic.name).collect()
}

#[test]
fn routes_decide_which_topics_a_target_has() {
    let config = config(ROUTES);
    let own = ["delayq.delay", "delayq.dead-letters", "delayq.canary"];
    assert_eq!(names(&config, &[]), own);
    assert_eq!(names(&config, &["bills"])[3..], ["bills"]);
    let orders = [
        "audit.orders",
        "orders.high",
        "orders.standard",
        "orders.low",
    ];
    assert_eq!(names(&config, &["orders", "orders"])[3..], orders);
}

#[test]
fn the_canary_topic_outlives_what_is_under_way_and_is_there_only_for_canaries() {
    let mut config = config(ROUTES);
    let canary = topics(&config, &[]).pop().unwrap();
    assert_eq!(canary.purpose, Purpose::Canary);
    let spec = canary.spec(&config, 6, -1);
    assert_eq!(spec.partitions, 1);
    let kept_ms: i64 = spec.config["retention.ms"].parse().unwrap();
    assert!(kept_ms >= crate::canary::times(&config).memory_ms());
    let compacted = faults(Purpose::Canary, &[("cleanup.policy", "compact")], None);
    assert!(compacted[0].what.contains("is compacted"), "{compacted:?}");
    config.canary.enabled = false;
    assert_eq!(names(&config, &[]).len(), 2);
}

fn faults(purpose: Purpose, settings: &[(&str, &str)], largest: Option<u64>) -> Vec<Shortcoming> {
    let topic = Topic {
        name: "t".to_owned(),
        purpose,
    };
    let found = TopicDescription {
        name: "t".to_owned(),
        partitions: 1,
        replication: 1,
        config: settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        own_config: BTreeMap::new(),
    };
    shortcomings(&topic, &found, largest, &Config::default())
}

#[test]
fn a_topic_as_init_makes_it_has_no_fault() {
    let config = Config::default();
    for topic in topics(&config, &["orders".to_owned()]) {
        let spec = topic.spec(&config, 6, -1);
        let settings: Vec<_> = spec
            .config
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            // What the broker adds.
            .chain([("cleanup.policy", "delete"), ("retention.bytes", "-1")])
            .collect();
        // Kafka's default limit of the delay topic.
        let found = faults(topic.purpose, &settings, Some(1_048_588));
        assert_eq!(found, [], "{}", topic.label());
    }
}

#[test]
fn each_fault_of_a_delay_topic_is_found() {
    let settings = [
        ("cleanup.policy", "compact,delete"),
        ("max.message.bytes", "2000000"),
        ("retention.ms", "86400000"),
        ("retention.bytes", "1000000"),
        ("message.timestamp.type", "CreateTime"),
    ];
    let found = faults(Purpose::Delay, &settings, None);
    let shown: Vec<_> = found
        .iter()
        .map(|fault| (fault.mild, fault.fix.as_ref().map(|fix| fix.0)))
        .collect();
    let expected = [
        (false, None),
        (false, None),
        (true, Some("retention.ms")),
        (true, Some("retention.bytes")),
        (true, Some("message.timestamp.type")),
    ];
    assert_eq!(shown, expected, "{found:?}");
    assert!(found[1].remedy.contains("kafka.message_max to 2001024"));
    assert!(found[2].what.contains("for 1day"), "{found:?}");
    for fine in ["-1", "259200000"] {
        assert_eq!(faults(Purpose::Delay, &[("retention.ms", fine)], None), []);
    }
}

#[test]
fn room_is_counted_from_the_delay_topics() {
    let limit = |bytes| [("max.message.bytes", bytes)];
    let max = Config::default().kafka.message_max.as_u64();
    // Kafka's default is too little for the headers that are added.
    let output = faults(Purpose::Output, &limit("1048588"), Some(1_048_588));
    assert_eq!(output.len(), 1);
    assert_eq!(output[0].fix, Some(("max.message.bytes", max.to_string())));
    assert!(output[0].remedy.contains("--targets"), "{output:?}");
    assert_eq!(
        faults(Purpose::Output, &limit("1049612"), Some(1_048_588)),
        []
    );
    assert_eq!(faults(Purpose::Output, &limit("11024"), Some(10_000)), []);
    let dead = faults(Purpose::DeadLetter, &limit("1048588"), Some(1_048_588));
    let room = (max + DEAD_LETTER_ROOM_BYTES).to_string();
    assert_eq!(dead[0].fix, Some(("max.message.bytes", room)));
    let compacted = faults(Purpose::DeadLetter, &[("cleanup.policy", "compact")], None);
    assert!(compacted[0].what.contains("without a key"), "{compacted:?}");
}
