//! lhs·W + (lhs·D)·U + bias in one pass over lhs and over the result, W in its stored form.
//!
//! Shapes: lhs m×k, W k×n (or stored as n×k), D k×r, U r×n, bias n; the result m×n, and lhs·D, m×r, which is wanted for itself.
//! What a frozen weight with a LoRA pair takes in either direction, where the separate products would each go through a
//! matrix of the size of the activations for a few operations on every number of it.
//!
//! W is widened and packed a block at a time, by all threads, and shared; rows of lhs are packed by whoever computes with
//! them. lhs·D is some more columns of W; once it is complete for the rows at hand, it is packed behind them as r more
//! columns of lhs, as U is below W. Sums are in the order of the depth, whatever the number of threads or of rows.
//!
//! Our own, against the rule that a library goes first: on AVX2 it takes three quarters of the time of the `gemm` crate, four
//! fifths of the other crates' that were tried, and nine tenths of PyTorch's (oneDNN), and none of them takes stored forms or
//! branches. On other processors, where that was not measured, the same is made of `gemm`'s products.
//!
//! Memory: [`BLOCK`] numbers of the calling thread and some [`ROWS`]·[`DEPTH`] of each thread, kept.

mod tiles;

use std::ops::Range;

use pulp::Arch;
use rayon::prelude::*;

use self::tiles::{Append, Ask, Finish, PackStrips, PackTransposed, Sweep, Tile, dispatch};
use crate::buffers::with_buffer;
use crate::gemm::{Accum, Par, matmul};
use crate::mat::{MatMut, MatRef};
use crate::pool::on_pool;

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
    /// Numbers `cols` of row `row`, as many as `out` holds.
    fn read(&self, row: usize, cols: Range<usize>, out: &mut [f32]);
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
}

/// Columns of lhs that are packed at a time: a panel of them and a strip fit the nearest cache.
const DEPTH: usize = 384;
/// Rows of lhs that a thread packs at a time: with [`DEPTH`] columns they fit the second cache.
const ROWS: usize = 144;
/// Numbers of W that are packed at a time: 5 MB, less than two cores' share of the last cache.
const BLOCK: usize = 5 << 18;
/// Columns of W, stored k×n, that a task packs.
const GROUP: usize = 256;

impl Product<'_> {
    /// `dst` = or += the product; `dst` is m×n, row-major.
    ///
    /// # Panics
    /// If shapes do not fit.
    pub fn into(self, dst: &mut [f32], accum: Accum) {
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
        let [m, k, n, r] = self.shape(dst.as_deref());
        // The turn of other processors comes with a machine to measure them on.
        let measured = cfg!(target_arch = "x86_64") && dispatch(arch, Ask).cols == 16;
        if measured && m * k * n > 0 && r <= DEPTH {
            self.by_tiles(arch, dst, accum);
        } else {
            self.by_gemm(dst, accum);
        }
    }

    /// m, k, n and r, checked.
    fn shape(&self, dst: Option<&[f32]>) -> [usize; 4] {
        let (m, k) = (self.lhs.rows(), self.lhs.cols());
        let (depth, n) = self.rhs.shape();
        let room = dst.map_or(m * n, <[f32]>::len);
        assert!(k == depth && room == m * n, "product of {m}x{k} and {depth}x{n} into {room} numbers");
        assert!(self.bias.is_none_or(|bias| bias.len() == n), "a bias for {n} columns");
        let Some(branch) = &self.branch else { return [m, k, n, 0] };
        let (down, up, r) = (branch.down, branch.up, branch.up.rows());
        let fits = down.rows() == k && down.cols() == r && up.cols() == n && branch.mid.len() == m * r;
        assert!(fits, "branch of {}x{} and {r}x{} beside {k}x{n}", down.rows(), down.cols(), up.cols());
        [m, k, n, r]
    }

    fn by_tiles(mut self, arch: Arch, dst: Option<&mut [f32]>, accum: Accum) {
        let [m, k, n, r] = self.shape(dst.as_deref());
        // Nothing is wanted of W: no columns.
        let (dst, wanted) = dst.map_or((&mut [][..], 0), |dst| (dst, n));
        let tile = dispatch(arch, Ask);
        let block = match self.rhs {
            Rhs::Plain(w) | Rhs::Transposed(w) => w.block(),
        };
        let (deep, across) = match self.rhs {
            Rhs::Plain(_) => (4, block.max(tile.cols)),
            Rhs::Transposed(_) => (block.max(4), tile.cols),
        };
        let depth = balanced(k, DEPTH, deep).min(k);
        let width = balanced(n, (BLOCK / (depth + r)).max(across), across);
        let rows = balanced(m, ROWS.min(m.div_ceil(2 * rayon::current_num_threads())), tile.rows);
        let side = r.next_multiple_of(tile.cols) * depth;
        with_buffer(width.min(wanted).next_multiple_of(tile.cols) * (depth + r) + side, |packed| {
            on_pool(Par::Rayon, || {
                let (side, packed) = packed.split_at_mut(side);
                for columns in parts(wanted.max(1), width) {
                    let columns = columns.start..columns.end.min(wanted);
                    for span in parts(k, depth) {
                        let pass = Pass { arch, tile, columns: columns.clone(), span, k, r };
                        let packed = &mut packed[..pass.width().next_multiple_of(tile.cols) * pass.depth()];
                        self.pack(&pass, packed);
                        let side = self.pack_down(&pass, side);
                        self.sweep(&pass, (packed, side), rows, dst, accum);
                    }
                }
            });
        });
    }

    /// W's block of a pass, and U below it in the last one, as panels.
    fn pack(&self, pass: &Pass, packed: &mut [f32]) {
        let (tile, depth, own) = (pass.tile, pass.depth(), pass.span.len());
        match self.rhs {
            Rhs::Transposed(w) => packed.par_chunks_exact_mut(tile.cols * depth).enumerate().for_each(|(j, out)| {
                let start = pass.columns.start + j * tile.cols;
                let rows = start..(start + tile.cols).min(pass.columns.end);
                let out = &mut out[..tile.cols * own];
                with_buffer(out.len(), |scratch| {
                    let first = pass.span.start;
                    dispatch(pass.arch, PackTransposed { source: w, rows, first, depth: own, scratch, out });
                });
            }),
            Rhs::Plain(w) => {
                let group = GROUP.max(w.block());
                packed.par_chunks_mut(group * depth).enumerate().for_each(|(g, out)| {
                    let start = pass.columns.start + g * group;
                    let columns = start..(start + group).min(pass.columns.end);
                    with_buffer(columns.len(), |row| {
                        for (p, from) in pass.span.clone().enumerate() {
                            w.read(from, columns.clone(), row);
                            for (panel, numbers) in out.chunks_exact_mut(tile.cols * depth).zip(row.chunks(tile.cols)) {
                                put(&mut panel[p * tile.cols..(p + 1) * tile.cols], numbers);
                            }
                        }
                    });
                });
            }
        }
        let Some(branch) = self.branch.as_ref().filter(|_| pass.is_last()) else { return };
        for (j, panel) in packed.chunks_exact_mut(tile.cols * depth).enumerate() {
            let start = pass.columns.start + j * tile.cols;
            for (q, out) in panel[tile.cols * own..].chunks_exact_mut(tile.cols).enumerate() {
                out.fill(0.0);
                let columns = start..(start + tile.cols).min(pass.columns.end);
                out.iter_mut().zip(columns).for_each(|(x, j)| *x = branch.up_scale * branch.up.get(q, j));
            }
        }
    }

    /// D's rows of a pass as panels, if lhs·D is not complete.
    fn pack_down<'s>(&self, pass: &Pass, side: &'s mut [f32]) -> &'s [f32] {
        let Some(branch) = self.branch.as_ref().filter(|_| pass.columns.start == 0) else { return &[] };
        let (own, cols) = (pass.span.len(), pass.tile.cols);
        let side = &mut side[..pass.r.next_multiple_of(cols) * own];
        for (j, panel) in side.chunks_exact_mut(cols * own).enumerate() {
            let columns = j * cols..((j + 1) * cols).min(pass.r);
            for (out, p) in panel.chunks_exact_mut(cols).zip(pass.span.clone()) {
                out.fill(0.0);
                out.iter_mut().zip(columns.clone()).for_each(|(x, q)| *x = branch.down_scale * branch.down.get(p, q));
            }
        }
        side
    }

    /// The rows of lhs against the packed panels, `rows` of them a task.
    fn sweep(&mut self, pass: &Pass, panels: (&[f32], &[f32]), rows: usize, dst: &mut [f32], accum: Accum) {
        let (lhs, [m, n, r]) = (self.lhs, [self.lhs.rows(), self.rhs.shape().1, pass.r]);
        let first_span = pass.span.start == 0;
        let bias = self.bias.filter(|_| first_span).map(|bias| &bias[pass.columns.clone()]);
        let finish = Finish { add: !first_span || accum == Accum::Add, bias };
        let mut outs = dst.chunks_mut(rows * n);
        let mut mids = self.branch.as_mut().map(|branch| branch.mid.chunks_mut(rows * r.max(1)));
        let tasks: Vec<_> = parts(m, rows)
            .map(|_| (outs.next().unwrap_or_default(), mids.as_mut().and_then(Iterator::next).unwrap_or_default()))
            .collect();
        tasks.into_par_iter().enumerate().with_max_len(1).for_each(|(t, (out, mid))| {
            let lhs = lhs.row_range(t * rows..((t + 1) * rows).min(m));
            let (arch, own, depth) = (pass.arch, pass.span.len(), pass.depth());
            with_buffer(lhs.rows().next_multiple_of(pass.tile.rows) * depth, |strips| {
                let (first, room) = (pass.span.start, depth);
                dispatch(arch, PackStrips { lhs, first, depth: own, room, out: &mut *strips });
                if !panels.1.is_empty() {
                    let (panels, finish) = (panels.1, Finish { add: !first_span, bias: None });
                    let out = &mut *mid;
                    dispatch(arch, Sweep { strips, room, panels, depth: own, out, stride: r, first: 0, finish });
                }
                if depth > own {
                    dispatch(arch, Append { mid, rank: r, from: own, out: strips });
                }
                let (panels, first) = (panels.0, pass.columns.start);
                // Without columns there are no panels.
                dispatch(arch, Sweep { strips, room, panels, depth, out, stride: n, first, finish });
            });
        });
    }

    /// The same of separate products, W widened some rows at a time.
    fn by_gemm(self, dst: Option<&mut [f32]>, accum: Accum) {
        let [m, k, n, r] = self.shape(dst.as_deref());
        let mid = self.branch.map(|branch| {
            let mut mid = MatMut::row_major(branch.mid, m, r);
            matmul(mid.rows_mut(0..m), Accum::Replace, self.lhs, branch.down, branch.down_scale, Par::Rayon);
            (mid, branch.up, branch.up_scale)
        });
        let Some(dst) = dst else { return };
        if k == 0 && accum == Accum::Replace {
            dst.fill(0.0);
        }
        let mut accum = accum;
        match self.rhs {
            Rhs::Transposed(w) => for_panels(w, |rows, panel| {
                let start = if m == 0 { 0 } else { rows.start };
                let dst = MatMut::with_strides(&mut dst[start..], m, rows.len(), n, 1);
                matmul(dst, accum, self.lhs, panel.t(), 1.0, Par::Rayon);
            }),
            Rhs::Plain(w) => for_panels(w, |rows, panel| {
                matmul(MatMut::row_major(dst, m, n), accum, self.lhs.col_range(rows), panel, 1.0, Par::Rayon);
                accum = Accum::Add;
            }),
        }
        if let Some((mid, up, scale)) = mid {
            matmul(MatMut::row_major(dst, m, n), Accum::Add, mid.as_ref(), up, scale, Par::Rayon);
        }
        if let Some(bias) = self.bias.filter(|bias| !bias.is_empty()) {
            dst.par_chunks_mut(n).for_each(|row| row.iter_mut().zip(bias).for_each(|(x, b)| *x += b));
        }
    }
}

/// Some columns of W, some of its depth.
struct Pass {
    arch: Arch,
    tile: Tile,
    columns: Range<usize>,
    span: Range<usize>,
    k: usize,
    r: usize,
}

impl Pass {
    fn is_last(&self) -> bool {
        self.span.end == self.k
    }
    fn width(&self) -> usize {
        self.columns.len()
    }
    /// With U's rows, which follow the last of W's.
    fn depth(&self) -> usize {
        self.span.len() + if self.is_last() { self.r } else { 0 }
    }
}

/// Equal parts of `n`, at most about `most`, in multiples of `unit`.
fn balanced(n: usize, most: usize, unit: usize) -> usize {
    n.div_ceil(n.div_ceil(most.max(1)).max(1)).next_multiple_of(unit)
}

/// `0..n` in parts of `step`.
fn parts(n: usize, step: usize) -> impl Iterator<Item = Range<usize>> {
    (0..n).step_by(step).map(move |start| start..(start + step).min(n))
}

/// `numbers`, and zeros where there are none.
fn put(out: &mut [f32], numbers: &[f32]) {
    out[..numbers.len()].copy_from_slice(numbers);
    out[numbers.len()..].fill(0.0);
}

/// Calls `f` with some rows of W at a time, widened by all threads.
fn for_panels(w: &dyn Stored, mut f: impl FnMut(Range<usize>, MatRef<'_>)) {
    let (rows, cols) = (w.rows(), w.cols());
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
