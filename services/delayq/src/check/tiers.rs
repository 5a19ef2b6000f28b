//! SQS and DynamoDB: whether they answer, the queues and the tables.
//!
//! A queue's own visibility time-out is not looked at: every receive names its own (`emitter.visibility`,
//! `scheduler.lease`).

use std::sync::Arc;
use std::time::Duration;

use delayq_aws::inspect::{QUEUE_RETENTION, RECEIVE_COUNT_MIN};
use delayq_aws::{
    ChangeStream, Clients, DueIndex, Names, QueueState, TableState, Ttl, connect, inspect_queue,
    inspect_tables,
};
use delayq_core::clock::SystemClock;
use delayq_core::error::PortError;
use delayq_core::ports::Lane;
use delayq_core::priority::Priority;
use delayq_runtime::config::Config;
use tokio::task::JoinSet;

use super::{Finding, told};
use crate::settings;

/// How long a call may take; the configured times are for long polls and bad days.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
const INIT: &str = "run `delayq init`";

pub(super) async fn check(config: &Config) -> Vec<Finding> {
    let mut settings = settings::aws(config);
    settings.connect_timeout = settings.connect_timeout.min(CONNECT_TIMEOUT);
    settings.attempt_timeout = settings.attempt_timeout.min(CALL_TIMEOUT);
    settings.operation_timeout = settings.attempt_timeout + settings.connect_timeout;
    let faults = settings.faults();
    if !faults.is_empty() {
        return faults.iter().map(|fault| unusable(fault)).collect();
    }
    let clients = match connect(&settings, Arc::new(SystemClock)).await {
        Ok(clients) => clients,
        Err(error) => {
            let (what, remedy) = told(&error, "set [aws] right");
            return vec![Finding::problem(what, remedy)];
        }
    };
    let names = Names::with_prefix(&config.aws.prefix);
    let (queues, tables) = tokio::join!(
        check_queues(&clients, &names, config),
        check_tables(&clients, &names)
    );
    queues.into_iter().chain(tables).collect()
}

/// A fault of the settings: some end with what to do.
fn unusable(fault: &str) -> Finding {
    match fault.split_once(": build with ") {
        Some((what, rest)) => Finding::problem(what, format!("build with {rest}")),
        None => Finding::problem(fault, "set [aws] right"),
    }
}

/// A queue and what it is for.
enum Role {
    Main { dead_letters: String },
    DeadLetters,
    Ticks,
}

async fn check_queues(clients: &Clients, names: &Names, config: &Config) -> Vec<Finding> {
    let mut queues = Vec::new();
    for priority in Priority::ALL {
        let dead_letters = names.queues.lane(Lane::DeadLetter(priority));
        let main = names.queues.lane(Lane::Main(priority));
        queues.push((dead_letters.clone(), Role::DeadLetters));
        queues.push((main, Role::Main { dead_letters }));
    }
    queues.push((names.queues.ticks.clone(), Role::Ticks));
    let mut looks = JoinSet::new();
    for (index, (name, role)) in queues.into_iter().enumerate() {
        let clients = clients.clone();
        looks.spawn(async move {
            let state = inspect_queue(&clients, &name).await;
            (index, name, role, state)
        });
    }
    let mut looked = looks.join_all().await;
    looked.sort_by_key(|(index, ..)| *index);
    let message_bytes = config.packing.message_bytes.as_u64();
    let (mut findings, mut failures) = (Vec::new(), Vec::new());
    for (_, name, role, state) in looked {
        match state {
            Ok(Some(state)) => findings.extend(judge_queue(&name, &role, &state, message_bytes)),
            Ok(None) => findings.push(missing("queue", &name)),
            Err(error) => failures.push((name, error)),
        }
    }
    let endpoint = shown("SQS", &clients.sqs_endpoint);
    findings.extend(together(&endpoint, "queue", "aws.sqs_endpoint", failures));
    findings
}

fn judge_queue(name: &str, role: &Role, state: &QueueState, message_bytes: u64) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut problem = |what: String, remedy: &str| {
        findings.push(Finding::problem(format!("queue {name} {what}"), remedy));
    };
    if let Role::Ticks = role {
        if !state.fifo {
            problem(
                "is no FIFO queue: two schedulers could hold one shard".to_owned(),
                "delete it and run `delayq init`",
            );
        }
    } else if let Some(kept) = state.retention.filter(|kept| *kept < QUEUE_RETENTION) {
        problem(
            format!(
                "keeps messages for {}; in a longer outage of Kafka they would be lost",
                humantime::format_duration(kept)
            ),
            INIT,
        );
    }
    if let Role::Main { dead_letters } = role {
        match &state.redrive {
            None => problem(
                format!(
                    "has no redrive policy: a message that cannot be handled never reaches {dead_letters}"
                ),
                INIT,
            ),
            Some(redrive) if redrive.to != *dead_letters => problem(
                format!(
                    "sends what cannot be handled to {}, not to {dead_letters}",
                    redrive.to
                ),
                INIT,
            ),
            Some(redrive) if redrive.receive_count_max < u64::from(RECEIVE_COUNT_MIN) => problem(
                format!(
                    "gives a message up after {} receives: it holds many records, each may need some ({RECEIVE_COUNT_MIN} are wanted)",
                    redrive.receive_count_max
                ),
                INIT,
            ),
            Some(_) => {}
        }
        if let Some(limit) = state.message_max_bytes.filter(|max| *max < message_bytes) {
            problem(
                format!(
                    "takes messages of up to {limit} bytes, and packing.message_bytes is {message_bytes}"
                ),
                "raise MaximumMessageSize of the queue, or lower packing.message_bytes",
            );
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok(format!("queue {name}")));
    }
    findings
}

async fn check_tables(clients: &Clients, names: &Names) -> Vec<Finding> {
    let (mut findings, mut failures) = (Vec::new(), Vec::new());
    for (name, state) in inspect_tables(clients, &names.tables).await {
        match state {
            Ok(Some(state)) => findings.extend(judge_table(&name, &state)),
            Ok(None) => findings.push(missing("table", &name)),
            Err(error) => failures.push((name, error)),
        }
    }
    let endpoint = shown("DynamoDB", &clients.dynamodb_endpoint);
    let setting = "aws.dynamodb_endpoint";
    findings.extend(together(&endpoint, "table", setting, failures));
    findings
}

fn judge_table(name: &str, state: &TableState) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut problem = |what: &str, remedy: &str| {
        findings.push(Finding::problem(format!("table {name}: {what}"), remedy));
    };
    if let Some(fault) = &state.keys_fault {
        let (what, remedy) = fault.split_once("; ").unwrap_or((fault, INIT));
        problem(what, remedy);
    }
    if !state.usable {
        problem(
            "it cannot be used yet or any more",
            "wait until it is ACTIVE",
        );
    }
    match &state.ttl {
        Ttl::NotNeeded | Ttl::On => {}
        Ttl::Off => problem("TTL is off: what was delivered would stay, and cost", INIT),
        Ttl::Elsewhere(other) => problem(
            &format!("TTL is on attribute `{other}`, which delayq does not write"),
            "switch it off, wait until that is done, and run `delayq init`",
        ),
    }
    match &state.stream {
        ChangeStream::NotNeeded | ChangeStream::On => {}
        ChangeStream::Off => problem("its stream is off: nobody can follow its changes", INIT),
        ChangeStream::Other(view) => problem(
            &format!("its stream shows {view}, not the rows before and after each change"),
            "switch it off, wait until that is done, and run `delayq init`",
        ),
    }
    match &state.index {
        DueIndex::NotNeeded | DueIndex::On => {}
        DueIndex::Making => problem(
            "its index by due time is being made",
            "wait until it is ACTIVE",
        ),
        DueIndex::Missing => problem(
            "it has no index by due time: nobody can list its records",
            INIT,
        ),
        DueIndex::Wrong(fault) => {
            let (what, remedy) = fault.split_once("; ").unwrap_or((fault, INIT));
            problem(what, remedy);
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok(format!("table {name}")));
    }
    findings
}

fn missing(kind: &str, name: &str) -> Finding {
    Finding::problem(
        format!("{kind} {name} does not exist"),
        "run `delayq init`, or check aws.prefix, aws.region and the account",
    )
}

/// `SQS at http://…`, or `SQS in eu-central-1` as the adapter says it.
fn shown(service: &str, endpoint: &str) -> String {
    if endpoint.starts_with(service) {
        endpoint.to_owned()
    } else {
        format!("{service} at {endpoint}")
    }
}

/// One finding for what has failed in the same way for many.
fn together(
    endpoint: &str,
    kind: &str,
    setting: &str,
    failures: Vec<(String, PortError)>,
) -> Vec<Finding> {
    let otherwise = format!("check {setting}, aws.region and the network");
    let mut groups: Vec<((String, String), Vec<String>)> = Vec::new();
    for (name, mut error) in failures {
        if let Some(rest) = error.detail.strip_prefix(&format!("{kind} {name}: ")) {
            error.detail = rest.to_owned();
        }
        let said = told(&error, &otherwise);
        match groups.iter_mut().find(|(known, _)| *known == said) {
            Some((_, names)) => names.push(name),
            None => groups.push((said, vec![name])),
        }
    }
    let finding = |((what, remedy), names): ((String, String), Vec<String>)| {
        let names = names.join(", ");
        Finding::problem(format!("{endpoint}: {what} ({kind} {names})"), remedy)
    };
    groups.into_iter().map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use delayq_aws::inspect::Redrive;
    use delayq_core::error::ErrorClass;

    fn main() -> Role {
        Role::Main {
            dead_letters: "q-dead-letters".to_owned(),
        }
    }

    fn good() -> QueueState {
        QueueState {
            fifo: false,
            retention: Some(QUEUE_RETENTION),
            message_max_bytes: Some(1_048_576),
            redrive: Some(Redrive {
                to: "q-dead-letters".to_owned(),
                receive_count_max: 100,
            }),
        }
    }

    #[test]
    fn each_fault_of_a_queue_is_found() {
        let judge = |state: QueueState| {
            let found = judge_queue("q", &main(), &state, 262_144);
            found
                .into_iter()
                .map(|f| f.to_string())
                .collect::<Vec<_>>()
                .join("\n")
        };
        assert_eq!(judge(good()), "ok: queue q");
        let redrive = |to: &str, receive_count_max| QueueState {
            redrive: Some(Redrive {
                to: to.to_owned(),
                receive_count_max,
            }),
            ..good()
        };
        for (state, part) in [
            (
                QueueState {
                    redrive: None,
                    ..good()
                },
                "no redrive policy",
            ),
            (redrive("other", 100), "to other, not to q-dead-letters"),
            (redrive("q-dead-letters", 3), "after 3 receives"),
            (
                QueueState {
                    retention: Some(QUEUE_RETENTION / 2),
                    ..good()
                },
                "keeps messages for 7days",
            ),
            (
                QueueState {
                    message_max_bytes: Some(65_536),
                    ..good()
                },
                "packing.message_bytes is 262144",
            ),
        ] {
            let found = judge(state);
            assert!(
                found.starts_with("problem: queue q ") && found.contains(part),
                "{found}"
            );
        }
        let unknown = QueueState {
            redrive: good().redrive,
            ..QueueState::default()
        };
        assert_eq!(
            judge(unknown),
            "ok: queue q",
            "an emulator does not tell all"
        );
        let ticks = judge_queue("t", &Role::Ticks, &QueueState::default(), 1);
        assert!(ticks[0].to_string().contains("no FIFO queue"), "{ticks:?}");
    }

    #[test]
    fn each_fault_of_a_table_is_found() {
        let good = TableState {
            usable: true,
            keys_fault: None,
            ttl: Ttl::On,
            stream: ChangeStream::On,
            index: DueIndex::On,
        };
        assert_eq!(judge_table("t", &good), [Finding::ok("table t")]);
        let bad = TableState {
            usable: false,
            keys_fault: Some("other keys; choose another prefix".to_owned()),
            ttl: Ttl::Elsewhere("x".to_owned()),
            stream: ChangeStream::Other("KEYS_ONLY".to_owned()),
            index: DueIndex::Wrong("other rows; remove the index".to_owned()),
        };
        let found = judge_table("t", &bad);
        assert_eq!(found.len(), 5, "{found:?}");
        assert_eq!(found[0].remedy, "choose another prefix");
        assert_eq!(found[4].remedy, "remove the index");
        let off = TableState {
            ttl: Ttl::Off,
            stream: ChangeStream::Off,
            index: DueIndex::Missing,
            ..good.clone()
        };
        let making = TableState {
            index: DueIndex::Making,
            ..good
        };
        assert!(
            judge_table("t", &making)[0]
                .to_string()
                .contains("being made")
        );
        let found = judge_table("t", &off);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found.iter().all(|f| f.remedy == INIT), "{found:?}");
    }

    #[test]
    fn one_cause_is_told_once() {
        let error = |name: &str| {
            let detail = format!("queue {name}: no answer from x: refused");
            (
                name.to_owned(),
                PortError::new(ErrorClass::Transient, "sqs GetQueueUrl", detail),
            )
        };
        let found = together(
            "SQS at x",
            "queue",
            "aws.sqs_endpoint",
            vec![error("a"), error("b")],
        );
        assert_eq!(found.len(), 1, "{found:?}");
        let text = found[0].to_string();
        assert!(
            text.contains("(queue a, b)") && text.contains("check aws.sqs_endpoint"),
            "{text}"
        );
    }
}
