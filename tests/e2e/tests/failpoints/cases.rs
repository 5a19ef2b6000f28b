//! What is sent while a role waits to die at a failpoint, and how often it may come out afterwards.

/// What there is to do for the role that dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// One record in the delay topic, due at once.
    Direct,
    /// Two records in the delay topic, due in a few seconds, in seconds of their own: two messages of one call.
    Short,
    /// The same, further away, in one bucket.
    Long,
    /// A record too large for a batch, due in a few seconds.
    Large,
    /// A record that is refused.
    Refused,
    /// A tracked record in the delay topic, due at once.
    TrackedDirect,
    /// Tracked records in the delay topic: due at once, in a few seconds, and twice further away; the last of them is cancelled by
    /// a record.
    Tracked,
    /// A message with two records that are due soon.
    Message,
    /// A message that is held for longer than a third of its visibility.
    Held,
    /// A message that has come much too early.
    Early,
    /// A message that is no batch.
    Forged,
    /// The same, too large for the dead-letter topic.
    ForgedLarge,
    /// A message in the queue's dead-letter queue.
    GivenUp,
}

impl Load {
    /// Written to the delay topic; the others are put into the queues.
    pub fn is_produced(self) -> bool {
        matches!(
            self,
            Self::Direct
                | Self::Short
                | Self::Long
                | Self::Large
                | Self::Refused
                | Self::TrackedDirect
                | Self::Tracked
        )
    }

    /// Something of it goes to the long tier.
    pub fn is_long(self) -> bool {
        matches!(self, Self::Long | Self::Tracked)
    }
}

/// How often a record may come out, beyond once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copies {
    /// The effect has not been made, or what follows it shows that it was.
    None,
    /// Made or not, by a hair; or made twice, and the second one is dropped unless both are on their way at once.
    Perhaps,
    /// Made for one record, confirmed, and forgotten by the death: that record comes once more, no other.
    One,
    /// Made, confirmed, and forgotten by the death: each record comes again.
    Each,
}

/// A failpoint and what is proved about it.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub failpoint: &'static str,
    pub load: Load,
    pub copies: Copies,
    /// What the failpoint does the first times that it is reached.
    first: &'static str,
    /// Other failpoints that must act for this one to be reached.
    with: &'static str,
    /// Settings of both lives.
    pub settings: &'static [&'static str],
    /// The first life is asked to stop once its records have come out.
    pub stopped: bool,
}

impl Case {
    pub fn role(&self) -> &'static str {
        self.failpoint.split(':').next().unwrap_or_default()
    }

    /// What the first life is armed with.
    pub fn failpoints(&self) -> String {
        format!("{}{}={}1*return", self.with, self.failpoint, self.first)
    }

    /// # Panics
    /// When nobody has thought about a failpoint yet.
    pub fn of(failpoint: &'static str) -> Self {
        use Copies::{Each, None, One, Perhaps};
        let (role, point) = failpoint.split_once("::").expect("role::point");
        let (load, copies) = match (role, point) {
            ("router", "before_commit") => (Load::Direct, Each),
            ("router", "after_commit") => (Load::Direct, None),
            ("router", "before_revoke_commit") => (Load::Direct, Each),
            ("router", "after_revoke_commit") => (Load::Direct, None),
            ("router", "before_queue_send") => (Load::Short, None),
            ("router", "during_queue_send" | "after_queue_send") => (Load::Short, Perhaps),
            ("router", "before_store_put" | "before_state_create" | "after_state_create") => {
                (Load::Long, None)
            }
            ("router", "after_store_put" | "before_state_read" | "after_state_read") => {
                (Load::Long, Perhaps)
            }
            // Chunks that no batch refers to are nobody's record.
            ("router", "before_payload_put" | "during_payload_put" | "after_payload_put") => {
                (Load::Large, None)
            }
            ("router", "before_publish") => (Load::Direct, None),
            ("router", "after_publish_handed_over") => (Load::Direct, Perhaps),
            ("router", "after_publish_acknowledged") => (Load::Direct, Each),
            ("router", "before_dead_letter") => (Load::Refused, None),
            ("router", "after_dead_letter_handed_over") => (Load::Refused, Perhaps),
            ("router", "after_dead_letter_acknowledged") => (Load::Refused, Each),
            ("router", "before_register" | "after_register") => (Load::Tracked, None),
            // What is not yet committed then is read again.
            ("router", "before_cancel" | "after_cancel") => (Load::Tracked, Perhaps),
            ("router", "before_claim" | "after_claim") => (Load::TrackedDirect, None),
            // Published, and the registry does not know it.
            ("router", "before_finish") => (Load::TrackedDirect, Each),
            ("router", "after_finish") => (Load::TrackedDirect, None),
            ("scheduler", "during_queue_send" | "after_queue_send" | "before_cursor_write") => {
                (Load::Long, Perhaps)
            }
            // An answer that is lost costs a reading of the row, not a second sending.
            ("scheduler", _) => (Load::Long, None),
            ("emitter", "before_receive" | "after_receive" | "after_delete" | "before_publish") => {
                (Load::Message, None)
            }
            ("emitter", "after_publish_handed_over") => (Load::Message, Perhaps),
            // Died at the first of two acknowledgements: the second may have been on its way, or not.
            ("emitter", "after_publish_acknowledged") => (Load::Message, Perhaps),
            ("emitter", "before_delete") => (Load::Message, Each),
            ("emitter", "before_claim" | "after_claim" | "after_finish") => (Load::Tracked, None),
            ("emitter", "before_finish") => (Load::Tracked, One),
            ("emitter", "before_extend" | "after_extend") => (Load::Held, None),
            ("emitter", "before_put_back") => (Load::Early, None),
            ("emitter", "after_put_back") => (Load::Early, Perhaps),
            ("emitter", "before_payload_get" | "after_payload_get") => (Load::Large, None),
            ("emitter", "before_payload_put" | "during_payload_put" | "after_payload_put") => {
                (Load::ForgedLarge, None)
            }
            ("emitter", "before_dead_letter") => (Load::Forged, None),
            ("emitter", "after_dead_letter_handed_over") => (Load::Forged, Perhaps),
            ("emitter", "after_dead_letter_acknowledged") => (Load::Forged, Each),
            ("emitter", "before_dead_lane_receive" | "after_dead_lane_receive") => {
                (Load::GivenUp, None)
            }
            ("emitter", "before_dead_lane_extend" | "after_dead_lane_extend") => {
                (Load::GivenUp, Perhaps)
            }
            ("emitter", "before_dead_lane_delete") => (Load::GivenUp, Each),
            ("emitter", "after_dead_lane_delete") => (Load::GivenUp, None),
            _ => panic!("{failpoint} has no case: say what it does to which record"),
        };
        let mut case = Self {
            failpoint,
            load,
            copies,
            first: "",
            with: "",
            settings: &[],
            stopped: false,
        };
        match (role, point) {
            ("router", "before_revoke_commit" | "after_revoke_commit") => {
                // A router that stops has committed everything when it leaves, unless it could not.
                case.with = "router::before_commit=return(refused);";
                case.stopped = true;
            }
            // A cancel is first tried as one that knows of no record: meanwhile its record is handed over.
            ("router", "before_cancel") => case.first = "1*sleep(1500)->",
            ("router", "after_cancel") => case.with = "router::before_cancel=1*sleep(1500);",
            ("scheduler", "before_tick_extend" | "after_tick_extend") => {
                // The work on a tick lasts longer than a third of the lease, and long enough for the answer.
                case.with = "scheduler::before_page_read=2*sleep(1100);";
                case.settings = &["scheduler.lease=3s", "aws.call_timeout=1900ms"];
            }
            ("scheduler", "before_state_read" | "after_state_read") => {
                case.with = "scheduler::after_closing_write=1*return(unanswered);";
            }
            ("emitter", "before_put_back" | "after_put_back") => {
                case.settings = &["emitter.hold_max=3s"];
            }
            ("emitter", "before_dead_lane_extend" | "after_dead_lane_extend") => {
                case.with = "emitter::before_dead_letter=1*sleep(4000);";
            }
            _ => {}
        }
        case
    }
}
