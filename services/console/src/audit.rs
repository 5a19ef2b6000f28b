//! One line in the log for every change that somebody asked for.

use crate::access::Who;

/// Notes who did what to which, and how it ended. In the log by the target `delayq_audit`.
pub(crate) fn note(who: &Who, action: &'static str, subject: &str, outcome: &str) {
    metrics::counter!(REQUESTED, "action" => action).increment(1);
    tracing::info!(target: "delayq_audit", who = who.name(), action, subject, outcome, "change asked for over the API");
}

/// Counter: changes asked for over the API. Label: action.
pub(crate) const REQUESTED: &str = "delayq_console_changes_total";
