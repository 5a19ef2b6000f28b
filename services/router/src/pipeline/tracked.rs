//! Tracked records: registered before they are handed over, so that a cancel finds them; cancels that come as records.
//!
//! Calls run side by side, also those of one id: the versions that they carry tell which of two records was later.

use std::sync::Arc;

use delayq_core::record::{Incoming, Scheduled};
use delayq_core::tracked::{CancelAnswer, Dropped, MessageKey, Version};

use super::Router;
use crate::partitions::Ticket;

/// What the registry said.
pub(super) enum Registered {
    /// To be handed over now.
    GoOn(Box<Scheduled>, Ticket),
    /// Ended: superseded, cancelled, or published before.
    Dropped(Dropped, Ticket),
    /// A cancel, carried out.
    Cancelled(CancelAnswer, Ticket),
    /// Its partition is another router's.
    GivenUp,
}

impl Router {
    pub(super) fn register(
        &mut self,
        key: MessageKey,
        record: Box<Scheduled>,
        replaces: Option<(i32, i64)>,
        ticket: Ticket,
    ) {
        let (registry, upcoming) = (self.registry.clone(), self.upcoming.clone());
        self.registering.spawn(async move {
            let registered = registry.register(&key, &record, replaces, || ticket.is_alive());
            let Some(answered) = registered.await else {
                return Registered::GivenUp;
            };
            upcoming.replaced(answered.before.as_ref());
            match answered.answer {
                Ok(()) => Registered::GoOn(record, ticket),
                Err(dropped) => Registered::Dropped(dropped, ticket),
            }
        });
    }

    pub(super) fn cancel(&mut self, id: Arc<str>, incoming: &Incoming, ticket: Ticket) {
        let (registry, upcoming) = (self.registry.clone(), self.upcoming.clone());
        let source = &incoming.source;
        let appended_ms = incoming.timestamp_ms.unwrap_or_else(|| self.clock.now_ms());
        let version = Version::of(source, appended_ms);
        let key = MessageKey {
            topic: source.at.topic.clone(),
            id,
        };
        self.registering.spawn(async move {
            let cancelled = registry.cancel_by_record(&key, version, || ticket.is_alive());
            let Some(answered) = cancelled.await else {
                return Registered::GivenUp;
            };
            upcoming.replaced(answered.before.as_ref());
            Registered::Cancelled(answered.answer, ticket)
        });
    }

    pub(super) fn on_registered(&mut self, registered: Registered) {
        match registered {
            Registered::GoOn(record, ticket) => {
                let mut jobs = Vec::new();
                self.schedule(*record, ticket, self.clock.now_ms(), &mut jobs);
                self.hold(jobs);
                if !self.revokes.is_empty() {
                    // Its partition may be waiting to be given back.
                    self.pack_everything();
                }
            }
            Registered::Dropped(dropped, ticket) => {
                tracing::debug!(why = dropped.as_str(), "a tracked record goes no further");
                self.held_bytes -= self.partitions.finish(&ticket);
            }
            Registered::Cancelled(answer, ticket) => {
                tracing::debug!(answer = answer.as_str(), "a cancel was carried out");
                self.held_bytes -= self.partitions.finish(&ticket);
            }
            Registered::GivenUp => {}
        }
    }
}
