//! `dead-letters` over letters that delayq wrote: refused, failed at publishing, too large for their topic.

use std::time::Duration;

use rdkafka::message::Message as _;
use serde_json::Value;
use tokio::time::Instant;

use crate::support::{Installation, Ran, create_topic, header, read_until, write};

fn json_lines(ran: &Ran) -> Vec<Value> {
    let lines = ran.out.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line} in {ran:#?}")))
        .collect()
}

/// The letters of a listing.
async fn listed(own: &Installation, args: &[&str]) -> Vec<Value> {
    let ran = own
        .run(&[&["dead-letters", "list", "--json"], args].concat())
        .await;
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let mut lines = json_lines(&ran);
    lines.retain(|line| line.get("letter").is_some());
    lines
}

async fn letters_written(own: &Installation, count: usize) {
    read_until(&[own.dead_topic()], move |letters| letters.len() >= count).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_record_is_mended_and_arrives() {
    let mut own = Installation::new().await;
    own.init().await;
    let _roles = own.roles();
    let target = own.target();
    let sent = own
        .run(&[
            "send",
            "--target",
            &target,
            "--key",
            "k",
            "--value",
            "order",
            "--header",
            "delay-mss=5",
            "--header",
            "a=1",
            "--force",
        ])
        .await;
    assert_eq!(sent.code, Some(0), "{sent:#?}");
    letters_written(&own, 1).await;

    let list = own.run(&["dead-letters", "list"]).await;
    list.line(&[
        "0/0",
        "unknown-header",
        &target,
        &own.delay_topic(),
        "delay-ms",
    ]);
    assert!(list.err.contains("1 open letters"), "{list:#?}");
    let show = own.run(&["dead-letters", "show", "0/0"]).await;
    assert!(show.out.ends_with("value    5 bytes\norder\n"), "{show:#?}");
    show.line(&["header   delay-mss = 5"]);

    let again = own.run(&["dead-letters", "redrive", "0/0"]).await;
    assert_eq!(again.code, Some(1), "{again:#?}");
    for part in [
        "0/0 left",
        "would be refused again",
        "unknown-header",
        "--without",
        "--force",
    ] {
        assert!(again.err.contains(part), "{part} in {again:#?}");
    }
    let mend = [
        "dead-letters",
        "redrive",
        "0/0",
        "--without",
        "delay-mss",
        "--header",
        "delay-ms=5",
    ];
    let dry = own.run(&[&mend[..], &["--dry-run"]].concat()).await;
    assert_eq!(dry.code, Some(0), "{dry:#?}");
    dry.line(&[
        "0/0 would go to",
        &format!("will appear in {target}.standard"),
    ]);
    assert_eq!(
        listed(&own, &[]).await.len(),
        1,
        "a dry run changes nothing"
    );

    let done = own.run(&mend).await;
    assert_eq!(done.code, Some(0), "{done:#?}");
    done.line(&["0/0 is ", &own.delay_topic()]);
    let arrived = read_until(&[format!("{target}.standard")], |all| !all.is_empty()).await;
    let record = &arrived[0];
    assert_eq!(record.payload(), Some(b"order".as_slice()));
    assert_eq!(record.key(), Some(b"k".as_slice()));
    assert_eq!(header(record, "delayed-redrives").as_deref(), Some("1"));
    assert_eq!(header(record, "a").as_deref(), Some("1"));
    assert_eq!(header(record, "delay-mss"), None);

    assert_eq!(listed(&own, &[]).await, Vec::<Value>::new());
    let all = listed(&own, &["--all"]).await;
    assert_eq!(all[0]["open"], false, "{all:#?}");
    let twice = own.run(&mend).await;
    assert_eq!(twice.code, Some(1), "{twice:#?}");
    assert!(twice.err.contains("not open"), "{twice:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_at_publishing_goes_where_it_was_going_once_its_topic_exists() {
    let mut own = Installation::new().await;
    own.init().await;
    let _roles = own.roles();
    let target = format!("{}-later", own.target());
    let sent = own
        .run(&[
            "send",
            "--target",
            &target,
            "--priority",
            "high",
            "--value",
            "order",
            "--header",
            "a=1",
            "--delay",
            "2s",
        ])
        .await;
    assert_eq!(sent.code, Some(0), "{sent:#?}");
    letters_written(&own, 1).await;
    let letters = listed(&own, &["--target", "*-later.high", "--reason", "publish-*"]).await;
    assert_eq!(letters.len(), 1, "{letters:#?}");
    assert_eq!(letters[0]["priority"], "high");
    let source = letters[0]["source"].as_str().expect("a source").to_owned();
    assert_eq!(listed(&own, &["--target", &own.target()]).await.len(), 0);
    assert_eq!(
        listed(&own, &["--source", &source, "--since", "10m"])
            .await
            .len(),
        1
    );
    assert_eq!(listed(&own, &["--until", "10m"]).await.len(), 0);
    let show = own.run(&["dead-letters", "show", &source, "--json"]).await;
    assert_eq!(json_lines(&show)[0]["value"], "order", "{show:#?}");

    let output = format!("{target}.high");
    create_topic(&output, &[]).await;
    let done = own
        .run(&[
            "dead-letters",
            "redrive",
            "--reason",
            "publish-failed",
            "--json",
        ])
        .await;
    assert_eq!(done.code, Some(0), "{done:#?}");
    let lines = json_lines(&done);
    assert!(
        lines[0]["redriven_to"]
            .as_str()
            .is_some_and(|place| place.starts_with(&own.delay_topic()))
    );
    assert_eq!(lines[1]["redriven"], 1);
    let arrived = read_until(&[output], |all| !all.is_empty()).await;
    assert_eq!(arrived[0].payload(), Some(b"order".as_slice()));
    assert_eq!(header(&arrived[0], "a").as_deref(), Some("1"));
    let due = |value: Option<String>| value.and_then(|text| text.parse::<i64>().ok());
    assert_eq!(
        due(header(&arrived[0], "delayed-due-ms")),
        letters[0]["due_ms"].as_i64(),
        "due when it was due"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_whose_content_is_in_the_payload_table_is_shown_and_redriven_whole() {
    let mut own = Installation::new().await;
    create_topic(&own.dead_topic(), &[("max.message.bytes", "20000")]).await;
    own.init().await;
    let _roles = own.roles();
    let target = own.target();
    // Compresses badly, as a large record would.
    let mut state = 7u32;
    let value: String = (0..60_000)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(b'!' + (state >> 24) as u8 % 90)
        })
        .collect();
    let args = [
        "send",
        "--target",
        &target,
        "--key",
        "k",
        "--header",
        "delay-priority=urgent",
        "--header",
        "a=1",
        "--force",
    ];
    let sent = own.run_with(&args, value.as_bytes()).await;
    assert_eq!(sent.code, Some(0), "{sent:#?}");
    letters_written(&own, 1).await;
    let letters = listed(&own, &[]).await;
    assert!(letters[0]["payload"].is_string(), "{letters:#?}");
    let show = own.run(&["dead-letters", "show", "0/0", "--json"]).await;
    assert_eq!(show.code, Some(0), "{}", show.err);
    assert_eq!(json_lines(&show)[0]["value"], *value);
    let done = own
        .run(&[
            "dead-letters",
            "redrive",
            "0/0",
            "--header",
            "delay-priority=low",
        ])
        .await;
    assert_eq!(done.code, Some(0), "{done:#?}");
    let arrived = read_until(&[format!("{target}.low")], |all| !all.is_empty()).await;
    assert_eq!(arrived[0].payload(), Some(value.as_bytes()));
    assert_eq!(header(&arrived[0], "a").as_deref(), Some("1"));
    for name in ["delay-error", "delay-error-payload", "delay-priority"] {
        assert_eq!(header(&arrived[0], name), None, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_again_and_again_is_left_until_somebody_looks() {
    let own = Installation::new().await;
    own.init().await;
    let headers = vec![
        ("delay-target", own.target()),
        ("delay-error", "invalid-priority".to_owned()),
        ("delayed-source", format!("{}/0/5", own.delay_topic())),
        ("delayed-redrives", "3".to_owned()),
    ];
    write(
        &own.dead_topic(),
        &[("k".to_owned(), "v".to_owned(), headers)],
    )
    .await;
    let left = own.run(&["dead-letters", "redrive", "--all"]).await;
    assert_eq!(left.code, Some(1), "{left:#?}");
    assert!(
        left.err.contains("redriven 3 times") && left.err.contains("--max-redrives"),
        "{left:#?}"
    );
    let done = own
        .run(&["dead-letters", "redrive", "--all", "--max-redrives", "4"])
        .await;
    assert_eq!(done.code, Some(0), "{done:#?}");
    let sent = read_until(&[own.delay_topic()], |all| !all.is_empty()).await;
    assert_eq!(header(&sent[0], "delayed-redrives").as_deref(), Some("4"));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_input_is_told_with_the_way_out() {
    let mut own = Installation::new().await;
    own.init().await;
    for (args, code, part) in [
        (&["redrive"][..], 2, "--all"),
        (&["purge", "--yes"], 2, "--all"),
        (&["purge", "--all"], 2, "--dry-run"),
        (&["show", "seventeen"], 2, "PARTITION/OFFSET"),
        (&["list", "--since", "yesterday"], 2, "RFC 3339"),
        (&["list", "--reason", "a[b"], 2, "a[b"),
        (&["redrive", "0/1", "--header", "x"], 2, "name=value"),
        (&["redrive", "0/1", "--queues"], 2, "cannot be used with"),
        (&["show", "0/99"], 1, "no such dead letter"),
        (&["show", "7/0"], 1, "no such dead letter"),
        (&["redrive", "0/99"], 1, "not there, or not open"),
        (&["purge", "0/99", "--yes"], 1, "not there, or not open"),
    ] {
        let ran = own.run(&[&["dead-letters"], args].concat()).await;
        assert_eq!(ran.code, Some(code), "{args:?}: {ran:#?}");
        assert!(ran.err.contains(part), "{args:?}: {part} in {ran:#?}");
    }
    let headers = vec![
        ("delay-target", own.target()),
        ("delay-error", "invalid-priority".to_owned()),
        ("delayed-source", "elsewhere.delay/0/5".to_owned()),
    ];
    write(
        &own.dead_topic(),
        &[("k".to_owned(), "v".to_owned(), headers)],
    )
    .await;
    let ran = own.run(&["dead-letters", "redrive", "--all"]).await;
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    assert!(
        ran.err.contains("elsewhere.delay") && ran.err.contains("--topic"),
        "{ran:#?}"
    );

    own.set(format!("topics.dead_letter={}.gone", own.prefix));
    let ran = own.run(&["dead-letters", "list"]).await;
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    assert!(
        ran.err.contains("does not exist: run `delayq init`"),
        "{ran:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_is_told_soon_and_a_queue_that_is_away_hides_no_letter() {
    let mut own = Installation::new().await;
    own.init().await;
    let headers = vec![("delay-error", "invalid-priority".to_owned())];
    write(
        &own.dead_topic(),
        &[("k".to_owned(), "v".to_owned(), headers)],
    )
    .await;
    own.set("aws.sqs_endpoint=http://127.0.0.1:1".to_owned());
    let list = own.run(&["dead-letters", "list"]).await;
    assert_eq!(list.code, Some(0), "{list:#?}");
    list.line(&["0/0", "invalid-priority"]);
    assert!(list.err.contains("queues were not looked at"), "{list:#?}");
    let queues = own.run(&["dead-letters", "list", "--queues"]).await;
    assert_eq!(queues.code, Some(1), "they were asked for: {queues:#?}");

    own.set("kafka.bootstrap_servers=127.0.0.1:1".to_owned());
    for command in [
        &["list"][..],
        &["show", "0/0"],
        &["redrive", "--all"],
        &["purge", "--all", "--yes"],
    ] {
        let started = Instant::now();
        let ran = own.run(&[&["dead-letters"], command].concat()).await;
        assert_eq!(ran.code, Some(1), "{ran:#?}");
        for part in [
            "no broker answers at 127.0.0.1:1",
            "refused",
            "check kafka.bootstrap_servers",
        ] {
            assert!(ran.err.contains(part), "{part} in {ran:#?}");
        }
        assert!(started.elapsed() < Duration::from_secs(20), "{command:?}");
    }
}
