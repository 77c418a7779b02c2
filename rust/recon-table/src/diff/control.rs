//! What the caller sees of a long call, and how it stops one.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::store::lock;
use crate::TableError;

/// Progress of a call, and the wish to stop it. Shared between its threads and the one that waits for them.
#[derive(Default)]
pub struct Control {
    cancel: AtomicBool,
    done: AtomicU64,
    phase: Mutex<(&'static str, u64)>,
}

impl Control {
    /// What asks the call to end once it is set: it does so within some thousands of rows, with [`TableError::Cancelled`].
    #[must_use]
    pub fn cancel(&self) -> &AtomicBool {
        &self.cancel
    }

    /// The phase, how much of it is done, and how much there is.
    #[must_use]
    pub fn progress(&self) -> (&'static str, u64, u64) {
        let (phase, total) = *lock(&self.phase);
        (phase, self.done.load(Ordering::Relaxed).min(total), total)
    }

    pub(crate) fn begin(&self, phase: &'static str, total: u64) {
        let mut now = lock(&self.phase);
        self.done.store(0, Ordering::Relaxed);
        *now = (phase, total);
    }

    /// Count work as done; an error when the call is to end.
    pub(crate) fn advance(&self, done: u64) -> Result<(), TableError> {
        self.done.fetch_add(done, Ordering::Relaxed);
        if self.cancel.load(Ordering::Relaxed) { Err(TableError::Cancelled) } else { Ok(()) }
    }
}
