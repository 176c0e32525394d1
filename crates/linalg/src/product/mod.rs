//! lhs·W + (lhs·D)·U + bias in one pass over lhs and over the result, W in its stored form.
//!
//! Shapes: lhs m×k, W k×n (or stored as n×k), D k×r, U r×n, bias n; the result m×n, and lhs·D, m×r, which is wanted for itself.
//! What a frozen weight with a LoRA pair takes in either direction, where the separate products would each go through a
//! matrix of the size of the activations for a few operations on every number of it.
//!
//! W is widened and packed a block at a time, by all threads, and shared; rows of lhs are packed by whoever computes with
//! them. lhs·D is some more columns of W; once it is complete for the rows at hand, it is packed behind them as r more
//! columns of lhs, as U is below W. The order of sums is given by the depth alone, whatever the number of threads or of rows.
//!
//! Our own, against the rule that a library goes first: on AVX2 it takes three quarters of the time of the `gemm` crate and nine
//! tenths of PyTorch's (oneDNN); the other crates that were tried lie between (docs/memory.md), and none takes stored forms or
//! branches. On AVX-512 a product takes as long as `gemm`'s, and needs no passes for widening, branch and bias. On other
//! processors, where that was not measured, f32 is made of `gemm`'s products.
//!
//! In [`Precision::Bf16`] operands are rounded as they are packed. On a processor with AMX f32 is made of products of bf16 too, as
//! exactly, where W has no more than 16 significant bits ([`crate::tiles::bf16`]).
//!
//! Memory: some [`BLOCK`] + r·[`DEPTH`] numbers of the calling thread (half as many more of the latter, split for AMX) and
//! [`ROWS`]·([`DEPTH`] + r) of each thread, or some [`STRIPS_OF_PAIRS`], kept.

mod pass;

use std::ops::Range;

use pulp::Arch;
use rayon::prelude::*;

use self::pass::{Arithmetic, Pass};
use crate::buffers::with_buffer;
use crate::gemm::{Accum, Par, library};
use crate::mat::{MatMut, MatRef};
use crate::pool::{on_pool, threads};
use crate::tiles::Tile;
use crate::tiles::bf16::Bf16;

/// Significant bits of an f32.
pub(crate) const F32_BITS: usize = 24;

/// A matrix that is read as f32, part of a row at a time.
pub trait Stored: Sync {
    /// Rows as stored.
    fn rows(&self) -> usize;
    /// Columns as stored.
    fn cols(&self) -> usize;
    /// Numbers of a row that are stored together, a power of two: parts of a row begin and end with them, or with the row.
    fn block(&self) -> usize {
        1
    }
    /// Significant bits that a number has at most: 8 of bf16, 11 of f16, 24 of f32. A number with more may lose them; with 16 or
    /// fewer the product is faster on a processor with AMX.
    fn bits(&self) -> usize {
        F32_BITS
    }
    /// Numbers `cols` of row `row`, as many as `out` holds.
    fn read(&self, row: usize, cols: Range<usize>, out: &mut [f32]);
    /// All of it, if it is stored as f32.
    fn in_place(&self) -> Option<MatRef<'_>> {
        None
    }
}

impl Stored for MatRef<'_> {
    fn rows(&self) -> usize {
        MatRef::rows(self)
    }
    fn cols(&self) -> usize {
        MatRef::cols(self)
    }
    fn read(&self, row: usize, cols: Range<usize>, out: &mut [f32]) {
        match self.row(row) {
            Some(numbers) => out.copy_from_slice(&numbers[cols]),
            None => out.iter_mut().zip(cols).for_each(|(x, j)| *x = self.get(row, j)),
        }
    }
    fn in_place(&self) -> Option<MatRef<'_>> {
        Some(*self)
    }
}

/// W of a product.
#[derive(Clone, Copy)]
pub enum Rhs<'a> {
    /// k×n, as stored.
    Plain(&'a dyn Stored),
    /// Stored as n×k.
    Transposed(&'a dyn Stored),
}

impl Rhs<'_> {
    fn stored(&self) -> &dyn Stored {
        match self {
            Rhs::Plain(w) | Rhs::Transposed(w) => *w,
        }
    }

    /// k and n.
    fn shape(&self) -> (usize, usize) {
        match self {
            Rhs::Plain(w) => (w.rows(), w.cols()),
            Rhs::Transposed(w) => (w.cols(), w.rows()),
        }
    }
}

/// (lhs·D)·U: a path of low rank beside W.
pub struct Branch<'a> {
    /// D, k×r.
    pub down: MatRef<'a>,
    /// By which D is multiplied.
    pub down_scale: f32,
    /// U, r×n.
    pub up: MatRef<'a>,
    /// By which U is multiplied.
    pub up_scale: f32,
    /// Where lhs·D goes: m·r numbers, row-major.
    pub mid: &'a mut [f32],
}

/// What the operands of a product are rounded to; sums are in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Precision {
    /// Nothing. (Where AMX serves W, infinities and numbers from 3.396·10³⁸ on make NaN.)
    #[default]
    F32,
    /// bf16. By the processor's instructions for it if [`Precision::is_fast`], else at the speed of f32.
    Bf16,
}

impl Precision {
    /// Whether this processor has instructions for it that are faster than those of f32: AMX, or AVX512-BF16 if it is not Intel's.
    pub fn is_fast(self) -> bool {
        self == Precision::F32 || Bf16::new().is_some()
    }
}

/// A product with a stored matrix.
pub struct Product<'a> {
    /// m×k.
    pub lhs: MatRef<'a>,
    /// W.
    pub rhs: Rhs<'a>,
    /// What runs beside W.
    pub branch: Option<Branch<'a>>,
    /// Added to each row of the result: n numbers.
    pub bias: Option<&'a [f32]>,
    /// Of all three products. A product with a rank above 768 is in f32.
    pub precision: Precision,
}

/// Columns of lhs that are packed at a time: a strip of them stays in the nearest cache, and a panel in the second, while it
/// meets the strips of a task. (The fastest at most shapes, of 256 to 768 with 72 to 240 rows.)
const DEPTH: usize = 768;
/// Rows of lhs that a thread packs at a time: with [`DEPTH`] columns they fit the second cache.
const ROWS: usize = 72;
/// The same of pairs, which pass W so fast that its panels must be of use for more rows. (Chosen on two cores; with many, few
/// rows are cut by columns instead.)
const ROWS_OF_PAIRS: usize = 256;
/// Numbers that a thread packs of them at most: 1.2 MB, of a second cache of 2.
const STRIPS_OF_PAIRS: usize = 300 << 10;
/// Numbers of W that are packed at a time: 5 MB, less than two cores' share of the last cache.
const BLOCK: usize = 5 << 18;
/// A product with a side below this, that is not [`mod@crate::thin`], is the library's: packing would take as long as computing.
const THIN: usize = 16;
/// Below this many multiply-adds a product is not worth waking other threads.
const SERIAL_BELOW: usize = 1 << 19;

impl Product<'_> {
    /// `dst` (m×n, row-major) = or += the product.
    ///
    /// # Panics
    /// If shapes do not fit.
    pub fn into(self, dst: &mut [f32], accum: Accum) {
        let (m, n) = (self.lhs.rows(), self.rhs.shape().1);
        assert!(dst.len() == m * n, "product of {m} rows and {n} columns into {} numbers", dst.len());
        self.run(Arch::new(), Some(dst), accum);
    }

    /// The branch's lhs·D alone, to the last bit as [`Self::into`] makes it.
    ///
    /// # Panics
    /// If shapes do not fit.
    pub fn into_mid(self) {
        self.run(Arch::new(), None, Accum::Replace);
    }

    fn run(self, arch: Arch, dst: Option<&mut [f32]>, accum: Accum) {
        let [m, k, n, r] = self.shape();
        if m == 0 {
            // An expert that nobody chose: its weights need not be read.
            return;
        }
        if (is_measured(arch) || self.precision == Precision::Bf16) && k * n > 0 && r <= DEPTH {
            let dst = dst.map(|dst| MatMut::row_major(dst, m, n));
            let arithmetic = Arithmetic::of(self.precision, self.rhs.stored().bits());
            self.by_tiles(arch, arithmetic, Par::Rayon, dst, accum, 1.0);
        } else {
            self.by_gemm(dst, accum);
        }
    }

    /// m, k, n and r, checked.
    fn shape(&self) -> [usize; 4] {
        let (m, k) = (self.lhs.rows(), self.lhs.cols());
        let (depth, n) = self.rhs.shape();
        assert!(k == depth, "product of {m}x{k} and {depth}x{n}");
        assert!(self.bias.is_none_or(|bias| bias.len() == n), "a bias for {n} columns");
        let Some(branch) = &self.branch else { return [m, k, n, 0] };
        let (down, up, r) = (branch.down, branch.up, branch.up.rows());
        let fits = down.rows() == k && down.cols() == r && up.cols() == n && branch.mid.len() == m * r;
        assert!(fits, "branch of {}x{} and {r}x{} beside {k}x{n}", down.rows(), down.cols(), up.cols());
        [m, k, n, r]
    }

    /// Into a `dst` with col_stride 1.
    fn by_tiles(
        mut self,
        arch: Arch,
        arithmetic: Arithmetic,
        par: Par,
        dst: Option<MatMut<'_>>,
        accum: Accum,
        scale: f32,
    ) {
        let [m, k, n, r] = self.shape();
        // Nothing is wanted of W: no columns.
        let wanted = if dst.is_some() { n } else { 0 };
        let mut dst = dst.unwrap_or_else(|| MatMut::row_major(&mut [], m, 0));
        let tile = arithmetic.tile(arch);
        let block = self.rhs.stored().block();
        let (deep, across) = match self.rhs {
            Rhs::Plain(_) => (arithmetic.padded(4), block.max(tile.cols)),
            Rhs::Transposed(_) => (block.max(arithmetic.padded(4)), tile.cols),
        };
        let par = if m * n * k < SERIAL_BELOW { Par::Serial } else { par };
        let depth = balanced(k, DEPTH, deep).min(k);
        let parts_of_w = arithmetic.parts(self.rhs.stored().bits());
        let room = arithmetic.with_branch(depth, r, parts_of_w);
        let width = balanced(n, (BLOCK / room.panel()).max(across), across);
        let rows = balanced(m, arithmetic.rows_of_task(m, room.strip(), threads(par)), tile.rows);
        let side = r.next_multiple_of(tile.cols) * arithmetic.depth(depth, arithmetic.parts(F32_BITS)).panel();
        with_buffer(width.min(wanted).next_multiple_of(tile.cols) * room.panel() + side, |packed| {
            on_pool(par, || {
                let (side, packed) = packed.split_at_mut(side);
                for columns in parts(wanted.max(1), width) {
                    let columns = columns.start..columns.end.min(wanted);
                    for span in parts(k, depth) {
                        let pass = Pass {
                            arch,
                            arithmetic,
                            tile,
                            par,
                            columns: columns.clone(),
                            span,
                            rows,
                            k,
                            r,
                            parts: parts_of_w,
                            scale,
                        };
                        let packed = &mut packed[..columns.len().next_multiple_of(tile.cols) * pass.depth().panel()];
                        pass.pack(&self, packed);
                        // lhs·D is complete after the first columns.
                        let side = if columns.start == 0 { pass.pack_down(&self, side) } else { &[] };
                        pass.sweep(&mut self, (packed, side), &mut dst, accum);
                    }
                }
            });
        });
    }

    /// The same of separate products, W widened some rows at a time.
    fn by_gemm(self, dst: Option<&mut [f32]>, accum: Accum) {
        let [m, k, n, r] = self.shape();
        let mid = self.branch.map(|branch| {
            let mut mid = MatMut::row_major(branch.mid, m, r);
            library(mid.rows_mut(0..m), Accum::Replace, self.lhs, branch.down, branch.down_scale, Par::Rayon);
            (mid, branch.up, branch.up_scale)
        });
        let Some(dst) = dst else { return };
        if k == 0 && accum == Accum::Replace {
            dst.fill(0.0);
        }
        let mut accum = accum;
        match self.rhs {
            Rhs::Transposed(w) => for_panels(w, |rows, panel| {
                let dst = MatMut::with_strides(&mut dst[rows.start..], m, rows.len(), n, 1);
                library(dst, accum, self.lhs, panel.t(), 1.0, Par::Rayon);
            }),
            Rhs::Plain(w) => for_panels(w, |rows, panel| {
                library(MatMut::row_major(dst, m, n), accum, self.lhs.col_range(rows), panel, 1.0, Par::Rayon);
                accum = Accum::Add;
            }),
        }
        if let Some((mid, up, scale)) = mid {
            library(MatMut::row_major(dst, m, n), Accum::Add, mid.as_ref(), up, scale, Par::Rayon);
        }
        if let Some(bias) = self.bias.filter(|bias| !bias.is_empty()) {
            dst.par_chunks_mut(n).for_each(|row| row.iter_mut().zip(bias).for_each(|(x, b)| *x += b));
        }
    }
}

/// Whether tiles were found to be faster than the library here; the turn of other processors comes with a machine to measure on.
pub(crate) fn is_measured(arch: Arch) -> bool {
    cfg!(target_arch = "x86_64") && Tile::of(arch).lanes >= 8
}

/// `dst` = or += alpha·lhs·rhs, if that is faster than the library's; whether it was done.
pub(crate) fn dense(
    dst: &mut MatMut<'_>,
    accum: Accum,
    lhs: MatRef<'_>,
    rhs: MatRef<'_>,
    alpha: f32,
    par: Par,
) -> bool {
    let (arch, m, k, n) = (Arch::new(), lhs.rows(), lhs.cols(), rhs.cols());
    let thin = m.min(n).min(k) < THIN || dst.col_stride() != 1;
    if thin || !is_measured(arch) {
        return false;
    }
    let transposed = rhs.t();
    let rhs = if rhs.row_stride() == 1 { Rhs::Transposed(&transposed) } else { Rhs::Plain(&rhs) };
    let stride = dst.row_stride();
    let dst = MatMut::with_strides(dst.data_mut(), m, n, stride, 1);
    Product { lhs, rhs, branch: None, bias: None, precision: Precision::F32 }.by_tiles(
        arch,
        Arithmetic::F32,
        par,
        Some(dst),
        accum,
        alpha,
    );
    true
}

/// Equal parts of `n`, at most about `most`, in multiples of `unit`.
fn balanced(n: usize, most: usize, unit: usize) -> usize {
    n.div_ceil(n.div_ceil(most.max(1)).max(1)).next_multiple_of(unit)
}

/// `0..n` in parts of `step`.
fn parts(n: usize, step: usize) -> impl Iterator<Item = Range<usize>> {
    (0..n).step_by(step).map(move |start| start..(start + step).min(n))
}

/// Calls `f` with some rows of W at a time, widened by all threads.
fn for_panels(w: &dyn Stored, mut f: impl FnMut(Range<usize>, MatRef<'_>)) {
    let (rows, cols) = (w.rows(), w.cols());
    if let Some(all) = w.in_place() {
        return f(0..rows, all);
    }
    let step = (BLOCK / cols.max(1)).max(1).next_multiple_of(64).min(rows.max(1));
    with_buffer(step * cols, |panel| {
        for range in parts(rows, step) {
            let panel = &mut panel[..range.len() * cols];
            // About 64 KB a task.
            let group = (16_384 / cols.max(1)).max(1);
            panel.par_chunks_mut((group * cols).max(1)).enumerate().for_each(|(g, out)| {
                for (i, out) in out.chunks_exact_mut(cols).enumerate() {
                    w.read(range.start + g * group + i, 0..cols, out);
                }
            });
            f(range.clone(), MatRef::row_major(panel, range.len(), cols));
        }
    });
}

#[cfg(test)]
mod tests;
