//! Each role dies at each of its failpoints, before, during and after every external effect, as with `kill -9`, and
//! starts again: nothing is lost, nothing is early, and a record comes twice only where its failpoint explains it.
//!
//! `cargo test -p delayq-e2e --features failpoints --test failpoints`; `DELAYQ_FAILPOINTS=emitter::before_delete`
//! walks those whose name contains that.

mod cases;
mod installation;
mod life;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use delayq::failpoints::{ALL, LAST_WORDS};
use delayq::role::Role;
use delayq_e2e::stack;
use delayq_stack::Endpoints;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use cases::{Case, Copies, Load};
use installation::Installation;
use life::Life;

/// Cases at the same time: most of each is waiting for a due time, a lease or a session to end.
const AT_ONCE: usize = 8;
/// How long a step may take.
const LIMIT: Duration = Duration::from_secs(90);

/// Answers with how often each record came out.
async fn walk(case: Case, endpoints: Endpoints) -> anyhow::Result<Vec<usize>> {
    let here = Installation::new(&endpoints, case.settings).await?;
    here.init(case.load).await?;
    let others: &'static [Role] = match (case.role(), case.load) {
        ("router", Load::Direct | Load::Refused | Load::TrackedDirect) => &[],
        ("router", Load::Short | Load::Large) => &[Role::Emitter],
        ("router", _) => &[Role::Scheduler, Role::Emitter],
        ("scheduler", _) => &[Role::Router, Role::Emitter],
        (_, Load::Large) => &[Role::Router],
        (_, Load::Tracked) => &[Role::Router, Role::Scheduler],
        _ => &[],
    };
    let others = here.start(others);
    let sent = here.put(case.load).await.context("the load")?;
    if case.role() == "scheduler" {
        // Its shard has a row, and the batch is in the store.
        here.until_committed(LIMIT).await?;
    }
    let first = Life::start(case.role(), &here.settings, &case.failpoints())?;
    if case.stopped {
        here.until_count(&sent, LIMIT).await?;
        first.ask_to_stop().await?;
    }
    first.dies_at(case.failpoint, LIMIT).await?;
    let mut second = Life::start(case.role(), &here.settings, "")?;
    let judged = async {
        here.until_count(&sent, LIMIT).await?;
        here.until_still(case.load, sent.last_ms, LIMIT).await?;
        here.came_out(&sent).await
    };
    let times = judged.await.with_context(|| second.tail())?;
    second.end().await?;
    ensure!(
        !others.is_finished() || case.role() != "scheduler",
        "another role ended"
    );
    others.abort();
    let as_explained = match case.copies {
        Copies::None => times.iter().all(|times| *times == 1),
        Copies::Perhaps => times.iter().all(|times| *times <= 2),
        Copies::One => times.iter().sum::<usize>() == times.len() + 1,
        Copies::Each => times.iter().all(|times| *times == 2),
    };
    ensure!(
        as_explained,
        "came out {times:?} times, expected copies: {:?}",
        case.copies
    );
    Ok(times)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 16)]
async fn whoever_dies_at_any_failpoint_loses_nothing_and_repeats_only_what_it_explains() {
    let endpoints = stack().await.endpoints().clone();
    let only = std::env::var("DELAYQ_FAILPOINTS").unwrap_or_default();
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let mut walks = JoinSet::new();
    let start = Instant::now();
    for failpoint in ALL.into_iter().filter(|name| name.contains(&only)) {
        let (case, endpoints, turns) = (Case::of(failpoint), endpoints.clone(), turns.clone());
        walks.spawn(async move {
            let _turn = turns.acquire_owned().await.expect("never closed");
            let start = Instant::now();
            (case, walk(case, endpoints).await, start.elapsed())
        });
    }
    let (mut failed, mut copies, count) = (Vec::new(), 0, walks.len());
    while let Some(walked) = walks.join_next().await {
        let (case, result, took) = walked.expect("no panic");
        match result {
            Ok(times) => {
                let more = times.iter().map(|times| times - 1).sum::<usize>();
                copies += more;
                println!(
                    "{:45} {:>4} s  copies {more}",
                    case.failpoint,
                    took.as_secs()
                );
            }
            Err(error) => failed.push(format!("{}: {error:#}", case.failpoint)),
        }
    }
    println!(
        "{count} failpoints in {} s: {} passed, {} failed, copies {copies}",
        start.elapsed().as_secs(),
        count - failed.len(),
        failed.len()
    );
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    assert!(count > 0, "no failpoint is called so");
}

#[test]
fn this_program_has_what_the_released_one_must_not_have() {
    let program = std::fs::read(env!("CARGO_BIN_EXE_delayq-with-failpoints")).expect("the program");
    assert!(String::from_utf8_lossy(&program).contains(LAST_WORDS));
}
