//! The routes of the example configuration, and other schedulers' headers, over the real stack.

#![allow(clippy::expect_used, reason = "tests fail by panicking")]

use std::path::Path;
use std::time::Duration;

use delayq::role::Role;
use delayq_e2e::produce::record;
use delayq_e2e::{Arrived, Deployment, Producer, read_until, stack};
use delayq_runtime::config::{Config, Sources, load};

const LIMIT: Duration = Duration::from_secs(60);

/// The example's routes, on topics of this test's own.
async fn with_example_routes() -> Deployment {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/local/routes.toml");
    let example: Config = load(&Sources {
        file: Some(file),
        ..Sources::default()
    })
    .expect("the example is valid");
    let mut deployment = Deployment::new(&[]).await;
    let prefix = deployment.prefix.clone();
    let own = |name: &String| format!("{prefix}.{name}");
    let config = &mut deployment.config;
    config.topics.delay = example.topics.delay.iter().map(own).collect();
    config.topics.allow = example.topics.allow.iter().map(own).collect();
    config.routes = example.routes;
    for route in &mut config.routes {
        route.target = route.target.as_ref().map(own);
        route.matches.target = route.matches.target.as_ref().map(own);
        route.matches.delay_topic = route.matches.delay_topic.as_ref().map(own);
    }
    config.validate().expect("still valid");
    let targets: Vec<_> = config.topics.allow.clone();
    delayq::app::init(config, &targets).await.expect("init");
    deployment
}

async fn arrivals(topics: &[String], count: usize) -> Vec<Arrived> {
    let kafka = &stack().await.endpoints().kafka;
    read_until(kafka, topics, LIMIT, |arrived| arrived.len() >= count).await
}

fn delay_ms(arrived: &Arrived) -> i64 {
    let number = |name| arrived.number(name).expect("a number");
    number("delayed-due-ms") - number("delayed-timestamp-ms")
}

fn by_key<'a>(arrived: &'a [Arrived], key: &str) -> &'a Arrived {
    arrived
        .iter()
        .find(|one| one.record.key.as_deref() == Some(key.as_bytes()))
        .unwrap_or_else(|| panic!("{key} has not come"))
}

#[tokio::test(flavor = "multi_thread")]
async fn delays_by_message_type_and_priority() {
    let deployment = with_example_routes().await;
    let replica = deployment.start(&Role::ALL);
    let kafka = &stack().await.endpoints().kafka;
    let producer = Producer::new(kafka, &deployment.config.topics.delay[0]);
    let (orders, alerts) = (
        format!("{}.orders", deployment.prefix),
        format!("{}.alerts", deployment.prefix),
    );
    let kind = ("message-type", "reminder");
    for (key, headers) in [
        ("standard", vec![("delay-target", &*orders), kind]),
        (
            "low",
            vec![("delay-target", &*orders), kind, ("delay-priority", "low")],
        ),
        (
            "high",
            vec![("delay-target", &*orders), kind, ("delay-priority", "high")],
        ),
        (
            "asked",
            vec![("delay-target", &*orders), kind, ("delay-ms", "1000")],
        ),
        ("plain", vec![("delay-target", &*orders)]),
        ("alert", vec![("delay-target", &*alerts)]),
        (
            "alert-high",
            vec![
                ("delay-target", &*alerts),
                ("delay-priority", "high"),
                ("delay-ms", "60000"),
            ],
        ),
    ] {
        producer.send(record(Some(key), Some("v"), &headers)).await;
    }
    let bulk = Producer::new(kafka, &deployment.config.topics.delay[1]);
    bulk.send(record(Some("bulk"), Some("v"), &[])).await;
    let topics: Vec<_> = [&orders, &alerts]
        .into_iter()
        .flat_map(|t| ["high", "standard", "low"].map(|p| format!("{t}.{p}")))
        .collect();
    let arrived = arrivals(&topics, 8).await;
    replica.stop().await;
    for (key, delay, topic) in [
        ("standard", 5_000, format!("{orders}.standard")),
        ("low", 8_000, format!("{orders}.low")),
        ("high", 0, format!("{orders}.high")),
        ("asked", 1_000, format!("{orders}.standard")),
        ("plain", 0, format!("{orders}.standard")),
        ("alert", 5_000, format!("{alerts}.standard")),
        ("alert-high", 0, format!("{alerts}.high")),
        ("bulk", 0, format!("{orders}.low")),
    ] {
        let one = by_key(&arrived, key);
        assert_eq!((delay_ms(one), &one.topic), (delay, &topic), "{key}");
        assert!(
            one.timestamp_ms >= one.number("delayed-due-ms").expect("due"),
            "{key} is early"
        );
    }
    let typed = by_key(&arrived, "standard");
    assert_eq!(typed.text("message-type"), Some("reminder"), "passed on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limited_route_keeps_its_rate_and_holds_up_nobody() {
    const LIMITED: usize = 500;
    let deployment = with_example_routes().await;
    let replica = deployment.start(&[Role::Router]);
    let kafka = &stack().await.endpoints().kafka;
    let producer = std::sync::Arc::new(Producer::new(kafka, &deployment.config.topics.delay[0]));
    let (hooks, orders) = (
        format!("{}.webhooks", deployment.prefix),
        format!("{}.orders", deployment.prefix),
    );
    let to = |target: &str, key: String| {
        record(
            Some(&key),
            Some("v"),
            &[("delay-target", target), ("delay-ms", "3000")],
        )
    };
    let limited = (0..LIMITED)
        .map(|n| to(&hooks, format!("hook-{n}")))
        .collect();
    producer.send_all(limited).await;
    producer
        .send_all(
            (0..100)
                .map(|n| to(&orders, format!("order-{n}")))
                .collect(),
        )
        .await;
    let emitter = deployment.start(&[Role::Emitter]);
    let other = arrivals(&[format!("{orders}.standard")], 100).await;
    let hooked = arrivals(std::slice::from_ref(&hooks), LIMITED).await;
    replica.stop().await;
    emitter.stop().await;
    assert_eq!(other.len(), 100);
    let mut keys: Vec<_> = hooked.iter().map(|one| one.record.key.clone()).collect();
    keys.sort();
    keys.dedup();
    assert_eq!((hooked.len(), keys.len()), (LIMITED, LIMITED), "each once");
    let mut times: Vec<_> = hooked.iter().map(|one| one.timestamp_ms).collect();
    times.sort_unstable();
    // In any second no more than 50, the two at its edges apart, whose milliseconds are rounded.
    for (first, after) in times.iter().zip(times.iter().skip(52)) {
        assert!(after - first >= 990, "53 within {} ms", after - first);
    }
    let last_order = other.iter().map(|one| one.timestamp_ms).max();
    assert!(
        last_order < times.last().copied(),
        "the others did not wait for it"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_is_spread_and_its_route_refuses_what_is_too_far() {
    let deployment = with_example_routes().await;
    let replica = deployment.start(&Role::ALL);
    let kafka = &stack().await.endpoints().kafka;
    let producer = std::sync::Arc::new(Producer::new(kafka, &deployment.config.topics.delay[0]));
    let digests = format!("{}.digests", deployment.prefix);
    let far = [("delay-target", &*digests), ("delay-ms", "3600001")];
    producer.send(record(Some("far"), None, &far)).await;
    let burst = (0..200).map(|n| {
        let to = [("delay-target", &*digests), ("delay-ms", "2000")];
        record(Some(&format!("d-{n}")), Some("v"), &to)
    });
    producer.send_all(burst.collect()).await;
    let arrived = arrivals(&[format!("{digests}.standard")], 200).await;
    let dead = arrivals(
        std::slice::from_ref(&deployment.config.topics.dead_letter),
        1,
    )
    .await;
    replica.stop().await;
    assert_eq!(dead[0].text("delay-error"), Some("due-too-far"));
    let mut tenths = [0; 10];
    for one in &arrived {
        let after = delay_ms(one) - 2_000;
        assert!(
            (0..10_000).contains(&after),
            "{after} ms after the due time"
        );
        tenths[usize::try_from(after / 1000).expect("a second")] += 1;
    }
    assert!(tenths.iter().all(|n| *n >= 5), "evenly: {tenths:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rabbitmqs_and_kafka_message_schedulers_headers() {
    for preset in ["x-delay", "scheduler"] {
        let preset_setting = format!("headers.preset={preset}");
        let deployment = Deployment::new(&[&preset_setting]).await;
        deployment.init(&["a"]).await;
        let replica = deployment.start(&Role::ALL);
        let kafka = &stack().await.endpoints().kafka;
        let producer = Producer::new(kafka, &deployment.config.topics.delay[0]);
        let target = deployment.target("a");
        let now_s = stack_now_ms() / 1000;
        let epoch = (now_s + 4).to_string();
        let headers = match preset {
            "x-delay" => vec![("x-delay", "2000"), ("delay-target", &*target)],
            _ => vec![
                ("scheduler-epoch", &*epoch),
                ("scheduler-target-topic", &*target),
                ("scheduler-target-key", "new-key"),
            ],
        };
        producer
            .send(record(Some("schedule-1"), Some("v"), &headers))
            .await;
        let arrived = arrivals(&[format!("{target}.standard")], 1).await;
        replica.stop().await;
        let one = arrived.first().expect("it came");
        let key = one.record.key.as_deref();
        if preset == "x-delay" {
            assert_eq!(
                (delay_ms(one), key),
                (2_000, Some(b"schedule-1".as_slice()))
            );
        } else {
            assert_eq!(one.number("delayed-due-ms"), Some((now_s + 4) * 1000));
            assert_eq!(key, Some(b"new-key".as_slice()));
        }
        assert!(one.timestamp_ms >= one.number("delayed-due-ms").expect("due"));
        assert!(one.original_headers().is_empty(), "controls go no further");
    }
}

fn stack_now_ms() -> i64 {
    use delayq_core::clock::{Clock as _, SystemClock};
    SystemClock.now_ms()
}
