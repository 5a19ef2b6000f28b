//! `init`: all at once, again, dry, and over what others made.

use crate::support::{Installation, admin, create_topic};

/// Delay topic, dead-letter topic, canary topic, three output topics; six queues and the ticks; four tables.
const RESOURCES: usize = 17;

#[tokio::test(flavor = "multi_thread")]
async fn it_says_what_it_would_do_does_it_and_then_has_nothing_to_do() {
    let own = Installation::new().await;
    let target = own.target();
    let init = ["init", "--targets", &target, "--partitions", "2"];

    let dry = own.run(&[&init[..], &["--dry-run"]].concat()).await;
    assert_eq!(dry.code, Some(0), "{dry:#?}");
    assert_eq!(dry.count(": would create"), RESOURCES, "{dry:#?}");
    let check = own.check().await;
    assert_eq!(check.code, Some(1));
    let missing = check
        .out
        .matches(" does not exist -> run `delayq init`")
        .count();
    assert_eq!(missing, RESOURCES, "a dry run creates nothing: {check:#?}");

    let first = own.run(&init).await;
    assert_eq!(first.code, Some(0), "{first:#?}");
    assert_eq!(first.count(": created"), RESOURCES, "{first:#?}");
    let delay = admin()
        .await
        .describe(&own.delay_topic())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(delay.partitions, 2);
    assert_eq!(delay.config["message.timestamp.type"], "LogAppendTime");

    let second = own.run(&init).await;
    assert_eq!(second.code, Some(0), "{second:#?}");
    assert_eq!(second.count(": exists"), RESOURCES, "{second:#?}");

    let check = own.check().await;
    assert_eq!(check.code, Some(0), "{check:#?}");
    // Kafka itself and http.listen as well.
    assert_eq!(check.count("ok: "), RESOURCES + 2, "{check:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_made_is_told_with_its_remedy_and_set_right_on_demand() {
    let own = Installation::new().await;
    let (delay, target) = (own.delay_topic(), own.target());
    let (dead, output) = (format!("{}.dead", own.prefix), format!("{target}.high"));
    create_topic(
        &delay,
        &[
            ("message.timestamp.type", "CreateTime"),
            ("retention.ms", "3600000"),
            ("segment.ms", "600000"),
        ],
    )
    .await;
    create_topic(&dead, &[]).await;
    create_topic(&output, &[("max.message.bytes", "1000")]).await;
    let init = ["init", "--targets", &target];

    let told = own.run(&init).await;
    assert_eq!(told.code, Some(0), "{told:#?}");
    told.line(&[&delay, "differs: ", "CreateTime", "delayq init --fix"]);
    told.line(&[&delay, "keeps records for 1h"]);
    told.line(&[
        &dead,
        "differs: ",
        "set max.message.bytes=1179648 on the topic",
    ]);
    told.line(&[&output, "differs: ", "up to 1000 bytes", "--targets"]);
    let check = own.check().await;
    assert_eq!(check.code, Some(1));
    check.line(&[
        "warning: ",
        &delay,
        "CreateTime",
        "-> run `delayq init --fix`",
    ]);
    check.line(&["problem: ", &dead, "-> run `delayq init --fix`"]);
    check.line(&["problem: ", &output, "-> run `delayq init --fix`"]);

    let fix = [&init[..], &["--fix"]].concat();
    let dry = own.run(&[&fix[..], &["--dry-run"]].concat()).await;
    dry.line(&[&output, "differs, would set max.message.bytes=1114112"]);
    let before = admin().await.describe(&output).await.unwrap().unwrap();
    assert_eq!(
        before.config["max.message.bytes"], "1000",
        "a dry run changes nothing"
    );

    let fixed = own.run(&fix).await;
    assert_eq!(fixed.code, Some(0), "{fixed:#?}");
    fixed.line(&[
        &delay,
        "differed, set message.timestamp.type=LogAppendTime, retention.ms=",
    ]);
    let check = own.check().await;
    assert_eq!(check.code, Some(0), "{check:#?}");
    assert!(!check.out.contains("warning"), "{check:#?}");
    let after = admin().await.describe(&delay).await.unwrap().unwrap();
    assert_eq!(after.config["segment.ms"], "600000", "other settings stay");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_failure_ends_it_and_what_was_done_is_told() {
    let mut own = Installation::new().await;
    own.set("aws.sqs_endpoint=http://127.0.0.1:1".to_owned());
    let ran = own.run(&["init"]).await;
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    assert_eq!(ran.count(": created"), 3, "{ran:#?}");
    for part in [
        "http://127.0.0.1:1",
        "Connection refused",
        "check aws.sqs_endpoint",
    ] {
        assert!(ran.err.contains(part), "{ran:#?}");
    }
    // A topic that the broker refuses: two replicas on one broker.
    let own = Installation::new().await;
    let ran = own.run(&["init", "--replication", "2"]).await;
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    assert!(ran.err.contains(&own.delay_topic()), "{ran:#?}");
    assert!(ran.err.to_lowercase().contains("replication"), "{ran:#?}");
}
