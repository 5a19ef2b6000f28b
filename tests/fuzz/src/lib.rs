//! Everything that reads what others write: headers of records, messages in queues, stored batches, chunks, commit metadata.
//!
//! A target takes any bytes and panics if something is wrong. [`drive`] hands it what a stable compiler can make: seeds, the
//! files of `corpus/<target>` if there are any, and changes of both by a fixed seed.

pub mod drive;
mod input;
pub mod seeds;
mod targets;

/// Takes any bytes; panics if something is wrong.
pub type Target = fn(&[u8]);

/// All targets by name, which is that of their folder in `corpus/` as well.
pub const TARGETS: [(&str, Target); 6] = [
    ("route", targets::route_record),
    ("message", targets::message_text),
    ("batch", targets::batch_bytes),
    ("batch_content", targets::batch_content),
    ("commit_metadata", targets::commit_metadata),
    ("payload", targets::payload_chunks),
];

/// The target of that name.
#[must_use]
pub fn target(name: &str) -> Option<Target> {
    TARGETS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, target)| *target)
}
