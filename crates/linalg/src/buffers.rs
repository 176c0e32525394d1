//! Per-thread memory that is allocated once and used again.

use std::cell::RefCell;

/// Numbers in a cache line: buffers begin at one, so that no vector of them lies across two.
const LINE: usize = 16;

thread_local! {
    static FREE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Calls `f` with `len` numbers of this thread's memory whose content is unspecified. Calls may nest.
pub fn with_buffer<R>(len: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut buffer = FREE.with(|free| free.borrow_mut().pop()).unwrap_or_default();
    if buffer.len() < len + LINE {
        // Not `resize`, which would copy what nobody reads.
        buffer = Vec::new();
        buffer.resize(len + LINE, 0.0);
    }
    let start = buffer.as_ptr().align_offset(4 * LINE).min(LINE);
    let result = f(&mut buffer[start..start + len]);
    FREE.with(|free| free.borrow_mut().push(buffer));
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_buffers_are_apart_and_aligned() {
        with_buffer(100, |outer| {
            outer.fill(1.0);
            with_buffer(1000, |inner| {
                inner.fill(2.0);
                assert_eq!(inner.as_ptr().align_offset(4 * LINE), 0);
            });
            assert!(outer.iter().all(|&x| x == 1.0));
        });
        with_buffer(0, |empty| assert!(empty.is_empty()));
    }
}
