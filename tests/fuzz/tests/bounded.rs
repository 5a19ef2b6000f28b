//! Every target over its seeds, the files of the corpus, and a fixed number of changed inputs, in bounded memory.

#![allow(
    unsafe_code,
    clippy::print_stdout,
    clippy::expect_used,
    reason = "an allocator that counts; tests"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use delayq_fuzz::drive::{Random, changed, corpus};
use delayq_fuzz::{TARGETS, seeds, target};

struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: hands everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller's layout.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as given to us.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Changed inputs a target.
const ITERATIONS: u32 = 20_000;
/// An input is 64 KiB at most here; what comes of it may not be more than this.
const MEMORY_MAX_BYTES: usize = 64 << 20;

/// Most that is allocated at once while `work` runs, beyond what was before.
fn peak_bytes(work: impl FnOnce()) -> usize {
    let before = NOW.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    work();
    PEAK.load(Ordering::Relaxed).saturating_sub(before)
}

// One test: the allocator counts for the process.
#[test]
fn whatever_is_read_nothing_panics_and_memory_is_bounded() {
    for (name, run) in TARGETS {
        let mut inputs = seeds::of(name);
        assert!(inputs.len() >= 4, "{name} has next to no seeds");
        inputs.extend(corpus(name).expect("the corpus"));
        let mut random = Random::of(1);
        let mut largest = 0;
        for input in &inputs {
            largest = largest.max(peak_bytes(|| run(input)));
        }
        for _ in 0..ITERATIONS {
            let input = changed(&inputs, &mut random);
            largest = largest.max(peak_bytes(|| run(&input)));
        }
        println!(
            "{name}: {} inputs, then {ITERATIONS} changed; at most {largest} bytes",
            inputs.len()
        );
        assert!(largest < MEMORY_MAX_BYTES, "{name}: {largest} bytes");
    }
    bombs();
}

/// 16 MiB of empty records, of headers, of topics: a few KB on the wire.
fn bombs() {
    let run = target("batch_content").expect("a target");
    for field in [[0x12, 0], [0x0a, 0]] {
        let mut input = vec![1];
        input.extend(field.repeat(8 << 20));
        let peak = peak_bytes(|| run(&input));
        println!("a bomb: at most {peak} bytes");
        assert!(peak < MEMORY_MAX_BYTES, "{peak} bytes");
    }
}
