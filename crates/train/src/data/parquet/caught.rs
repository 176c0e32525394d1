//! Panics of the decoders, as errors.
//!
//! The `parquet` crate finds most damage and says so, but some of its decoders (60.1: texts in PLAIN pages, cut short) index
//! without looking, and panic. Whoever has a damaged file shall be told which column it is in, not of a line of a crate.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use parquet::errors::{ParquetError, Result};

thread_local! {
    /// Whether this thread is in [`caught`].
    static CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// The outcome of `work`; an error if it panics, without a word on stderr. What `work` has written to is not to be used then.
pub(super) fn caught<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !CAUGHT.get() {
                before(panic);
            }
        }));
    });
    CAUGHT.set(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(work));
    CAUGHT.set(false);
    outcome.unwrap_or_else(|_| Err(ParquetError::General("its bytes make no sense".to_owned())))
}
