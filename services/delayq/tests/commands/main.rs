//! The operator's commands over the real stack, as a process: what they print, and their exit codes.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod broken;
mod config;
mod dead_letter_queues;
mod dead_letters;
mod dead_letters_marked;
mod denied;
mod init;
mod newcomer;
mod poison;
mod send;
mod support;
mod tracked;
mod undone;
mod validate;
