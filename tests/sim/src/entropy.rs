//! Randomness that repeats: std's hash maps and tokio's `select!` take theirs from `getrandom`, which is defined here anew.
//!
//! The linker prefers a definition in the program to libc's, as madsim uses it as well
//! (<https://github.com/madsim-rs/madsim/blob/main/madsim/src/sim/rand.rs>).

#![allow(
    unsafe_code,
    reason = "the one way to replace what std calls; the signature is getrandom(2)'s"
)]

use std::sync::atomic::{AtomicU64, Ordering};

static STATE: AtomicU64 = AtomicU64::new(0);

/// What follows depends on `seed` alone. Call it first in a new thread: std asks once a thread, at its first hash map.
pub fn start(seed: u64) {
    STATE.store(seed, Ordering::Relaxed);
}

/// splitmix64: <https://prng.di.unimi.it/splitmix64.c>
fn next() -> u64 {
    const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
    let state = STATE
        .fetch_add(GAMMA, Ordering::Relaxed)
        .wrapping_add(GAMMA);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// getrandom(2), repeatable.
///
/// # Safety
/// `buffer` is valid for writes of `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, _flags: u32) -> isize {
    for at in 0..length {
        let byte = (next() >> 32) as u8;
        // SAFETY: `at` is below `length`, for which the caller vouches.
        unsafe { buffer.add(at).write(byte) };
    }
    isize::try_from(length).unwrap_or(isize::MAX)
}
