//! Threads around kernels that know of none.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::TableError;

/// Most threads a call may ask for.
pub(crate) const THREADS_MAX: usize = 64;

/// Refuse a count of threads out of bounds.
pub(crate) fn checked_threads(threads: usize) -> Result<usize, TableError> {
    if (1..=THREADS_MAX).contains(&threads) {
        return Ok(threads);
    }
    Err(TableError::Argument { problem: "threads must be from 1 to 64", value: threads.to_string() })
}

/// Cut `0..len` into as many ranges as threads, and return what `work` makes of each, in order. One thread is the caller's.
pub(crate) fn in_ranges<T: Send>(len: usize, threads: usize, work: impl Fn(Range<usize>) -> T + Sync) -> Vec<T> {
    let each = len.div_ceil(threads).max(1);
    let mut ranges = (0..len).step_by(each).map(|start| start..len.min(start + each));
    let first = ranges.next().unwrap_or(0..0);
    let work = &work;
    thread::scope(|scope| {
        let others = ranges.map(|range| scope.spawn(move || work(range))).collect::<Vec<_>>();
        let mut results = vec![work(first)];
        results.extend(others.into_iter().map(|thread| joined(thread.join())));
        results
    })
}

/// Let threads take the numbers below `units` one after the other: `work` is called once a thread, with what gives it its next number.
/// When one fails, the others get no more. The error is that of the lowest thread.
pub(crate) fn each_unit(
    units: usize,
    threads: usize,
    work: impl Fn(&mut dyn FnMut() -> Option<usize>) -> Result<(), TableError> + Sync,
) -> Result<(), TableError> {
    let next = AtomicUsize::new(0);
    let working = || {
        let mut take = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|number| *number < units);
        let done = work(&mut take);
        if done.is_err() {
            next.store(units, Ordering::Relaxed);
        }
        done
    };
    let threads = threads.min(units).max(1);
    thread::scope(|scope| {
        let others = (1..threads).map(|_| scope.spawn(working)).collect::<Vec<_>>();
        let mut result = working();
        for thread in others {
            result = result.and(joined(thread.join()));
        }
        result
    })
}

/// What `work` makes of each of `tasks`, in their order. Threads take tasks one by one, because tasks differ in size.
///
/// Ends with the first error, and between two tasks when `cancel` is set.
pub(crate) fn in_turn<T: Send, R: Send>(
    tasks: Vec<T>,
    threads: usize,
    cancel: &AtomicBool,
    work: impl Fn(usize, T) -> Result<R, TableError> + Sync,
) -> Result<Vec<R>, TableError> {
    let tasks = Mutex::new(tasks.into_iter().enumerate());
    let next = || tasks.lock().unwrap_or_else(PoisonError::into_inner).next();
    let failed = AtomicBool::new(false);
    let lanes = in_ranges(threads, threads, |_| {
        let mut done = Vec::new();
        while let Some((at, task)) = next() {
            if failed.load(Ordering::Relaxed) {
                break;
            }
            if cancel.load(Ordering::Relaxed) {
                return Err(TableError::Cancelled);
            }
            done.push((at, work(at, task).inspect_err(|_| failed.store(true, Ordering::Relaxed))?));
        }
        Ok(done)
    });
    let mut done = lanes.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect::<Vec<_>>();
    done.sort_unstable_by_key(|(at, _)| *at);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}

/// A thread's result; a panic is a bug of ours and goes on as one.
pub(crate) fn joined<T>(result: thread::Result<T>) -> T {
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::{in_ranges, in_turn};
    use crate::TableError;

    /// Whatever the length and the threads, each position is in exactly one range, in order.
    #[test]
    fn ranges_cover_all() {
        for len in [0, 1, 2, 7, 64, 1_000] {
            for threads in [1, 2, 3, 8, 64] {
                let seen = in_ranges(len, threads, Iterator::collect::<Vec<_>>).concat();
                assert_eq!(seen, (0..len).collect::<Vec<_>>());
            }
        }
    }

    /// Results come in the order of their tasks, an error ends the work, and so does a cancellation.
    #[test]
    fn tasks_are_done_in_turn() {
        let run = |tasks: Vec<usize>, cancel: bool| {
            in_turn(tasks, 3, &AtomicBool::new(cancel), |at, task| match task {
                7 => Err(TableError::Argument { problem: "seven", value: String::new() }),
                other => Ok((at, other)),
            })
        };
        assert_eq!(run((10..60).collect(), false).unwrap(), (10..60).enumerate().collect::<Vec<_>>());
        assert!(matches!(run((0..60).collect(), false), Err(TableError::Argument { problem: "seven", .. })));
        assert!(matches!(run((10..60).collect(), true), Err(TableError::Cancelled)));
        assert!(run(Vec::new(), true).unwrap().is_empty());
    }
}
