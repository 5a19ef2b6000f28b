//! [`MessageIndex`]: every row that is asked for, in order, once. Each check takes an empty table. A change is seen after a while:
//! what is written first is waited for.

use delayq_core::ports::{MessageFilter, MessageIndex, MessageRegistry, Written};
use delayq_core::priority::Priority;
use delayq_core::record::Path;
use delayq_core::tracked::{Claim, Details, MessageKey, MessageRow, Publication, State, Version};
use tokio::time::{Duration, sleep};

use crate::within;

const NOW_MS: i64 = 1_790_000_000_000;
/// Far from now on every clock.
const EXPIRES_S: i64 = 4_102_444_800;

/// A table whose rows can be listed.
pub trait Indexed: MessageRegistry + MessageIndex {}

impl<T: MessageRegistry + MessageIndex> Indexed for T {}

fn row(id: &str, due_ms: i64) -> MessageRow {
    MessageRow {
        key: MessageKey {
            topic: "orders.delay".into(),
            id: id.into(),
        },
        version: Version {
            partition: 3,
            offset: 1_000,
            appended_ms: NOW_MS,
        },
        revision: 1,
        details: Some(Details {
            due_ms,
            output_topic: "orders.standard".into(),
            priority: Priority::Standard,
            path: Path::Short,
        }),
        state: State::Scheduled,
        overlaps: false,
        expires_s: EXPIRES_S,
    }
}

fn bound_for(id: &str, due_ms: i64, topic: &str, priority: Priority) -> MessageRow {
    let details = Details {
        due_ms,
        output_topic: topic.into(),
        priority,
        path: Path::Long,
    };
    MessageRow {
        details: Some(details),
        ..row(id, due_ms)
    }
}

/// All of the delay topic.
fn all() -> MessageFilter {
    MessageFilter {
        topic: "orders.delay".into(),
        state: None,
        output_topic: None,
        priority: None,
        due_from_ms: i64::MIN,
        due_to_ms: i64::MAX,
    }
}

fn in_state(state: &'static str) -> MessageFilter {
    MessageFilter {
        state: Some(state),
        ..all()
    }
}

fn due(due_from_ms: i64, due_to_ms: i64) -> MessageFilter {
    MessageFilter {
        due_from_ms,
        due_to_ms,
        ..all()
    }
}

fn states() -> [State; 5] {
    [
        State::Scheduled,
        State::Publishing(Claim {
            by: "emitter-1".into(),
            at_ms: NOW_MS,
            until_ms: NOW_MS + 30_000,
        }),
        State::Published(Publication {
            at_ms: NOW_MS,
            partition: 0,
            offset: 5,
        }),
        State::Cancelled { at_ms: NOW_MS },
        State::Dead {
            at_ms: NOW_MS,
            reason: "output-refused".to_owned(),
        },
    ]
}

async fn created(table: &dyn Indexed, row: &MessageRow) {
    let written = table.write(row.clone(), None).await;
    assert_eq!(written, Ok(Written::Done));
}

/// Writes many, some at once.
async fn created_all(table: &dyn Indexed, rows: &[MessageRow]) {
    let (mut first, mut second) = (rows.iter().step_by(2), rows.iter().skip(1).step_by(2));
    let mut one = async || {
        for row in first.by_ref() {
            created(table, row).await;
        }
    };
    let mut other = async || {
        for row in second.by_ref() {
            created(table, row).await;
        }
    };
    tokio::join!(one(), other());
}

/// The row as it is after this one.
async fn replaced(table: &dyn Indexed, old: &MessageRow, state: State) -> MessageRow {
    let new = MessageRow {
        revision: old.revision + 1,
        state,
        ..old.clone()
    };
    let written = table.write(new.clone(), Some(old.stamp())).await;
    assert_eq!(written, Ok(Written::Done));
    new
}

/// Page by page to the end.
async fn listed(table: &dyn Indexed, filter: &MessageFilter, limit: usize) -> Vec<MessageRow> {
    let (mut rows, mut after) = (Vec::new(), None);
    loop {
        let page = table.list(filter, after.as_deref(), limit).await.unwrap();
        assert!(page.rows.len() <= limit, "{} rows", page.rows.len());
        rows.extend(page.rows);
        assert!(page.next.is_none() || page.next != after, "no way forward");
        after = page.next;
        if after.is_none() {
            return rows;
        }
    }
}

async fn ids(table: &dyn Indexed, filter: &MessageFilter) -> Vec<String> {
    let rows = listed(table, filter, 100).await;
    rows.iter().map(|row| row.key.id.to_string()).collect()
}

/// Waits until that many rows of the topic are seen.
async fn seen(table: &dyn Indexed, count: usize) {
    within(10, "rows are seen in the index", async {
        while listed(table, &all(), 1_000).await.len() != count {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

/// Waits until the list is this one.
async fn lists(table: &dyn Indexed, filter: &MessageFilter, expected: &[MessageRow]) {
    within(10, "a change is seen in the index", async {
        while listed(table, filter, 100).await != expected {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

/// Where nothing was written nothing is listed, nor where no due time can be.
pub async fn of_nothing_there_is_an_empty_list(table: &dyn Indexed) {
    let page = table.list(&all(), None, 10).await.unwrap();
    assert_eq!((page.rows, page.next), (vec![], None));
    created(table, &row("a", NOW_MS)).await;
    seen(table, 1).await;
    for filter in [due(NOW_MS, NOW_MS), due(NOW_MS + 1, NOW_MS - 1)] {
        let page = table.list(&filter, None, 10).await.unwrap();
        assert_eq!((page.rows, page.next), (vec![], None));
    }
    let elsewhere = MessageFilter {
        state: Some("superseded"),
        ..all()
    };
    assert!(ids(table, &elsewhere).await.is_empty());
}

/// By due time, also before the epoch, then by id; whole rows, whatever the order of writing was.
pub async fn rows_are_in_order_and_whole(table: &dyn Indexed) {
    let mut rows = Vec::new();
    for (n, due_ms) in [i64::MAX - 1, 0, NOW_MS, -1, 9, i64::MIN, 10, NOW_MS + 1]
        .into_iter()
        .enumerate()
    {
        for id in ["b", "a", "é", "a|b", "B"] {
            let state = states()[n % 5].clone();
            rows.push(MessageRow {
                state,
                ..row(&format!("{id}-{n}"), due_ms)
            });
        }
    }
    created_all(table, &rows).await;
    rows.sort_by_key(|row| (row.details.as_ref().map(|d| d.due_ms), row.key.clone()));
    lists(table, &all(), &rows).await;
    assert_eq!(listed(table, &all(), 3).await, rows);
}

/// A state is listed alone, also scheduled and publishing.
pub async fn each_state_is_listed(table: &dyn Indexed) {
    for state in states() {
        let id = state.as_str();
        for n in 0..3 {
            let row = row(&format!("{id}-{n}"), NOW_MS + n);
            let state = state.clone();
            created(table, &MessageRow { state, ..row }).await;
        }
    }
    seen(table, 15).await;
    for state in states() {
        let state = state.as_str();
        let expected = [0, 1, 2].map(|n| format!("{state}-{n}"));
        assert_eq!(ids(table, &in_state(state)).await, expected);
    }
}

/// Output topic, priority and state narrow a list, alone and together.
pub async fn targets_and_priorities_are_listed(table: &dyn Indexed) {
    let mut count = 0;
    for (n, priority) in (0..).zip(Priority::ALL) {
        for topic in ["orders", "orders.high"] {
            let id = format!("{topic}/{}", priority.as_str());
            created(table, &bound_for(&id, NOW_MS + n, topic, priority)).await;
            let id = format!("{id}/cancelled");
            let state = State::Cancelled { at_ms: NOW_MS };
            let row = bound_for(&id, NOW_MS + n, topic, priority);
            created(table, &MessageRow { state, ..row }).await;
            count += 2;
        }
    }
    seen(table, count).await;
    let filter = |topic: Option<&str>, priority, state| MessageFilter {
        output_topic: topic.map(Into::into),
        priority,
        state,
        ..all()
    };
    let high = Some(Priority::High);
    let of_topic = ids(table, &filter(Some("orders"), None, None)).await;
    assert_eq!(of_topic.len(), 6);
    assert!(of_topic.iter().all(|id| id.starts_with("orders/")));
    let of_priority = ids(table, &filter(None, high, None)).await;
    assert_eq!(of_priority.len(), 4);
    assert!(of_priority.iter().all(|id| id.contains("/high")));
    let of_both = ids(table, &filter(Some("orders.high"), high, None)).await;
    assert_eq!(of_both, ["orders.high/high", "orders.high/high/cancelled"]);
    let of_all = filter(Some("orders.high"), high, Some("cancelled"));
    assert_eq!(ids(table, &of_all).await, ["orders.high/high/cancelled"]);
    let of_none = filter(Some("order"), None, None);
    assert!(ids(table, &of_none).await.is_empty());
}

/// From a due time, inclusive, to another, exclusive.
pub async fn due_times_are_listed_from_and_to(table: &dyn Indexed) {
    for n in 0..10 {
        created(table, &row(&n.to_string(), NOW_MS + n)).await;
    }
    seen(table, 10).await;
    let between = |from, to| due(NOW_MS + from, NOW_MS + to);
    assert_eq!(ids(table, &between(3, 6)).await, ["3", "4", "5"]);
    assert_eq!(ids(table, &between(9, 90)).await, ["9"]);
    assert_eq!(ids(table, &between(-9, 1)).await, ["0"]);
    assert!(ids(table, &between(10, 20)).await.is_empty());
    let scheduled = MessageFilter {
        state: Some("scheduled"),
        ..between(3, 9)
    };
    let paged = listed(table, &scheduled, 1).await;
    assert_eq!(paged.len(), 6);
}

/// Over a thousand rows, 300 of one due time, pages of any size hand out each row once.
pub async fn pages_hand_out_every_row_once(table: &dyn Indexed) {
    let row = |n: i64| {
        let due_ms = match n {
            400..700 => NOW_MS + 400,
            n => NOW_MS + n,
        };
        let (topic, priority) = match n % 2 {
            0 => ("even", Priority::High),
            _ => ("odd", Priority::Low),
        };
        let state = match n % 10 {
            7 => State::Cancelled { at_ms: NOW_MS },
            _ => State::Scheduled,
        };
        let row = bound_for(&format!("{n:04}"), due_ms, topic, priority);
        MessageRow { state, ..row }
    };
    let rows: Vec<_> = (0..1_000).map(row).collect();
    created_all(table, &rows).await;
    seen(table, rows.len()).await;
    for limit in [7, 100] {
        assert_eq!(listed(table, &all(), limit).await, rows, "{limit}");
    }
    let odd = MessageFilter {
        output_topic: Some("odd".into()),
        state: Some("scheduled"),
        ..due(NOW_MS + 100, NOW_MS + 800)
    };
    let wanted = |row: &&MessageRow| {
        let details = row.details.as_ref().unwrap();
        &*details.output_topic == "odd"
            && row.state == State::Scheduled
            && (NOW_MS + 100..NOW_MS + 800).contains(&details.due_ms)
    };
    let expected: Vec<_> = rows.iter().filter(wanted).cloned().collect();
    for limit in [7, 100] {
        assert_eq!(listed(table, &odd, limit).await, expected, "{limit}");
    }
}

/// A row is listed as it is, in the state that it has, at the due time that it has.
pub async fn a_row_moves_with_its_changes(table: &dyn Indexed) {
    let first = row("a", NOW_MS);
    created(table, &first).await;
    lists(table, &in_state("scheduled"), std::slice::from_ref(&first)).await;
    let mut row = first.clone();
    for state in states().into_iter().skip(1).chain(states()) {
        let before = row.state.as_str();
        row = replaced(table, &row, state).await;
        let expected = std::slice::from_ref(&row);
        lists(table, &in_state(row.state.as_str()), expected).await;
        lists(table, &all(), expected).await;
        lists(table, &in_state(before), &[]).await;
    }
    let later = MessageRow {
        revision: row.revision + 1,
        details: row.details.clone().map(|details| Details {
            due_ms: NOW_MS + 5,
            ..details
        }),
        state: State::Scheduled,
        ..row.clone()
    };
    let written = table.write(later.clone(), Some(row.stamp())).await;
    assert_eq!(written, Ok(Written::Done));
    lists(table, &due(NOW_MS, NOW_MS + 5), &[]).await;
    lists(table, &all(), &[later]).await;
}

/// Rows that know of no record are not listed; once they do they are.
pub async fn tombstones_are_not_listed(table: &dyn Indexed) {
    let tombstone = MessageRow {
        details: None,
        state: State::Cancelled { at_ms: NOW_MS },
        ..row("a", NOW_MS)
    };
    created(table, &tombstone).await;
    created(table, &row("b", NOW_MS)).await;
    seen(table, 1).await;
    assert_eq!(ids(table, &all()).await, ["b"]);
    assert!(ids(table, &in_state("cancelled")).await.is_empty());
    let known = MessageRow {
        revision: 2,
        ..row("a", NOW_MS)
    };
    let written = table.write(known, Some(tombstone.stamp())).await;
    assert_eq!(written, Ok(Written::Done));
    seen(table, 2).await;
    assert_eq!(ids(table, &all()).await, ["a", "b"]);
}

/// Topics with names that look alike have lists of their own.
pub async fn topics_have_lists_of_their_own(table: &dyn Indexed) {
    let topics = ["orders.delay", "orders.delay2", "orders", "ORDERS.delay"];
    for topic in topics {
        let mut row = row(&format!("of {topic}"), NOW_MS);
        row.key.topic = topic.into();
        created(table, &row).await;
    }
    for topic in topics {
        let filter = MessageFilter {
            topic: topic.into(),
            ..all()
        };
        within(10, "the row is seen", async {
            while ids(table, &filter).await.is_empty() {
                sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
        assert_eq!(ids(table, &filter).await, [format!("of {topic}")]);
    }
}

/// Hands the names of the checks on.
#[macro_export]
macro_rules! message_index_checks {
    ($run:ident) => {
        $run! { message_index:
            of_nothing_there_is_an_empty_list
            rows_are_in_order_and_whole
            each_state_is_listed
            targets_and_priorities_are_listed
            due_times_are_listed_from_and_to
            pages_hand_out_every_row_once
            a_row_moves_with_its_changes
            tombstones_are_not_listed
            topics_have_lists_of_their_own
        }
    };
}
