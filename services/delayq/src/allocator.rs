//! The allocator of the binaries; each names it as its own.

pub use tikv_jemallocator::Jemalloc;
