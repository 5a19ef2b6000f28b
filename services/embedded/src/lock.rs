//! Locks whose state stays consistent even if a holder panicked: no caller changes it in two steps.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks; never held across an await.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
