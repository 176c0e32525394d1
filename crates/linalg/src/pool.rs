//! Who runs a loop, and the scratch of those who run it.

use std::sync::{Mutex, TryLockError};

use rayon::prelude::*;

use crate::gemm::Par;

/// Threads that may work at a time.
pub(crate) fn threads(par: Par) -> usize {
    match par {
        Par::Serial => 1,
        Par::Rayon => rayon::current_num_threads(),
    }
}

/// Runs `f` on a thread of the pool: a parallel loop started there begins at once, where one started from outside first
/// wakes a thread and goes to sleep itself (30 to 100 µs, a fifth of a small decomposition).
pub(crate) fn on_pool<R: Send>(par: Par, f: impl FnOnce() -> R + Send) -> R {
    match par {
        Par::Serial => f(),
        Par::Rayon => rayon::scope(|_| f()),
    }
}

/// `f` for every item, in order or in parallel.
pub(crate) fn for_each<I: Send>(par: Par, items: Vec<I>, f: impl Fn(usize, I) + Sync) {
    match par {
        Par::Serial => items.into_iter().enumerate().for_each(|(i, item)| f(i, item)),
        Par::Rayon => items.into_par_iter().enumerate().for_each(|(i, item)| f(i, item)),
    }
}

/// Equal parts of one scratch, as many as run at a time: a task borrows one that is free.
pub(crate) struct Slots<'a> {
    parts: Vec<Mutex<&'a mut [f64]>>,
}

impl<'a> Slots<'a> {
    /// Parts of `size` numbers; at least one.
    pub(crate) fn new(scratch: &'a mut [f64], size: usize) -> Self {
        Self { parts: scratch.chunks_exact_mut(size.max(1)).map(Mutex::new).collect() }
    }

    /// Runs `f` with a free part. There must be as many parts as callers at a time, none within another.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut [f64]) -> R) -> R {
        loop {
            for part in &self.parts {
                match part.try_lock() {
                    Ok(mut part) => return f(&mut part),
                    Err(TryLockError::Poisoned(part)) => return f(&mut part.into_inner()),
                    Err(TryLockError::WouldBlock) => {}
                }
            }
            std::hint::spin_loop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_tasks_share_a_part() {
        let par = Par::Rayon;
        let mut scratch = vec![0.0; 3 * threads(par)];
        let slots = Slots::new(&mut scratch, 3);
        let mut wrong = [false; 200];
        on_pool(par, || {
            for_each(par, wrong.iter_mut().collect(), |i, wrong| {
                slots.with(|part| {
                    part.fill(i as f64);
                    (0..50).for_each(|_| *wrong |= part.iter().any(|&x| x != i as f64));
                });
            });
        });
        assert!(wrong.iter().all(|wrong| !wrong));
    }
}
