//! Holds the examples and the documents to the truth: every example runs against the real stack, every snippet of the
//! README is cut from an example, every metric of the dashboard and every command of the compose file exists, and the
//! configuration reference is what the code says.
//!
//! May touch: `<cargo target>/examples` (copies of the examples with what they install), loopback, and the package
//! registries through `mvn`, `pip`, `npm` and `go`. With `DELAYQ_BLESS=1` also the documents that are generated.

pub mod compose;
pub mod config_docs;
pub mod names;
pub mod program;
pub mod repo;
pub mod snippets;
pub mod workshop;
