//! Exit codes: what a script may act on.

/// Something failed.
pub const FAILED: u8 = 1;
/// Configuration or arguments are wrong.
pub const CONFIG: u8 = 2;
/// A tracked record is not waiting any more, and nothing was changed.
pub const TOO_LATE: u8 = 3;
/// No record with that id is known.
pub const UNKNOWN: u8 = 4;
