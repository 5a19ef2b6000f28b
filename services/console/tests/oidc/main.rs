//! Single sign-on over a local issuer: who gets in and as what, and what happens when the issuer or its keys are not as they were.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

mod alb;
mod bench;
mod issuer;
mod keys;
mod page;
mod socket;
mod tokens;
