//! Failpoints before and after each external effect of a role: there a test lets the process end as with `kill -9`.
//!
//! Only in builds with the feature `failpoints`, which nothing that is released has. The points lie in decorators of
//! the ports, put around the adapters in [`crate::app::run_on`], so that the services know nothing of them. Armed
//! by the variable `FAILPOINTS` of the `fail` crate: `router::before_store_put=1*return` ends the process at
//! the first write to the store, `2*off->1*return` at the third; `1*return(unanswered)` at a point after a write to a
//! state row lets the caller hear that the write was not answered, though it took effect; `return(refused)` before a
//! commit lets it fail, as while a group rebalances.
//!
//! "Before": nothing has left the process yet. "During": some entries of a batch call are confirmed, the rest were never
//! sent. "After": the other side has confirmed, the role has not heard of it.

mod kafka;
mod queues;
mod tables;

use std::sync::{Arc, Once};

use delayq_core::error::{ErrorClass, PortError};
use delayq_core::ports::{DelayQueue, Outcomes};
use delayq_emitter::EmitterPorts;
use delayq_router::RouterPorts;
use delayq_scheduler::SchedulerPorts;
use fail::FailScenario;

/// Every failpoint. One that is hit and not listed here ends the process with a panic: the list is what the tests walk.
pub const ALL: [&str; 84] = [
    "router::before_commit",
    "router::after_commit",
    "router::before_revoke_commit",
    "router::after_revoke_commit",
    "router::before_queue_send",
    "router::during_queue_send",
    "router::after_queue_send",
    "router::before_store_put",
    "router::after_store_put",
    "router::before_state_read",
    "router::after_state_read",
    "router::before_state_create",
    "router::after_state_create",
    "router::before_payload_put",
    "router::during_payload_put",
    "router::after_payload_put",
    "router::before_publish",
    "router::after_publish_handed_over",
    "router::after_publish_acknowledged",
    "router::before_dead_letter",
    "router::after_dead_letter_handed_over",
    "router::after_dead_letter_acknowledged",
    "router::before_register",
    "router::after_register",
    "router::before_cancel",
    "router::after_cancel",
    "router::before_claim",
    "router::after_claim",
    "router::before_finish",
    "router::after_finish",
    "scheduler::before_shard_list",
    "scheduler::after_shard_list",
    "scheduler::before_tick_send",
    "scheduler::after_tick_send",
    "scheduler::before_tick_receive",
    "scheduler::after_tick_receive",
    "scheduler::before_tick_extend",
    "scheduler::after_tick_extend",
    "scheduler::before_tick_delete",
    "scheduler::after_tick_delete",
    "scheduler::before_shard_take",
    "scheduler::after_shard_take",
    "scheduler::before_state_read",
    "scheduler::after_state_read",
    "scheduler::before_closing_write",
    "scheduler::after_closing_write",
    "scheduler::before_page_read",
    "scheduler::after_page_read",
    "scheduler::before_queue_send",
    "scheduler::during_queue_send",
    "scheduler::after_queue_send",
    "scheduler::before_cursor_write",
    "scheduler::after_cursor_write",
    "scheduler::before_watermark_write",
    "scheduler::after_watermark_write",
    "emitter::before_receive",
    "emitter::after_receive",
    "emitter::before_extend",
    "emitter::after_extend",
    "emitter::before_delete",
    "emitter::after_delete",
    "emitter::before_put_back",
    "emitter::after_put_back",
    "emitter::before_payload_get",
    "emitter::after_payload_get",
    "emitter::before_payload_put",
    "emitter::during_payload_put",
    "emitter::after_payload_put",
    "emitter::before_publish",
    "emitter::after_publish_handed_over",
    "emitter::after_publish_acknowledged",
    "emitter::before_dead_letter",
    "emitter::after_dead_letter_handed_over",
    "emitter::after_dead_letter_acknowledged",
    "emitter::before_claim",
    "emitter::after_claim",
    "emitter::before_finish",
    "emitter::after_finish",
    "emitter::before_dead_lane_receive",
    "emitter::after_dead_lane_receive",
    "emitter::before_dead_lane_extend",
    "emitter::after_dead_lane_extend",
    "emitter::before_dead_lane_delete",
    "emitter::after_dead_lane_delete",
];

/// What a process says as the last thing of all, with the name of the failpoint.
pub const LAST_WORDS: &str = "the process ends at failpoint";

/// Reads `FAILPOINTS`, once a process.
pub(crate) fn arm() {
    static ARMED: Once = Once::new();
    // Dropped, it would disarm them.
    ARMED.call_once(|| std::mem::forget(FailScenario::setup()));
}

/// The failpoints of a role.
#[derive(Debug, Clone, Copy)]
struct Points {
    role: &'static str,
}

impl Points {
    fn before(self, effect: &str) {
        self.pass("before", effect);
    }

    fn after(self, effect: &str) {
        self.pass("after", effect);
    }

    /// After a batch call: only where something of it took effect.
    fn after_any(self, effect: &str, outcomes: &Outcomes) {
        if outcomes.iter().any(Result::is_ok) {
            self.after(effect);
        }
    }

    /// Before a call that may be refused.
    fn before_unless_refused(self, effect: &str) -> Result<(), PortError> {
        self.pass_unless("refused", "before", effect)
    }

    /// After a write that a caller may be told is unanswered.
    fn after_unless_unanswered(self, effect: &str) -> Result<(), PortError> {
        self.pass_unless("unanswered", "after", effect)
    }

    fn pass_unless(self, error: &'static str, moment: &str, effect: &str) -> Result<(), PortError> {
        let name = self.name(moment, effect);
        match fail::eval(&name, |argument| argument) {
            None => Ok(()),
            Some(Some(argument)) if argument == error => {
                Err(PortError::new(ErrorClass::Transient, "failpoint", error))
            }
            Some(_) => end(&name),
        }
    }

    /// Whether the process is to end in the midst of a batch call of so many entries; how many are to be made first.
    fn during(self, effect: &str, entries: usize) -> Option<Midst> {
        let name = self.name("during", effect);
        let cut = entries >= 2 && fail::eval(&name, |_| ()).is_some();
        cut.then_some(Midst {
            name,
            first: entries / 2,
        })
    }

    fn pass(self, moment: &str, effect: &str) {
        let name = self.name(moment, effect);
        if fail::eval(&name, |_| ()).is_some() {
            end(&name);
        }
    }

    fn name(self, moment: &str, effect: &str) -> String {
        let name = format!("{}::{moment}_{effect}", self.role);
        assert!(
            ALL.contains(&name.as_str()),
            "failpoint {name} is in no list: no test would walk it"
        );
        name
    }
}

/// A batch call that is cut in two.
struct Midst {
    name: String,
    first: usize,
}

impl Midst {
    /// The first entries are confirmed; the rest will never be sent.
    fn end(self, outcomes: &Outcomes) -> ! {
        assert!(
            outcomes.iter().all(Result::is_ok),
            "the first entries were to be confirmed: {outcomes:?}"
        );
        end(&self.name)
    }
}

/// As with `kill -9`: nothing is flushed, no destructor runs.
#[allow(clippy::print_stderr, reason = "read by the test that started it")]
fn end(name: &str) -> ! {
    eprintln!("{LAST_WORDS} {name}");
    std::process::abort()
}

pub(crate) fn router(ports: RouterPorts, dead_letter_topic: &str) -> RouterPorts {
    let points = Points { role: "router" };
    RouterPorts {
        source: Box::new(kafka::Source::around(ports.source, points)),
        sink: kafka::Sink::around(ports.sink, points, dead_letter_topic),
        queue: Arc::new(queues::Queue::around(ports.queue, points)),
        store: Arc::new(tables::Store::around(ports.store, points)),
        shards: Arc::new(tables::Shards::around(ports.shards, points)),
        payloads: Arc::new(tables::Payloads::around(ports.payloads, points)),
        registry: Arc::new(tables::Registry::around(ports.registry, points)),
        ..ports
    }
}

pub(crate) fn scheduler(ports: SchedulerPorts) -> SchedulerPorts {
    let points = Points { role: "scheduler" };
    let queue: Arc<dyn DelayQueue> = Arc::new(queues::Queue::around(ports.queue, points));
    SchedulerPorts {
        store: Arc::new(tables::Store::around(ports.store, points)),
        shards: Arc::new(tables::Shards::around(ports.shards, points)),
        ticks: Arc::new(queues::Ticks::around(ports.ticks, points)),
        queue,
        ..ports
    }
}

pub(crate) fn emitter(ports: EmitterPorts, dead_letter_topic: &str) -> EmitterPorts {
    let points = Points { role: "emitter" };
    EmitterPorts {
        sink: kafka::Sink::around(ports.sink, points, dead_letter_topic),
        queue: Arc::new(queues::Queue::around(ports.queue, points)),
        payloads: Arc::new(tables::Payloads::around(ports.payloads, points)),
        registry: Arc::new(tables::Registry::around(ports.registry, points)),
        ..ports
    }
}
