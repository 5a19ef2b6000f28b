//! One line in the log for every change that somebody asked for.

use crate::access::Who;

/// Notes who did what to which, and how it ended. In the log by the target `delayq_audit`.
pub(crate) fn note(who: &Who, action: &'static str, subject: &str, outcome: &str) {
    metrics::counter!(REQUESTED, "action" => action).increment(1);
    // As texts, which the log quotes: a name may hold anything.
    let person = who.person.as_deref();
    let sub = person.map(|person| person.sub.as_str());
    let name = person.and_then(|person| person.name.as_deref());
    tracing::info!(target: "delayq_audit", who = who.role.name(), sub, name, action, subject, outcome, "change asked for over the API");
}

/// Counter: changes asked for over the API. Label: action.
pub(crate) const REQUESTED: &str = "delayq_console_changes_total";
