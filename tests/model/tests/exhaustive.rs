//! Every order of the steps, within bounds that take seconds; larger ones by the binary.

#![allow(clippy::print_stdout, reason = "helpers of tests")]

use delayq_model::{Bounds, explore};

const MINUTE_MS: i64 = 60_000;

/// Explores all of it, and answers with the number of states.
fn proved(bounds: Bounds) -> usize {
    let found = explore(bounds, 2);
    println!(
        "{} states, {} transitions, depth {}",
        found.unique_states, found.transitions, found.depth
    );
    assert!(found.failed.is_empty(), "{:#?}", found.failed);
    found.unique_states
}

#[test]
fn no_batch_is_lost_with_two_faults_anywhere() {
    let states = proved(Bounds::standard().with_faults(2));
    assert!(
        states > 500_000,
        "{states}: something is not explored any more"
    );
}

#[test]
fn no_batch_is_lost_with_three_schedulers() {
    let mut bounds = Bounds::standard().with_faults(2);
    bounds.schedulers = 3;
    let states = proved(bounds);
    assert!(
        states > 500_000,
        "{states}: something is not explored any more"
    );
}

/// Each of three processes is a minute behind, right, or a minute ahead, and routers skip their reading by the clock.
#[test]
fn no_batch_is_lost_by_clocks_within_the_largest_skew() {
    let states = proved(Bounds::clocks(MINUTE_MS, MINUTE_MS));
    assert!(
        states > 200_000,
        "{states}: something is not explored any more"
    );
}

/// Beyond it nothing is skipped, and buckets are closed by the store's time.
#[test]
fn no_batch_is_lost_by_clocks_that_are_far_off() {
    for skew in [2, 16, 7 * 24 * 60] {
        proved(Bounds::clocks(skew * MINUTE_MS, MINUTE_MS));
    }
}
