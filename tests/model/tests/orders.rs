//! Every order and every condition of the protocol counts: without it the model loses a batch, in this many steps.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "helpers of tests")]

use delayq_model::{Action, Answer, Bounds, Variant, explore, shortest_loss};

const MINUTE_MS: i64 = 60_000;

/// The fewest steps that lose a batch of the standard model when the processes behave as `variant`.
fn loss(variant: Variant, faults: u8) -> Vec<Action> {
    let bounds = Bounds::standard().with(variant).with_faults(faults);
    let steps = shortest_loss(&bounds).expect("a batch is lost");
    println!("{variant:?}: {} steps\n{steps:?}", steps.len());
    let as_built = shortest_loss(&Bounds::standard().with_faults(faults));
    assert_eq!(as_built, None, "it is the variant that loses it");
    steps
}

#[test]
fn a_router_that_reads_before_it_writes_loses_one() {
    assert_eq!(loss(Variant::RouterReadsBeforeWriting, 0).len(), 8);
}

#[test]
fn a_router_that_does_not_read_loses_one() {
    assert_eq!(loss(Variant::RouterSkipsReading, 0).len(), 3);
}

#[test]
fn a_router_that_finishes_before_it_has_sent_loses_one_by_dying() {
    let steps = loss(Variant::RouterFinishesBeforeSending, 1);
    assert_eq!(steps.len(), 4);
    assert!(
        matches!(steps.last(), Some(Action::RouterDies(_))),
        "{steps:?}"
    );
}

#[test]
fn a_scheduler_that_reads_before_it_writes_closing_loses_one() {
    assert_eq!(loss(Variant::PagesBeforeClosing, 0).len(), 8);
}

#[test]
fn a_cursor_saved_before_the_page_is_confirmed_loses_one() {
    assert_eq!(loss(Variant::CursorBeforeSending, 1).len(), 10);
}

#[test]
fn an_unanswered_write_taken_for_done_loses_one() {
    let steps = loss(Variant::UnansweredCountsAsDone, 1);
    assert_eq!(steps.len(), 8);
}

#[test]
fn writes_without_a_condition_lose_one_by_a_lapsed_lease() {
    let steps = loss(Variant::UpdatesWithoutCondition, 1);
    assert_eq!(steps.len(), 16);
    let takes = steps.iter().filter(|a| matches!(a, Action::Take(_)));
    assert_eq!(takes.count(), 2, "{steps:?}");
}

/// As it was before the model: a write that nobody waits for moves `closing` back, under the same epoch.
#[test]
fn the_epoch_alone_loses_one_by_a_write_that_arrives_late() {
    let steps = loss(Variant::UpdatesByEpochOnly, 1);
    assert_eq!(steps.len(), 17);
    let late = |a: &&Action| matches!(a, Action::WriteUnanswered(_, Answer::Late));
    assert_eq!(steps.iter().filter(late).count(), 1, "{steps:?}");
    let arrives = |a: &&Action| matches!(a, Action::Arrive(_));
    assert_eq!(steps.iter().filter(arrives).count(), 1, "{steps:?}");
}

/// What keeps records from being lost is that rows only go forward; the epoch is there to stop the one who was overtaken, so that not
/// every page is sent twice.
#[test]
fn going_forward_alone_loses_none() {
    let bounds = Bounds::standard().with(Variant::UpdatesForwardOnly);
    let found = explore(bounds.with_faults(2), 2);
    assert!(found.failed.is_empty(), "{:#?}", found.failed);
    assert!(found.unique_states > 500_000, "{}", found.unique_states);
}

/// The fewest steps to a loss by clocks that are off by at most `minutes`.
fn loss_by_clocks(variant: Variant, minutes: i64) -> Option<usize> {
    let bounds = Bounds::clocks(minutes * MINUTE_MS, MINUTE_MS).with_faults(0);
    let steps = shortest_loss(&bounds.with(variant));
    println!("{variant:?} by {minutes} min: {steps:?}");
    steps.map(|steps| steps.len())
}

#[test]
fn a_scheduler_whose_clock_is_believed_loses_one_beyond_a_quarter_of_an_hour() {
    assert_eq!(loss_by_clocks(Variant::SchedulerByOwnClock, 14), None);
    assert_eq!(loss_by_clocks(Variant::SchedulerByOwnClock, 16), Some(26));
}

#[test]
fn a_row_begun_by_a_clock_far_ahead_loses_one() {
    assert_eq!(loss_by_clocks(Variant::RowByOwnClock, 20), None);
    assert_eq!(loss_by_clocks(Variant::RowByOwnClock, 30), Some(10));
}

#[test]
fn a_router_that_skips_its_reading_at_any_skew_loses_one() {
    assert_eq!(loss_by_clocks(Variant::SkipsAtAnySkew, 14), None);
    assert_eq!(loss_by_clocks(Variant::SkipsAtAnySkew, 16), Some(36));
}
