//! What must be reached: a model in which the dangerous moments never come would prove nothing.

use stateright::Property;

use crate::bounds::{Bounds, Time};
use crate::model::Handover;
use crate::row::Row;
use crate::state::{Router, Scheduler, State};

pub(crate) fn properties(bounds: &Bounds) -> Vec<Property<Handover>> {
    let mut properties = vec![
        Property::sometimes("its router alone sends a batch", |_, s: &State| {
            s.finished & s.sent_by_router & !s.sent_by_scheduler != 0
        }),
        Property::sometimes("a scheduler alone sends a batch", |_, s: &State| {
            s.finished & !s.sent_by_router & s.sent_by_scheduler != 0
        }),
        Property::sometimes("both send a batch", |_, s: &State| {
            s.finished & s.sent_by_router & s.sent_by_scheduler != 0
        }),
        Property::sometimes(
            "a router has yet to write into a bucket handed over",
            |model: &Handover, s: &State| {
                s.row.is_some_and(|row| {
                s.routers.iter().any(|&r| {
                    matches!(r, Router::Fresh { batch, .. } if model.bucket(batch).0 <= i64::from(row.watermark))
                })
            })
            },
        ),
    ];
    if matches!(bounds.time, Time::Instants { .. }) {
        return properties;
    }
    if bounds.faults > 0 {
        properties.push(Property::sometimes(
            "an unanswered write arrives too late and is refused",
            |_, s: &State| {
                s.row.is_some_and(|row| {
                    s.late
                        .iter()
                        .any(|late| !row.real().may_become(&late.real()))
                })
            },
        ));
        properties.push(Property::sometimes(
            "a write by its own epoch would move the row back",
            |_, s: &State| {
                s.row.is_some_and(|row| {
                    s.late
                        .iter()
                        .any(|late| late.epoch == row.epoch && late.closing < row.closing)
                })
            },
        ));
    }
    if bounds.faults > 0 && bounds.schedulers > 1 {
        properties.push(Property::sometimes(
            "two believe that they hold the shard",
            |_, s: &State| held(s).count() > 1,
        ));
        properties.push(Property::sometimes("one who has lost it is about to save its cursor", |_, s: &State| {
            s.schedulers.iter().any(|scheduler| {
                matches!(scheduler, Scheduler::Sending { pending: 0, then, save: true, .. } if then.epoch == 0)
            })
        }));
        properties.push(Property::sometimes(
            "a takeover goes on in the middle of a bucket",
            |_, s: &State| {
                held(s).any(|row| row.epoch == 0)
                    && held(s).any(|row| {
                        row.epoch == 1 && (row.sub, row.after) != (0, None) && Some(*row) == s.row
                    })
            },
        ));
    }
    properties
}

/// The rows in memory of those who believe that they hold the shard.
fn held(state: &State) -> impl Iterator<Item = &Row> {
    state
        .schedulers
        .iter()
        .filter_map(|scheduler| match scheduler {
            Scheduler::Working(row)
            | Scheduler::Sending { row, .. }
            | Scheduler::ReadEarly { row, .. } => Some(row),
            Scheduler::Idle | Scheduler::Rereading { .. } => None,
        })
}
