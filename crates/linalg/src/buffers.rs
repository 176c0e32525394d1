//! Per-thread memory that is allocated once and used again.

use std::cell::RefCell;

use bytemuck::{Pod, Zeroable};

/// Numbers in a cache line.
const LINE: usize = 16;

/// A cache line: buffers begin at one, so that no vector of them lies across two.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

thread_local! {
    static FREE: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
}

/// Calls `f` with `len` numbers of this thread's memory whose content is unspecified. Calls may nest.
pub fn with_buffer<R>(len: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut buffer = FREE.with(|free| free.borrow_mut().pop()).unwrap_or_default();
    let lines = len.div_ceil(LINE);
    if buffer.len() < lines {
        // Not `resize`, which would copy what nobody reads.
        buffer = Vec::new();
        buffer.resize(lines, Line::zeroed());
    }
    let result = f(&mut bytemuck::cast_slice_mut(&mut buffer)[..len]);
    FREE.with(|free| free.borrow_mut().push(buffer));
    result
}

/// The same with several buffers, of `lens` numbers.
pub fn with_buffers<const C: usize, R>(lens: [usize; C], f: impl FnOnce([&mut [f32]; C]) -> R) -> R {
    let rooms = lens.map(|len| len.next_multiple_of(LINE));
    with_buffer(rooms.iter().sum(), |mut rest| {
        f(std::array::from_fn(|at| {
            let (buffer, after) = std::mem::take(&mut rest).split_at_mut(rooms[at]);
            rest = after;
            &mut buffer[..lens[at]]
        }))
    })
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
                assert_eq!((inner.len(), inner.as_ptr().align_offset(64)), (1000, 0));
            });
            assert!(outer.iter().all(|&x| x == 1.0));
        });
        with_buffer(0, |empty| assert!(empty.is_empty()));
        with_buffers([7, 0, 20], |buffers| {
            assert_eq!(buffers.each_ref().map(|buffer| buffer.len()), [7, 0, 20]);
            assert!(buffers.iter().all(|buffer| buffer.as_ptr().align_offset(64) == 0));
        });
    }
}
