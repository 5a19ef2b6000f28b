//! The program as it is released has no failpoints. (The test of those sees that what is looked for here is in one that
//! has: `tests/e2e/tests/failpoints`.)

#![cfg(not(feature = "failpoints"))]
#![allow(clippy::expect_used, reason = "tests fail by panicking")]

#[test]
fn the_program_has_no_failpoints() {
    let program = std::fs::read(env!("CARGO_BIN_EXE_delayq")).expect("the program");
    let text = String::from_utf8_lossy(&program);
    for words in ["the process ends at failpoint", "FAILPOINTS"] {
        assert!(!text.contains(words), "{words:?} is in the program");
    }
}
