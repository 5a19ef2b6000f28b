//! The roles that a process can have.

/// A service of delayq.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Delay topics to tiers.
    Router,
    /// Long tier to queues.
    Scheduler,
    /// Queues to output topics.
    Emitter,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Router, Self::Scheduler, Self::Emitter];
}
