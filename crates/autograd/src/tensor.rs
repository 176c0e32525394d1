//! Tensors: row-major f32 matrices whose bytes are in the ledger and whose memory is used again.
//!
//! Everything is a matrix (rows × cols): an activation is m×n with m = tokens of the micro-batch, a vector is 1×n. There
//! is one layout, contiguous rows; transposes exist only as views inside kernels.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use loract_linalg::{MatMut, MatRef};

use crate::ledger::{Category, Claim, Ledger};

/// Identity of a tensor's numbers: two tensors of one id hold the same. Writing gives the memory another id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BufferId(u64);

impl BufferId {
    fn fresh() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        BufferId(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

#[derive(Debug)]
struct Buffer {
    id: BufferId,
    data: Vec<f32>,
    claim: Mutex<Claim>,
    pool: Arc<Mutex<Pool>>,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let data = std::mem::take(&mut self.data);
        self.pool.lock().unwrap_or_else(PoisonError::into_inner).put(data);
    }
}

/// Freed buffers, kept for the next tensor of the same size: steps of equal shape touch no new page.
///
/// Live and pooled bytes together never exceed the largest number of live bytes so far (plus one buffer), so the pool
/// does not raise the process's peak.
#[derive(Debug, Default)]
struct Pool {
    free: Vec<Vec<f32>>,
    free_len: usize,
    live_len: usize,
    most_len: usize,
}

/// Smaller buffers go to the allocator.
const POOLED_FROM: usize = 1 << 12;

impl Pool {
    fn take(&mut self, len: usize) -> Option<Vec<f32>> {
        self.live_len += len;
        self.most_len = self.most_len.max(self.live_len);
        // The latest freed first: its pages are the likeliest to be in a cache.
        let at = self.free.iter().rposition(|v| v.len() == len);
        if let Some(at) = at {
            self.free_len -= len;
            return Some(self.free.remove(at));
        }
        self.trim();
        None
    }

    fn put(&mut self, data: Vec<f32>) {
        self.live_len -= data.len();
        if data.len() >= POOLED_FROM {
            self.free_len += data.len();
            self.free.push(data);
            self.trim();
        }
    }

    fn trim(&mut self) {
        while self.live_len + self.free_len > self.most_len && !self.free.is_empty() {
            self.free_len -= self.free.remove(0).len();
        }
    }
}

/// Where tensors come from: a ledger and a pool. Cloning gives another handle to the same.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    ledger: Ledger,
    pool: Arc<Mutex<Pool>>,
    hollow: bool,
}

impl Memory {
    /// An empty ledger and pool.
    pub fn new() -> Self {
        Self::default()
    }

    /// A memory whose tensors have shapes and bytes in the ledger but no numbers: ops on them compute nothing, so a step
    /// tells what it would take without taking it.
    pub fn hollow() -> Self {
        Self { hollow: true, ..Self::default() }
    }

    /// Whether tensors have no numbers.
    pub fn is_hollow(&self) -> bool {
        self.hollow
    }

    /// The book of bytes.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// A rows×cols tensor whose numbers are unspecified (what an earlier tensor left): every element must be written.
    pub(crate) fn stale(&self, rows: usize, cols: usize, category: Category) -> Tensor {
        if self.hollow {
            return self.wrap(rows, cols, Vec::new(), category);
        }
        let len = rows * cols;
        let reused = self.pool.lock().unwrap_or_else(PoisonError::into_inner).take(len);
        let mut data = reused.unwrap_or_else(|| vec![0.0; len]);
        if cfg!(debug_assertions) {
            // Who forgets to write some of it shall be found by tests.
            data.fill(f32::NAN);
        }
        self.wrap(rows, cols, data, category)
    }

    /// A rows×cols tensor of zeros.
    pub fn zeros(&self, rows: usize, cols: usize, category: Category) -> Tensor {
        let mut tensor = self.stale(rows, cols, category);
        if let Some(data) = tensor.data_mut() {
            data.fill(0.0);
        }
        tensor
    }

    /// A rows×cols tensor of the given numbers, row after row.
    ///
    /// # Panics
    /// If there are not rows·cols of them.
    pub fn tensor(&self, rows: usize, cols: usize, data: Vec<f32>, category: Category) -> Tensor {
        if self.hollow {
            return self.wrap(rows, cols, Vec::new(), category);
        }
        assert_eq!(data.len(), rows * cols, "{} numbers for a {rows}x{cols} tensor", data.len());
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        pool.live_len += data.len();
        pool.most_len = pool.most_len.max(pool.live_len);
        drop(pool);
        self.wrap(rows, cols, data, category)
    }

    /// A tensor that has a shape but neither numbers nor bytes: the output of an op that nobody reads.
    pub(crate) fn absent(&self, rows: usize, cols: usize) -> Tensor {
        let claim = Mutex::new(self.ledger.claim(Category::Transient, 0));
        let buffer = Buffer { id: BufferId::fresh(), data: Vec::new(), claim, pool: Arc::clone(&self.pool) };
        Tensor { rows, cols, buffer: Arc::new(buffer) }
    }

    fn wrap(&self, rows: usize, cols: usize, data: Vec<f32>, category: Category) -> Tensor {
        let claim = Mutex::new(self.ledger.claim(category, rows * cols * size_of::<f32>()));
        let id = BufferId::fresh();
        Tensor { rows, cols, buffer: Arc::new(Buffer { id, data, claim, pool: Arc::clone(&self.pool) }) }
    }
}

/// A rows×cols matrix of f32, row-major. Cloning shares the memory.
#[derive(Debug, Clone)]
pub struct Tensor {
    rows: usize,
    cols: usize,
    buffer: Arc<Buffer>,
}

impl Tensor {
    /// Number of rows (m: tokens, or output features of a weight).
    pub fn rows(&self) -> usize {
        self.rows
    }
    /// Number of columns (n: features).
    pub fn cols(&self) -> usize {
        self.cols
    }
    /// Bytes of the numbers.
    pub fn size_bytes(&self) -> usize {
        self.rows * self.cols * size_of::<f32>()
    }
    /// The numbers, copied to the host.
    pub fn to_vec(&self) -> Vec<f32> {
        self.buffer.data.clone()
    }
    /// The first number that is NaN or infinite.
    pub fn first_not_finite(&self) -> Option<f32> {
        self.data().iter().find(|x| !x.is_finite()).copied()
    }
    /// Overwrites the numbers from the host. False (and nothing written) if the memory is shared or the length differs.
    pub fn write(&mut self, numbers: &[f32]) -> bool {
        match self.data_mut() {
            Some(data) if data.len() == numbers.len() => {
                data.copy_from_slice(numbers);
                true
            }
            _ => false,
        }
    }

    /// Identity of the numbers.
    pub fn buffer_id(&self) -> BufferId {
        self.buffer.id
    }

    pub(crate) fn data(&self) -> &[f32] {
        &self.buffer.data
    }
    /// The numbers to write, if nobody else holds this memory.
    pub(crate) fn data_mut(&mut self) -> Option<&mut [f32]> {
        let buffer = Arc::get_mut(&mut self.buffer)?;
        // Factors of the old numbers may still be kept under the old id (`Tape::save`): they are not the new ones'.
        buffer.id = BufferId::fresh();
        Some(&mut buffer.data)
    }
    pub(crate) fn view(&self) -> MatRef<'_> {
        MatRef::row_major(self.data(), self.rows, self.cols)
    }
    pub(crate) fn set_category(&self, category: Category) {
        self.buffer.claim.lock().unwrap_or_else(PoisonError::into_inner).set_category(category);
    }

    /// This tensor if nobody else holds its memory, else a copy that is not shared.
    pub(crate) fn into_unique(mut self, memory: &Memory) -> Tensor {
        if self.data_mut().is_some() { self } else { self.copy(memory) }
    }

    /// Whether it has a shape only ([`Memory::absent`]).
    fn is_absent(&self) -> bool {
        self.size_bytes() > self.buffer.claim.lock().unwrap_or_else(PoisonError::into_inner).bytes()
    }

    /// A copy of its own; of what is absent, absent too.
    pub(crate) fn copy(&self, memory: &Memory) -> Tensor {
        if self.is_absent() {
            return memory.absent(self.rows, self.cols);
        }
        let mut copy = memory.stale(self.rows, self.cols, Category::Transient);
        copy.slice_mut().copy_from_slice(self.data());
        copy
    }

    /// The numbers of a tensor just made by [`Memory`] or by [`Tensor::into_unique`], which nobody else can hold.
    pub(crate) fn slice_mut(&mut self) -> &mut [f32] {
        match self.data_mut() {
            Some(data) => data,
            None => unreachable!("a tensor is written only before it is shared"),
        }
    }
    pub(crate) fn view_mut(&mut self) -> MatMut<'_> {
        let (rows, cols) = (self.rows, self.cols);
        MatMut::row_major(self.slice_mut(), rows, cols)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_reused_and_the_pool_never_exceeds_the_peak() {
        let memory = Memory::new();
        let a = memory.zeros(100, 100, Category::Transient);
        let address = a.data().as_ptr();
        drop(a);
        assert_eq!(memory.ledger().activation_bytes(), 0);
        let b = memory.zeros(50, 200, Category::Transient);
        assert_eq!(b.data().as_ptr(), address);
        drop(b);
        // Another size: the freed buffer must make room.
        let c = memory.zeros(100, 90, Category::Transient);
        let pool = memory.pool.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(pool.live_len + pool.free_len <= 10_000);
        drop(pool);
        drop(c);
    }

    #[test]
    fn shared_memory_is_not_written() {
        let memory = Memory::new();
        let mut a = memory.tensor(1, 2, vec![1.0, 2.0], Category::Transient);
        let b = a.clone();
        assert!(!a.write(&[3.0, 4.0]));
        assert!(!a.write(&[3.0]));
        let c = a.into_unique(&memory);
        assert_ne!(c.buffer_id(), b.buffer_id());
        assert_eq!(b.to_vec(), vec![1.0, 2.0]);
    }
}
