//! Long work that Ctrl-C ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use pyo3::prelude::*;
use recon_table::TableError;

use crate::errors::raised;

/// How often the interpreter is asked for signals.
const TICK: Duration = Duration::from_millis(100);

/// Do `work` on a thread of its own while the calling thread, ten times a second, looks for signals and calls `on_tick`.
///
/// What a signal's handler or `on_tick` raises sets `cancel`, which `work` is to look at several times a second, and is raised when `work`
/// has ended. The interpreter is held only during a tick, so that `work` may call it.
pub(crate) fn run<T: Send>(
    py: Python<'_>,
    cancel: &AtomicBool,
    work: impl FnOnce() -> Result<T, TableError> + Send,
    mut on_tick: impl FnMut(Python<'_>) -> PyResult<()>,
) -> PyResult<T> {
    thread::scope(|scope| {
        let (ended, end) = channel::<()>();
        let worker = scope.spawn(move || {
            // Dropped when the work ends, also when it panics.
            let _ended = ended;
            work()
        });
        let mut interrupted = None;
        // A receiver is waited for by one thread only, which the compiler wants to be told: it moves in and out of the wait.
        let mut end = Some(end);
        while let Some(waiting) = end.take() {
            end = py.detach(move || match waiting.recv_timeout(TICK) {
                Err(RecvTimeoutError::Timeout) => Some(waiting),
                _ => None,
            });
            if end.is_some() && interrupted.is_none() {
                interrupted = py.check_signals().and_then(|()| on_tick(py)).err();
                cancel.fetch_or(interrupted.is_some(), Ordering::Relaxed);
            }
        }
        let result = py.detach(|| worker.join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        match (interrupted, result) {
            (Some(error), _) => Err(error),
            (None, result) => result.map_err(raised),
        }
    })
}
