//! Silence is impossible (P8), over the real stack: canaries travel every path, and what stands still is named by whoever
//! still runs, until it moves.

use std::collections::BTreeSet;
use std::time::Duration;

use delayq::role::Role;
use delayq_core::priority::Priority;
use delayq_e2e::deployment::own_stack;
use delayq_e2e::produce::record;
use delayq_e2e::{Arrived, Deployment, Producer, Replica, read_until};
use delayq_stack::Component;
use tokio::time::Instant;

/// A canary a second, missed after 7.
const CANARIES: [&str; 6] = [
    "canary.enabled=true",
    "canary.interval=1s",
    "canary.overdue_after=7s",
    "kafka.session_timeout=6s",
    "kafka.revoke_timeout=5s",
    "router.stall_after=5s",
];
const PATIENCE: Duration = Duration::from_secs(180);

fn reasons(replica: &Replica) -> Vec<(String, String)> {
    let components = replica.health.readiness().components;
    let unready = components.into_iter().filter(|one| !one.ready);
    unready
        .map(|one| (one.name, one.reason.unwrap_or_default()))
        .collect()
}

/// Waits until a component whose name begins so complains with these words.
async fn until_named(replica: &Replica, component: &str, words: &str) {
    let until = Instant::now() + PATIENCE;
    loop {
        let all = reasons(replica);
        let named = |(name, reason): &(String, String)| {
            name.starts_with(component) && reason.contains(words)
        };
        if all.iter().any(named) {
            return;
        }
        assert!(
            Instant::now() < until,
            "{component}: {words:?} not in {all:?}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn until_ready(replicas: &[&Replica]) {
    let until = Instant::now() + PATIENCE;
    loop {
        if replicas.iter().all(|one| one.health.readiness().ready) {
            return;
        }
        let all: Vec<_> = replicas.iter().map(|one| reasons(one)).collect();
        assert!(Instant::now() < until, "{all:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Reads the canary topic until `count` canaries of each path and priority have come by the path they were meant for.
async fn walked_every_path(kafka: &str, deployment: &Deployment, count: usize) {
    let topics = [deployment.config.canary.topic.clone()];
    let walked = |all: &[Arrived]| {
        let mut done = BTreeSet::new();
        for path in ["direct", "short", "long"] {
            for priority in Priority::ALL {
                let is = |one: &&Arrived| {
                    one.text("delayed-path") == Some(path)
                        && one.text("canary-path") == Some(path)
                        && one.text("canary-priority") == Some(priority.as_str())
                };
                if all.iter().filter(is).count() >= count {
                    done.insert((path, priority));
                }
            }
        }
        done
    };
    let arrived = read_until(kafka, &topics, PATIENCE, |all| walked(all).len() == 9).await;
    assert_eq!(walked(&arrived).len(), 9, "only {:?}", walked(&arrived));
    for one in arrived {
        let due_ms = one.number("delayed-due-ms").expect("a due time");
        assert!(one.timestamp_ms >= due_ms, "early");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_role_that_does_not_run_is_missed_by_the_others_until_it_does() {
    let deployment = Deployment::new(&CANARIES).await;
    deployment.init(&["a"]).await;
    let kafka = deployment.config.kafka.bootstrap_servers.clone();
    let router = deployment.start(&[Role::Router]);
    let emitter = deployment.start(&[Role::Emitter]);
    let scheduler = deployment.start(&[Role::Scheduler]);
    walked_every_path(&kafka, &deployment, 3).await;
    until_ready(&[&router, &emitter, &scheduler]).await;

    // Its lead is 10 s: the shards are named first, then what should have come by now.
    scheduler.stop().await;
    until_named(&router, "shard ", "schedulers must run").await;
    until_named(&router, "canary long", "overdue: high for ").await;
    until_named(&emitter, "canary long", "schedulers").await;
    let short = |(name, _): &(String, String)| name == "canary short" || name == "canary direct";
    assert!(
        !reasons(&router).iter().any(short),
        "the other paths are free"
    );
    let scheduler = deployment.start(&[Role::Scheduler]);
    until_ready(&[&router, &emitter, &scheduler]).await;

    emitter.stop().await;
    until_named(&router, "canary short", "low for ").await;
    let direct = |(name, _): &(String, String)| name == "canary direct";
    assert!(!reasons(&router).iter().any(direct), "it needs no emitter");
    let emitter = deployment.start(&[Role::Emitter]);
    until_ready(&[&router, &emitter]).await;

    router.stop().await;
    until_named(&emitter, "canary direct", "standard for ").await;
    let router = deployment.start(&[Role::Router]);
    until_ready(&[&router, &emitter, &scheduler]).await;
    for replica in [router, emitter, scheduler] {
        replica.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_tier_that_takes_nothing_is_named_with_the_partitions_that_wait_for_it() {
    let Some(stack) = own_stack().await else {
        return;
    };
    let deployment = Deployment::on(stack.endpoints(), &CANARIES);
    deployment.init(&["a"]).await;
    let replica = deployment.start(&Role::ALL);
    walked_every_path(&stack.endpoints().kafka, &deployment, 2).await;
    until_ready(&[&replica]).await;

    stack.kill(Component::DynamoDb).await.expect("killed");
    let producer = Producer::new(
        &stack.endpoints().kafka,
        &format!("{}.delay", deployment.prefix),
    );
    let target = deployment.target("a");
    let headers = [("delay-target", &*target), ("delay-ms", "20000")];
    let (partition, offset) = producer.send(record(None, Some("v"), &headers)).await;
    until_named(&replica, "long tier (router)", "dynamodb").await;
    let stalled = format!("partition {}.delay/{partition}", deployment.prefix);
    until_named(&replica, &stalled, "stalled: offset ").await;
    until_named(&replica, "canary long", "tables").await;
    let stack_is_back = stack.start_component(Component::DynamoDb).await;
    stack_is_back.expect("started");
    until_ready(&[&replica]).await;
    let components = replica.health.readiness().components;
    let partitions = components
        .iter()
        .filter(|one| one.name.starts_with("partition"));
    assert_eq!(partitions.count(), 0, "offset {offset} is through");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_their_topic_no_canary_is_sent_and_the_remedy_is_named() {
    let deployment = Deployment::new(&CANARIES).await;
    let mut without = Deployment {
        config: deployment.config.clone(),
        prefix: deployment.prefix.clone(),
    };
    without.config.canary.enabled = false;
    without.init(&["a"]).await;
    let replica = deployment.start(&Role::ALL);
    until_named(&replica, "canary topic", "run `delayq init`").await;
    // It has joined its group by then: what it sends, it sends now.
    let topics = [deployment.config.topics.dead_letter.clone()];
    let kafka = &deployment.config.kafka.bootstrap_servers;
    let until_joined = |replica: &Replica| {
        let components = replica.health.readiness().components;
        components
            .iter()
            .any(|one| one.name == "delay topics" && one.ready)
    };
    let until = Instant::now() + PATIENCE;
    while !until_joined(&replica) {
        assert!(Instant::now() < until, "{:?}", reasons(&replica));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let dead = read_until(kafka, &topics, Duration::from_secs(5), |all| {
        !all.is_empty()
    })
    .await;
    assert!(dead.is_empty(), "{dead:?}");
    // Made while it runs, it is found.
    deployment.init(&["a"]).await;
    walked_every_path(kafka, &deployment, 1).await;
    until_ready(&[&replica]).await;
    replica.stop().await;
}
