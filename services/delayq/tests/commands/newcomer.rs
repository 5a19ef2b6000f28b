//! The first things that go wrong: nobody there, a wrong address, no credentials, a taken port.

use std::net::{SocketAddr, TcpListener};

use delayq_stack::Endpoints;

use crate::support::{Installation, Ran, endpoints, finish, program};

/// A port on which nobody listens.
fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

fn says(ran: &Ran, parts: &[&str]) {
    for part in parts {
        assert!(ran.err.contains(part), "{part} in {ran:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_is_told_of_all_three_with_the_address_and_the_setting() {
    let [kafka, sqs, dynamodb] = [free(), free(), free()].map(|address| address.to_string());
    let own = Installation::on(&Endpoints {
        kafka: kafka.clone(),
        sqs: format!("http://{sqs}"),
        dynamodb: format!("http://{dynamodb}"),
    });
    let check = own.check().await;
    assert_eq!(check.code, Some(1), "{check:#?}");
    let refused = "Connection refused";
    check.line(&[
        "problem: no broker answers",
        &kafka,
        refused,
        "-> check kafka.bootstrap_servers",
    ]);
    check.line(&[
        "problem: SQS at ",
        &sqs,
        refused,
        "-> check aws.sqs_endpoint",
    ]);
    check.line(&[
        "problem: DynamoDB at ",
        &dynamodb,
        refused,
        "-> check aws.dynamodb_endpoint",
    ]);
    assert_eq!(
        check.count("problem: "),
        3,
        "one cause, one line: {check:#?}"
    );
    assert_eq!(check.err, "", "the findings say it all");

    let target = own.target();
    let send = own
        .run(&["send", "--target", &target, "--value", "x"])
        .await;
    let init = own.run(&["init"]).await;
    for ran in [send, init] {
        assert_eq!(ran.code, Some(1), "{ran:#?}");
        says(
            &ran,
            &[
                "no broker answers",
                &kafka,
                refused,
                "check kafka.bootstrap_servers",
            ],
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_address_is_told_apart_from_a_dead_one() {
    let mut own = Installation::new().await;
    let unknown = "no-such-host.invalid:9092";
    own.set(format!("kafka.bootstrap_servers={unknown}"));
    let check = own.check().await;
    check.line(&["problem: no broker answers", unknown, "Failed to resolve"]);

    let http = endpoints().await.sqs.replace("http://", "");
    own.set(format!("kafka.bootstrap_servers={http}"));
    let check = own.check().await;
    check.line(&[
        "problem: no broker answers",
        &http,
        "speaks HTTP, not Kafka",
    ]);

    let mut own = Installation::new().await;
    own.set("kafka.properties.security.protocol=sasl_plaintext".to_owned());
    own.set("kafka.properties.sasl.mechanisms=PLAIN".to_owned());
    own.set("kafka.properties.sasl.username=u".to_owned());
    own.set("kafka.properties.sasl.password=hunter2".to_owned());
    let check = own.check().await;
    let line = check.line(&[
        "problem: no broker answers",
        "SASL",
        "-> check kafka.auth and kafka.properties",
    ]);
    assert!(!line.contains("hunter2"), "{line}");
}

/// `check` with AWS's own endpoints and nobody's credentials.
async fn check_aws_itself() -> Ran {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = program();
    command
        .current_dir(folder.path())
        .args(["check", "--set", "topics.allow=orders"])
        .args(["--set", "http.listen=127.0.0.1:0"])
        .arg(format!(
            "--set=kafka.bootstrap_servers={}",
            endpoints().await.kafka
        ))
        .env("HOME", folder.path())
        .env("AWS_EC2_METADATA_DISABLED", "true");
    finish(command, b"").await
}

#[cfg(not(feature = "tls"))]
#[tokio::test(flavor = "multi_thread")]
async fn a_build_without_tls_says_so_before_aws_is_asked() {
    let check = check_aws_itself().await;
    assert_eq!(check.code, Some(1), "{check:#?}");
    for service in ["SQS", "DynamoDB"] {
        check.line(&[
            "problem: ",
            "no TLS",
            service,
            "-> build with --features tls",
        ]);
    }
}

#[cfg(feature = "tls")]
#[tokio::test(flavor = "multi_thread")]
async fn missing_credentials_are_told_with_where_to_put_them() {
    let check = check_aws_itself().await;
    assert_eq!(check.code, Some(1), "{check:#?}");
    for service in ["SQS in eu-central-1: ", "DynamoDB in eu-central-1: "] {
        let problem = format!("problem: {service}");
        check.line(&[
            &problem,
            "no usable credentials",
            "-> set AWS_ACCESS_KEY_ID",
        ]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_only_a_warning() {
    let mut own = Installation::new().await;
    own.init().await;
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let listen = taken.local_addr().expect("an address").to_string();
    own.set(format!("http.listen={listen}"));
    let check = own.check().await;
    assert_eq!(check.code, Some(0), "{check:#?}");
    check.line(&["warning: ", &listen, "in use", "-> set http.listen"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_configuration_the_missing_setting_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["check", "init", "send", "config"] {
        let mut command = program();
        command.arg(name).current_dir(folder.path());
        let ran = finish(command, b"").await;
        assert_eq!(ran.code, Some(2), "{ran:#?}");
        says(&ran, &["topics.allow", "list the target topics"]);
    }
}
