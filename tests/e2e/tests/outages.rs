//! Kafka, SQS and DynamoDB absent at start and lost later: said clearly, tried again, recovered from without a restart.

use std::time::Duration;

use delayq::role::Role;
use delayq_e2e::deployment::own_stack;
use delayq_e2e::produce::record;
use delayq_e2e::{Deployment, Producer, Replica, read_until, until_committed};
use delayq_stack::{Component, Stack};

async fn until_ready(replica: &Replica, ready: bool) -> Vec<String> {
    let limit = tokio::time::Instant::now() + Duration::from_secs(90);
    loop {
        let readiness = replica.health.readiness();
        let reasons: Vec<_> = readiness
            .components
            .iter()
            .filter_map(|c| {
                c.reason
                    .as_ref()
                    .map(|reason| format!("{}: {reason}", c.name))
            })
            .collect();
        if readiness.ready == ready && (ready || !reasons.is_empty()) {
            return reasons;
        }
        assert!(
            tokio::time::Instant::now() < limit,
            "never ready = {ready}: {reasons:?}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn until_named(replica: &Replica, parts: &[&str]) {
    let limit = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let reasons = until_ready(replica, false).await;
        if parts
            .iter()
            .all(|part| reasons.iter().any(|reason| reason.starts_with(part)))
        {
            return;
        }
        assert!(
            tokio::time::Instant::now() < limit,
            "{parts:?} not all in {reasons:?}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Sends one record for each path; answers when all have arrived.
async fn walk_every_path(stack: &Stack, deployment: &Deployment, round: &str) {
    let kafka = &stack.endpoints().kafka;
    let producer = Producer::new(kafka, &format!("{}.delay", deployment.prefix));
    let target = deployment.target("a");
    for delay in ["0", "3000", "20000"] {
        producer
            .send(record(
                Some(round),
                Some(delay),
                &[("delay-target", &target), ("delay-ms", delay)],
            ))
            .await;
    }
    arrive(stack, deployment, round, 3).await;
}

async fn arrive(stack: &Stack, deployment: &Deployment, round: &str, count: usize) {
    let topics = [format!("{}.standard", deployment.target("a"))];
    let of_round = |a: &delayq_e2e::Arrived| a.record.key.as_deref() == Some(round.as_bytes());
    let arrived = read_until(
        &stack.endpoints().kafka,
        &topics,
        Duration::from_secs(90),
        |all| all.iter().filter(|a| of_round(a)).count() >= count,
    )
    .await;
    let arrived: Vec<_> = arrived.iter().filter(|a| of_round(a)).collect();
    assert_eq!(arrived.len(), count, "{round}");
    for one in arrived {
        assert!(
            one.number("delayed-due-ms")
                .is_some_and(|due_ms| one.timestamp_ms >= due_ms),
            "{round}: early"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_away_is_named_waited_for_and_made_up_for() {
    let Some(stack) = own_stack().await else {
        return;
    };
    let deployment = Deployment::on(stack.endpoints(), &[]);
    deployment.init(&["a"]).await;

    // Absent at start.
    for component in Component::ALL {
        stack.kill(component).await.expect("killed");
    }
    let replica = deployment.start(&Role::ALL);
    until_named(&replica, &["delay topics", "queue high (receive)", "tick"]).await;
    for component in Component::ALL {
        stack.start_component(component).await.expect("started");
    }
    // ElasticMQ keeps nothing over a restart: its queues are made anew, while delayq runs.
    deployment.init(&["a"]).await;
    until_ready(&replica, true).await;
    walk_every_path(&stack, &deployment, "after the start").await;

    // DynamoDB lost: long records wait, the others do not.
    stack.kill(Component::DynamoDb).await.expect("killed");
    let producer = Producer::new(
        &stack.endpoints().kafka,
        &format!("{}.delay", deployment.prefix),
    );
    let target = deployment.target("a");
    for delay in ["20000", "100", "2000"] {
        producer
            .send(record(
                Some("no table"),
                Some(delay),
                &[("delay-target", &target), ("delay-ms", delay)],
            ))
            .await;
    }
    arrive(&stack, &deployment, "no table", 2).await;
    until_named(&replica, &["long tier"]).await;
    stack
        .start_component(Component::DynamoDb)
        .await
        .expect("started");
    arrive(&stack, &deployment, "no table", 3).await;
    until_ready(&replica, true).await;

    // Kafka lost while records wait in the queue and in the timers.
    for delay in ["9000", "10000", "20000"] {
        producer
            .send(record(
                Some("no broker"),
                Some(delay),
                &[("delay-target", &target), ("delay-ms", delay)],
            ))
            .await;
    }
    // In the tiers, confirmed: what comes now is theirs to survive.
    let delay_topic = format!("{}.delay", deployment.prefix);
    until_committed(
        &stack.endpoints().kafka,
        &deployment.config.kafka.group_id,
        &delay_topic,
        Duration::from_secs(30),
    )
    .await;
    stack.kill(Component::Kafka).await.expect("killed");
    until_named(&replica, &["delay topics", "output topics"]).await;
    stack
        .start_component(Component::Kafka)
        .await
        .expect("started");
    arrive(&stack, &deployment, "no broker", 3).await;
    until_ready(&replica, true).await;
    walk_every_path(&stack, &deployment, "at the end").await;
    replica.stop().await;
}
