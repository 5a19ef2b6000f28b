//! The checks that many sections share.

use std::time::Duration;

use humantime::format_duration;

use super::fault::ConfigErrors;
use super::values::ByteSize;

pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);

/// Fargate kills 120 s after SIGTERM (`stopTimeout`, its largest value); 5 s are left for the process itself.
pub(super) const STOP_MAX: Duration = Duration::from_secs(115);

pub(super) fn duration_between(
    faults: &mut ConfigErrors,
    key: &str,
    value: Duration,
    min: Duration,
    max: Duration,
) {
    if value < min || value > max {
        faults.add(
            &[key],
            format!(
                "{} is outside {} to {}",
                format_duration(value),
                format_duration(min),
                format_duration(max)
            ),
            "choose a time between them",
        );
    }
}

pub(super) fn whole_seconds(faults: &mut ConfigErrors, key: &str, value: Duration) {
    if value.subsec_nanos() != 0 {
        faults.add(
            &[key],
            format!(
                "{} is not whole seconds, and SQS has no others",
                format_duration(value)
            ),
            "round it",
        );
    }
}

pub(super) fn size_between(
    faults: &mut ConfigErrors,
    key: &str,
    value: ByteSize,
    min: ByteSize,
    max: ByteSize,
) {
    if value < min || value > max {
        faults.add(
            &[key],
            format!("{value} is outside {min} to {max}"),
            "choose a size between them",
        );
    }
}

pub(super) fn count_between(faults: &mut ConfigErrors, key: &str, value: u64, min: u64, max: u64) {
    if value < min || value > max {
        faults.add(
            &[key],
            format!("{value} is outside {min} to {max}"),
            "choose a number between them",
        );
    }
}

pub(super) fn not_blank(faults: &mut ConfigErrors, key: &str, value: &str) {
    if value.trim().is_empty() {
        faults.add(&[key], "is empty", "give it a value");
    }
}

pub(super) fn stop_timeout(faults: &mut ConfigErrors, key: &str, value: Duration) {
    if value >= STOP_MAX || value.is_zero() {
        faults.add(
            &[key],
            format!(
                "{} is not between 0 s and {}: Fargate kills the task 120 s after SIGTERM",
                format_duration(value),
                format_duration(STOP_MAX)
            ),
            "choose a time below that",
        );
    }
}

pub(super) fn retry_times(
    faults: &mut ConfigErrors,
    [first_key, max_key]: [&str; 2],
    first: Duration,
    max: Duration,
) {
    // A wait of zero is a busy loop against a service that is already in trouble.
    duration_between(
        faults,
        first_key,
        first,
        Duration::from_millis(1),
        Duration::from_secs(60),
    );
    duration_between(
        faults,
        max_key,
        max,
        Duration::from_millis(1),
        Duration::from_secs(600),
    );
    if first > max {
        faults.add(
            &[first_key, max_key],
            format!(
                "the first wait ({}) is longer than the longest ({})",
                format_duration(first),
                format_duration(max)
            ),
            "lower the first or raise the longest",
        );
    }
}

/// `host:port`, the host a name or a number; IPv6 comes in brackets. A name is resolved when the socket is bound.
pub(super) fn listen_address(faults: &mut ConfigErrors, key: &str, listen: &str) {
    let parses = listen.parse::<std::net::SocketAddr>().is_ok()
        || listen.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && !host.contains([':', '/', '[', ' ']) && port.parse::<u16>().is_ok()
        });
    if !parses {
        faults.add(
            &[key],
            format!("\"{listen}\" is not an address and port"),
            "write it as 127.0.0.1:8080, or 0.0.0.0:8080 for every interface",
        );
    }
}
