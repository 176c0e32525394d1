//! Weights that are not trained, kept in their stored form (f32, f16, bf16, or blocks of a few bits) and widened to f32
//! a panel of rows at a time.
//!
//! Block formats are those of GGUF: `d` and `m` are f16, `q` the stored integer, `s` and `t` small integers that belong to
//! the 16 or 32 numbers around q.
//!
//! | type | numbers a block | bytes | value |
//! |---|---|---|---|
//! | Q8_0 | 32 | 34 | d·q, q in −128..127 |
//! | Q4_0 | 32 | 18 | d·(q − 8) |
//! | Q4_1 | 32 | 20 | d·q + m |
//! | Q5_0 | 32 | 22 | d·(q − 16) |
//! | Q5_1 | 32 | 24 | d·q + m |
//! | Q2_K | 256 | 84 | d·s·q − m·t, s and t of 4 bits for 16 numbers |
//! | Q3_K | 256 | 110 | d·s·(q − 4), s of 6 bits, signed, for 16 numbers |
//! | Q4_K | 256 | 144 | d·s·q − m·t, s and t of 6 bits for 32 numbers |
//! | Q5_K | 256 | 176 | the same |
//! | Q6_K | 256 | 210 | d·s·(q − 32), s of 8 bits, signed, for 16 numbers |
//!
//! In the 4- and 5-bit types of 32 the low nibbles of the 16 bytes are numbers 0–15, the high nibbles numbers 16–31; how
//! the blocks of 256 are laid out is told where they are widened. Source: ggml's `ggml-common.h` and `ggml-quants.c`,
//! checked against the Python package `gguf`.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use half::bf16;
use rayon::prelude::*;

use crate::error::Error;
use crate::kernels::widen::widen;
use crate::ledger::{Category, Claim};
use crate::tensor::Memory;

/// How a frozen weight is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types)]
pub enum DType {
    /// 32-bit float.
    F32,
    /// IEEE half precision.
    F16,
    /// bfloat16.
    Bf16,
    /// 8-bit blocks.
    Q8_0,
    /// 4-bit blocks, symmetric.
    Q4_0,
    /// 4-bit blocks with a minimum.
    Q4_1,
    /// 5-bit blocks, symmetric.
    Q5_0,
    /// 5-bit blocks with a minimum.
    Q5_1,
    /// 2-bit blocks of 256 with minima.
    Q2_K,
    /// 3-bit blocks of 256, symmetric.
    Q3_K,
    /// 4-bit blocks of 256 with minima.
    Q4_K,
    /// 5-bit blocks of 256 with minima.
    Q5_K,
    /// 6-bit blocks of 256, symmetric.
    Q6_K,
}

impl DType {
    /// Numbers in a block; 1 for plain types.
    pub fn block_len(self) -> usize {
        match self {
            DType::F32 | DType::F16 | DType::Bf16 => 1,
            DType::Q8_0 | DType::Q4_0 | DType::Q4_1 | DType::Q5_0 | DType::Q5_1 => 32,
            DType::Q2_K | DType::Q3_K | DType::Q4_K | DType::Q5_K | DType::Q6_K => 256,
        }
    }

    /// Bytes of a block.
    pub fn block_bytes(self) -> usize {
        match self {
            DType::F32 => 4,
            DType::F16 | DType::Bf16 => 2,
            DType::Q8_0 => 34,
            DType::Q4_0 => 18,
            DType::Q4_1 => 20,
            DType::Q5_0 => 22,
            DType::Q5_1 => 24,
            DType::Q2_K => 84,
            DType::Q3_K => 110,
            DType::Q4_K => 144,
            DType::Q5_K => 176,
            DType::Q6_K => 210,
        }
    }

    /// Significant bits that a number has at most, widened to f32.
    pub fn significant_bits(self) -> usize {
        match self {
            DType::Bf16 => 8,
            DType::F16 => 11,
            // Those of d and of a q up to 15, or a power of two.
            DType::Q4_0 | DType::Q5_0 => 11 + 4,
            _ => 24,
        }
    }

    /// Bytes of a row of `cols` numbers; `None` if it is not a whole number of blocks, or too large.
    pub fn row_bytes(self, cols: usize) -> Option<usize> {
        cols.is_multiple_of(self.block_len())
            .then(|| (cols / self.block_len()).checked_mul(self.block_bytes()))
            .flatten()
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DType::F32 => "F32",
            DType::F16 => "F16",
            DType::Bf16 => "BF16",
            DType::Q8_0 => "Q8_0",
            DType::Q4_0 => "Q4_0",
            DType::Q4_1 => "Q4_1",
            DType::Q5_0 => "Q5_0",
            DType::Q5_1 => "Q5_1",
            DType::Q2_K => "Q2_K",
            DType::Q3_K => "Q3_K",
            DType::Q4_K => "Q4_K",
            DType::Q5_K => "Q5_K",
            DType::Q6_K => "Q6_K",
        })
    }
}

/// Bytes somebody owns: a memory map or a vector.
#[derive(Clone)]
pub struct Bytes {
    owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
    range: Range<usize>,
}

impl Bytes {
    /// The part `range` of what `owner` holds; `None` if it is not inside.
    pub fn new(owner: Arc<dyn AsRef<[u8]> + Send + Sync>, range: Range<usize>) -> Option<Self> {
        let len = (*owner).as_ref().len();
        (range.start <= range.end && range.end <= len).then_some(Self { owner, range })
    }
    /// All of a vector.
    pub fn owned(bytes: Vec<u8>) -> Self {
        let range = 0..bytes.len();
        Self { owner: Arc::new(bytes), range }
    }
    /// The part `range` of them; `None` if it is not inside.
    pub fn part(&self, range: Range<usize>) -> Option<Self> {
        let (start, end) = (self.range.start.checked_add(range.start)?, self.range.start.checked_add(range.end)?);
        (start <= end && end <= self.range.end).then(|| Self { owner: Arc::clone(&self.owner), range: start..end })
    }
    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &(*self.owner).as_ref()[self.range.clone()]
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({})", self.range.len())
    }
}

/// A frozen rows×cols matrix in its stored form (a weight is output features × input features).
#[derive(Debug)]
pub struct Frozen {
    dtype: DType,
    rows: usize,
    cols: usize,
    row_bytes: usize,
    bytes: Bytes,
    _claim: Claim,
}

impl Frozen {
    /// # Errors
    /// [`Error::FrozenSize`] if `bytes` are not exactly rows rows of `dtype`.
    pub fn new(memory: &Memory, dtype: DType, rows: usize, cols: usize, bytes: Bytes) -> Result<Self, Error> {
        let have = bytes.as_slice().len();
        let row_bytes = dtype.row_bytes(cols).filter(|row| row.checked_mul(rows) == Some(have));
        let row_bytes = row_bytes.ok_or(Error::FrozenSize { dtype, rows, cols, bytes: have })?;
        let claim = memory.ledger().claim(Category::FrozenWeights, have);
        Ok(Self { dtype, rows, cols, row_bytes, bytes, _claim: claim })
    }

    /// A frozen f32 matrix from numbers.
    ///
    /// # Errors
    /// [`Error::FrozenSize`] if there are not rows·cols of them.
    pub fn from_f32(memory: &Memory, rows: usize, cols: usize, numbers: &[f32]) -> Result<Self, Error> {
        let bytes = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        Self::new(memory, DType::F32, rows, cols, Bytes::owned(bytes))
    }

    /// Stored type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }
    /// Output features.
    pub fn rows(&self) -> usize {
        self.rows
    }
    /// Input features.
    pub fn cols(&self) -> usize {
        self.cols
    }
    /// Stored bytes.
    pub fn size_bytes(&self) -> usize {
        self.rows * self.row_bytes
    }

    /// The same numbers once more, of the same bytes.
    ///
    /// # Errors
    /// None in practice: the sizes have been checked.
    pub fn shared(&self, memory: &Memory) -> Result<Self, Error> {
        Self::new(memory, self.dtype, self.rows, self.cols, self.bytes.clone())
    }

    /// A copy with row `order[i]` as row i.
    ///
    /// # Errors
    /// [`Error::FrozenSize`] if `order` has another length than there are rows.
    ///
    /// # Panics
    /// If `order` names a row that does not exist.
    pub fn permuted(&self, memory: &Memory, order: &[usize]) -> Result<Self, Error> {
        let stored = self.bytes.as_slice();
        let mut bytes = Vec::with_capacity(stored.len());
        for &row in order {
            bytes.extend_from_slice(&stored[row * self.row_bytes..(row + 1) * self.row_bytes]);
        }
        Self::new(memory, self.dtype, self.rows, self.cols, Bytes::owned(bytes))
    }

    /// The numbers in place, if stored as f32 and aligned.
    pub(crate) fn as_f32(&self) -> Option<&[f32]> {
        (self.dtype == DType::F32 && cfg!(target_endian = "little"))
            .then(|| bytemuck::try_cast_slice(self.bytes.as_slice()).ok())
            .flatten()
    }

    /// Rows `rows`, widened into `out` (rows.len()·cols numbers), in parallel.
    ///
    /// # Panics
    /// If `rows` reaches past the end or `out` is too short.
    pub fn widen_rows(&self, rows: Range<usize>, out: &mut [f32]) {
        let stored = &self.bytes.as_slice()[rows.start * self.row_bytes..rows.end * self.row_bytes];
        let out = &mut out[..rows.len() * self.cols];
        if out.is_empty() {
            return;
        }
        // About 64 KB of output a task.
        let group = (16_384 / self.cols.max(1)).max(1);
        out.par_chunks_mut(group * self.cols)
            .zip(stored.par_chunks(group * self.row_bytes))
            .for_each(|(out, stored)| widen(self.dtype, stored, out));
    }

    /// Numbers `cols` of row `row`, whole blocks, widened into `out` by the calling thread.
    pub(crate) fn widen_part(&self, row: usize, cols: Range<usize>, out: &mut [f32]) {
        let (len, bytes) = (self.dtype.block_len(), self.dtype.block_bytes());
        let start = row * self.row_bytes;
        widen(
            self.dtype,
            &self.bytes.as_slice()[start + cols.start / len * bytes..start + cols.end / len * bytes],
            out,
        );
    }

    /// Rows `rows`, widened into `out` by the calling thread.
    pub(crate) fn widen_here(&self, rows: Range<usize>, out: &mut [f32]) {
        widen(self.dtype, &self.bytes.as_slice()[rows.start * self.row_bytes..rows.end * self.row_bytes], out);
    }

    /// All numbers, widened.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.rows * self.cols];
        self.widen_rows(0..self.rows, &mut out);
        out
    }
}

/// bfloat16 bytes of f32 numbers, round to nearest even.
pub fn to_bf16_bytes(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        let memory = Memory::new();
        let error = Frozen::new(&memory, DType::Q8_0, 2, 32, Bytes::owned(vec![0; 67])).err().map(|e| e.to_string());
        assert_eq!(error.as_deref(), Some("2x32 weight of type Q8_0 in 67 bytes, expected 68"));
        assert!(Frozen::new(&memory, DType::Q4_0, 1, 33, Bytes::owned(vec![0; 18])).is_err());
        // Half a block of 256 would be 72 bytes.
        let error = Frozen::new(&memory, DType::Q4_K, 1, 128, Bytes::owned(vec![0; 72])).err().map(|e| e.to_string());
        let want = "1x128 weight of type Q4_K in 72 bytes, expected rows of whole 256-number blocks";
        assert_eq!(error.as_deref(), Some(want));
        assert_eq!(memory.ledger().live_in(Category::FrozenWeights), 0);
    }

    #[test]
    fn plain_types_widen_and_permute() -> Result<(), Error> {
        let memory = Memory::new();
        let numbers = [1.0f32, -2.5, 0.0, 3.0, 1e-3, 7.0];
        let w = Frozen::from_f32(&memory, 3, 2, &numbers)?;
        assert_eq!(w.permuted(&memory, &[2, 0, 1])?.to_f32(), vec![1e-3, 7.0, 1.0, -2.5, 0.0, 3.0]);
        let b = Frozen::new(&memory, DType::Bf16, 3, 2, Bytes::owned(to_bf16_bytes(&numbers)))?;
        let mut row = [0.0; 2];
        b.widen_here(0..1, &mut row);
        assert_eq!(row, [1.0, -2.5]);
        Ok(())
    }
}
