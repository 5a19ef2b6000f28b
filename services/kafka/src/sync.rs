//! Locking that survives a panicked holder: what these locks guard is always left consistent.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks; a poisoned lock is taken over.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
