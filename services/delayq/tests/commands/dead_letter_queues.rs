//! `dead-letters` over the queues in SQS beneath the emitters.

use std::sync::Arc;

use delayq_core::batch;
use delayq_core::priority::Priority;
use delayq_core::record::{Header, Path, Record, Scheduled, Source, TopicPartition};

use crate::support::{Installation, clients};

fn body(own: &Installation, offset: i64) -> String {
    let record = Scheduled {
        source: Source {
            at: TopicPartition::new(own.delay_topic(), 0),
            offset,
        },
        output_topic: Arc::from(format!("{}.low", own.target())),
        priority: Priority::Low,
        due_ms: 1_700_000_000_000,
        timestamp_ms: 1_700_000_000_000,
        id: None,
        path: Path::Short,
        record: Record {
            key: None,
            value: Some("v".into()),
            headers: vec![Header::text("a", "1")],
        },
        payload: None,
        limit: None,
    };
    batch::to_text(&batch::encode(&[record], 1).expect("encoded"))
}

async fn url(own: &Installation, name: &str) -> String {
    let name = format!("{}-{name}", own.prefix);
    let sqs = clients().await.sqs;
    let answer = sqs.get_queue_url().queue_name(name).send().await;
    answer.expect("a queue").queue_url.expect("a URL")
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_counted_listed_and_given_another_try() {
    let own = Installation::new().await;
    own.init().await;
    let sqs = clients().await.sqs;
    let dead = url(&own, "low-dead-letters").await;
    for body in [body(&own, 1), body(&own, 2), "garbage".to_owned()] {
        let sent = sqs.send_message().queue_url(&dead).message_body(body);
        sent.send().await.expect("sent");
    }
    let list = own.run(&["dead-letters", "list"]).await;
    assert_eq!(list.code, Some(0), "{list:#?}");
    let told = format!("{}-low-dead-letters: about 3 messages", own.prefix);
    assert!(list.err.contains(&told), "{list:#?}");
    let source = |offset: i64| format!("{}/0/{offset}", own.delay_topic());
    // Twice: looking takes nothing away.
    for _ in 0..2 {
        let list = own.run(&["dead-letters", "list", "--queues"]).await;
        assert_eq!(list.code, Some(0), "{list:#?}");
        for part in [source(1), source(2), "no batch".to_owned()] {
            list.line(&["queue low:", &part]);
        }
    }
    let filtered = own
        .run(&["dead-letters", "list", "--queues", "--source", &source(2)])
        .await;
    assert_eq!(filtered.out.matches(&source(1)).count(), 0, "{filtered:#?}");

    let redrive = [
        "dead-letters",
        "redrive",
        "--queues",
        "--source",
        &source(2),
    ];
    let dry = own.run(&[&redrive[..], &["--dry-run"]].concat()).await;
    assert!(dry.err.contains("1 messages would go back"), "{dry:#?}");
    let done = own.run(&redrive).await;
    assert_eq!(done.code, Some(1), "two are left: {done:#?}");
    assert!(done.err.contains("1 messages went back"), "{done:#?}");
    let main = sqs
        .receive_message()
        .queue_url(url(&own, "low").await)
        .max_number_of_messages(10)
        .send()
        .await
        .expect("received");
    let bodies: Vec<_> = main.messages().iter().filter_map(|m| m.body()).collect();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    let records = batch::from_text(bodies[0]).expect("a batch");
    assert_eq!(records[0].source.to_string(), source(2));
    let list = own.run(&["dead-letters", "list", "--queues"]).await;
    list.line(&["queue low:", &source(1)]);
    assert_eq!(list.out.matches(&source(2)).count(), 0, "{list:#?}");
}
