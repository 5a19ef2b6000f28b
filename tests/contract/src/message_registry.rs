//! [`MessageRegistry`]: a row is replaced only by whoever knows it as it is. Each check takes an empty table.

use std::sync::Arc;

use delayq_core::ports::{MessageRegistry, Written};
use delayq_core::priority::Priority;
use delayq_core::record::Path;
use delayq_core::tracked::{
    Claim, Details, MessageKey, MessageRow, Publication, RowStamp, State, Version,
};

const NOW_MS: i64 = 1_790_000_000_000;
/// Far from now on every clock.
const EXPIRES_S: i64 = 4_102_444_800;

fn key(topic: &str, id: &str) -> MessageKey {
    MessageKey {
        topic: topic.into(),
        id: id.into(),
    }
}

fn row(id: &str) -> MessageRow {
    MessageRow {
        key: key("orders.delay", id),
        version: Version {
            partition: 3,
            offset: 1_000,
            appended_ms: NOW_MS,
        },
        revision: 1,
        details: Some(Details {
            due_ms: NOW_MS + 60_000,
            output_topic: "orders.standard".into(),
            priority: Priority::Standard,
            path: Path::Short,
        }),
        state: State::Scheduled,
        overlaps: false,
        expires_s: EXPIRES_S,
    }
}

/// The row that comes after this one, cancelled.
fn cancelled(row: &MessageRow) -> MessageRow {
    MessageRow {
        revision: row.revision + 1,
        state: State::Cancelled { at_ms: NOW_MS + 1 },
        ..row.clone()
    }
}

/// Written where there is no other.
async fn created(registry: &dyn MessageRegistry, row: &MessageRow) {
    let written = registry.write(row.clone(), None).await;
    assert_eq!(written, Ok(Written::Done));
}

async fn stored(registry: &dyn MessageRegistry, row: &MessageRow) -> Option<MessageRow> {
    registry.read(&row.key).await.unwrap()
}

fn differs(row: &MessageRow) -> Written {
    Written::Differs(Some(Box::new(row.clone())))
}

/// A row that was never written is absent, also where there are others.
pub async fn an_unknown_row_is_none(registry: &dyn MessageRegistry) {
    assert_eq!(stored(registry, &row("a")).await, None);
    created(registry, &row("a")).await;
    assert_eq!(stored(registry, &row("b")).await, None);
}

/// A row is written where there is none, and seen by the next read, always.
pub async fn a_row_is_created_where_there_is_none(registry: &dyn MessageRegistry) {
    for n in 0..30 {
        let row = row(&n.to_string());
        created(registry, &row).await;
        assert_eq!(stored(registry, &row).await, Some(row), "{n}");
    }
}

/// Whoever comes second changes nothing, and is told what is there; also who comes again with the same row.
pub async fn a_row_is_created_once(registry: &dyn MessageRegistry) {
    let first = row("a");
    created(registry, &first).await;
    for second in [first.clone(), cancelled(&first)] {
        let written = registry.write(second, None).await;
        assert_eq!(written, Ok(differs(&first)));
        assert_eq!(stored(registry, &first).await.as_ref(), Some(&first));
    }
}

/// Who knows the row as it is replaces it, whatever it takes the record's timestamp for.
pub async fn a_row_is_replaced_by_its_stamp(registry: &dyn MessageRegistry) {
    let first = row("a");
    created(registry, &first).await;
    let second = cancelled(&first);
    let written = registry.write(second.clone(), Some(first.stamp())).await;
    assert_eq!(written, Ok(Written::Done));
    assert_eq!(stored(registry, &first).await.as_ref(), Some(&second));
    let mut stamp = second.stamp();
    stamp.version.appended_ms += 1;
    let third = MessageRow {
        version: Version {
            partition: 4,
            offset: 2,
            appended_ms: NOW_MS + 5,
        },
        revision: 3,
        ..first.clone()
    };
    let written = registry.write(third.clone(), Some(stamp)).await;
    assert_eq!(written, Ok(Written::Done));
    assert_eq!(stored(registry, &first).await, Some(third));
}

/// Of partition, offset and revision each has to be the row's: else nothing is written, and the row as it is is told.
pub async fn another_stamp_changes_nothing(registry: &dyn MessageRegistry) {
    let first = row("a");
    created(registry, &first).await;
    let second = cancelled(&first);
    let written = registry.write(second.clone(), Some(first.stamp())).await;
    assert_eq!(written, Ok(Written::Done));
    let right = second.stamp();
    let version = |partition, offset| Version {
        partition,
        offset,
        ..right.version
    };
    let wrong = [
        first.stamp(),
        RowStamp {
            revision: right.revision + 1,
            ..right
        },
        RowStamp {
            version: version(right.version.partition + 1, right.version.offset),
            ..right
        },
        RowStamp {
            version: version(right.version.partition, right.version.offset - 1),
            ..right
        },
    ];
    for stamp in wrong {
        let third = MessageRow {
            revision: 3,
            ..first.clone()
        };
        let written = registry.write(third, Some(stamp)).await;
        assert_eq!(written, Ok(differs(&second)), "{stamp:?}");
        assert_eq!(stored(registry, &first).await.as_ref(), Some(&second));
    }
}

/// The same replacement again, as after an unanswered call, is told the row that it has written itself.
pub async fn a_repeated_write_is_told_its_own_row(registry: &dyn MessageRegistry) {
    let first = row("a");
    created(registry, &first).await;
    let second = cancelled(&first);
    for expected in [Written::Done, differs(&second), differs(&second)] {
        let written = registry.write(second.clone(), Some(first.stamp())).await;
        assert_eq!(written, Ok(expected));
    }
    assert_eq!(stored(registry, &first).await, Some(second));
}

/// Where there is no row none is replaced, nor is one made by trying.
pub async fn an_absent_row_cannot_be_replaced(registry: &dyn MessageRegistry) {
    let row = row("a");
    let written = registry.write(cancelled(&row), Some(row.stamp())).await;
    assert_eq!(written, Ok(Written::Differs(None)));
    assert_eq!(stored(registry, &row).await, None);
}

/// What a row can be, with everything in it: replaced one by another it comes back as it was written, and so it is told.
pub async fn every_row_comes_back_unchanged(registry: &dyn MessageRegistry) {
    let at_ms = NOW_MS + 60_001;
    let states = [
        State::Scheduled,
        State::Publishing(Claim {
            by: "emitter-1".into(),
            at_ms,
            until_ms: at_ms + 30_000,
        }),
        State::Publishing(Claim {
            by: "".into(),
            at_ms: 0,
            until_ms: i64::MAX,
        }),
        State::Published(Publication {
            at_ms,
            partition: 0,
            offset: 0,
        }),
        State::Published(Publication {
            at_ms: -1,
            partition: i32::MAX,
            offset: i64::MAX,
        }),
        State::Cancelled { at_ms },
        State::Dead {
            at_ms,
            reason: "output-refused".to_owned(),
        },
        State::Dead {
            at_ms,
            reason: String::new(),
        },
        State::Scheduled,
    ];
    let mut details = vec![None];
    for priority in Priority::ALL {
        details.extend(Path::ALL.map(|path| {
            Some(Details {
                due_ms: NOW_MS + 60_000,
                output_topic: "größe.high".into(),
                priority,
                path,
            })
        }));
    }
    details.extend([i64::MIN, -1, 0, i64::MAX].map(|due_ms| {
        Some(Details {
            due_ms,
            output_topic: "o".into(),
            priority: Priority::Low,
            path: Path::Long,
        })
    }));
    details.push(None);
    let versions = [(0, 0, 0), (i32::MAX, i64::MAX, i64::MAX), (7, 8, -9)];
    let of_state = states.into_iter().map(|state| (state, row("").details));
    let of_details = details.into_iter().map(|one| (State::Scheduled, one));
    let mut before: Option<MessageRow> = None;
    for (n, (state, details)) in of_state.chain(of_details).enumerate() {
        let (partition, offset, appended_ms) = versions[n % versions.len()];
        let row = MessageRow {
            version: Version {
                partition,
                offset,
                appended_ms,
            },
            revision: if n % 4 == 3 { u64::MAX } else { n as u64 + 1 },
            details,
            state,
            overlaps: n % 2 == 1,
            expires_s: EXPIRES_S + n as i64,
            ..row("a")
        };
        let stamp = before.as_ref().map(MessageRow::stamp);
        let written = registry.write(row.clone(), stamp).await;
        assert_eq!(written, Ok(Written::Done), "{row:?}");
        assert_eq!(stored(registry, &row).await.as_ref(), Some(&row));
        let told = registry.write(row.clone(), None).await;
        assert_eq!(told, Ok(differs(&row)));
        before = Some(row);
    }
}

/// The longest ids, in characters of one to four bytes, of the topic with the longest name.
pub async fn the_longest_keys_come_back(registry: &dyn MessageRegistry) {
    let topic = "t".repeat(249);
    for character in ["x", "|", "é", "€", "🦀"] {
        let mut id = character.repeat(256 / character.len());
        id.push_str(&"x".repeat(256 - id.len()));
        let row = MessageRow {
            key: key(&topic, &id),
            ..row("")
        };
        created(registry, &row).await;
        assert_eq!(stored(registry, &row).await.as_ref(), Some(&row));
        let told = registry.write(row.clone(), None).await;
        assert_eq!(told, Ok(differs(&row)));
    }
}

/// Ids that look alike, also with the character that keys are put together with, are different records; so is one id in two topics.
pub async fn keys_do_not_mix(registry: &dyn MessageRegistry) {
    let ids = [
        "a", "A", "a|", "|a", "a|a", "|", "||", " a", "a ", "a\n", "é", "e\u{301}", "d|a", "0",
        "00",
    ];
    let topics = ["d", "d.d", "D"];
    let all = || {
        let keys = topics.iter().flat_map(|t| ids.iter().map(|id| key(t, id)));
        (0..).zip(keys).map(|(offset, key)| MessageRow {
            key,
            version: Version {
                offset,
                ..row("").version
            },
            ..row("")
        })
    };
    for row in all() {
        created(registry, &row).await;
    }
    for row in all() {
        assert_eq!(stored(registry, &row).await.as_ref(), Some(&row));
    }
}

/// Of two that write at once with the same stamp exactly one does, and the other is told what that one wrote.
pub async fn of_two_writers_at_once_one_succeeds(registry: &dyn MessageRegistry) {
    let mut before: Option<MessageRow> = None;
    for revision in 1..=20 {
        let stamp = before.as_ref().map(MessageRow::stamp);
        let by = |name: &str| MessageRow {
            revision,
            state: State::Publishing(Claim {
                by: Arc::from(name),
                at_ms: NOW_MS,
                until_ms: NOW_MS + 30_000,
            }),
            ..row("a")
        };
        let write = |name| registry.write(by(name), stamp);
        let written = tokio::join!(write("a"), write("b"));
        let winner = match (written.0.unwrap(), written.1.unwrap()) {
            (Written::Done, told) if told == differs(&by("a")) => by("a"),
            (told, Written::Done) if told == differs(&by("b")) => by("b"),
            other => panic!("{other:?}"),
        };
        assert_eq!(stored(registry, &winner).await.as_ref(), Some(&winner));
        before = Some(winner);
    }
}

/// Hands the names of the checks on.
#[macro_export]
macro_rules! message_registry_checks {
    ($run:ident) => {
        $run! { message_registry:
            an_unknown_row_is_none
            a_row_is_created_where_there_is_none
            a_row_is_created_once
            a_row_is_replaced_by_its_stamp
            another_stamp_changes_nothing
            a_repeated_write_is_told_its_own_row
            an_absent_row_cannot_be_replaced
            every_row_comes_back_unchanged
            the_longest_keys_come_back
            keys_do_not_mix
            of_two_writers_at_once_one_succeeds
        }
    };
}
