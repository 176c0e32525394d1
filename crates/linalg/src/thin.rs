//! Products with a thin result, such as gradients of a LoRA pair: dᵀ·x, where d has few columns and both have many rows.
//!
//! Time goes into reading x, so it is read once, in the order in which it lies, and nothing of it is packed. d is packed as strips;
//! the result, r×n numbers, is kept as tiles that all rows are summed into, some [`BLOCK`] rows at a time.
//!
//! Memory: r·n numbers, at most [`RESULT`], and r·[`PORTION`] of the calling thread, kept.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use crate::buffers::{with_buffer, with_buffers};
use crate::gemm::{Accum, Par};
use crate::mat::{MatMut, MatRef};
use crate::pool::{for_each, on_pool, threads};
use crate::product::is_measured;
use crate::tiles::{OnTiles, PackStrips, prefetch};

/// Columns of d up to which x is read in vain no more than once.
const MOST: usize = 64;
/// Numbers of the result up to which it is kept beside `dst`: 5 MB.
const RESULT: usize = 5 << 18;
/// Rows of d that are packed at a time.
const PORTION: usize = 4096;
/// Rows and columns of x below which there is nothing to gain.
const LEAST: usize = 32;
/// Rows of x that meet all strips while they are in the nearest cache.
const BLOCK: usize = 64;
/// Rows that the processor is told of beforehand.
const AHEAD: usize = 8;
/// Below this many multiply-adds a product is not worth waking other threads.
const SERIAL_BELOW: usize = 1 << 19;

/// `dst` = or += alpha·lhs·rhs, if that is such a product; whether it was done.
pub(crate) fn thin(dst: &mut MatMut<'_>, accum: Accum, lhs: MatRef<'_>, rhs: MatRef<'_>, alpha: f32, par: Par) -> bool {
    let (arch, dst) = (Arch::new(), dst.rows_mut(0..dst.rows()));
    if !is_measured(arch) {
        return false;
    }
    if fits(lhs.rows(), rhs) {
        transposed_times(arch, dst, accum, [lhs, rhs], alpha, par)
    } else if fits(rhs.cols(), lhs.t()) {
        transposed_times(arch, dst.t(), accum, [rhs.t(), lhs.t()], alpha, par)
    } else {
        false
    }
}

/// Whether dᵀ with `rank` rows times x is such a product.
fn fits(rank: usize, x: MatRef<'_>) -> bool {
    let is_wide = x.rows() >= LEAST && x.cols() >= LEAST && rank.saturating_mul(x.cols()) <= RESULT;
    rank > 0 && rank <= MOST && is_wide && x.col_stride() == 1
}

/// `dst` = or += alpha·dᵀ·x for dᵀ and x, if its rows or its columns lie side by side; whether it was done.
fn transposed_times(
    arch: Arch,
    mut dst: MatMut<'_>,
    accum: Accum,
    [dt, x]: [MatRef<'_>; 2],
    alpha: f32,
    par: Par,
) -> bool {
    let (r, k, n) = (dt.rows(), x.rows(), x.cols());
    debug_assert!(r > 0 && k > 0 && n > 0, "a product of nothing");
    let [strip, cols] = arch.dispatch(Ask);
    let par = if r * k * n < SERIAL_BELOW { Par::Serial } else { par };
    let rows = r.next_multiple_of(strip);
    let wide = n.div_ceil(2 * threads(par)).next_multiple_of(cols);
    let Some(mut outs) = Out::parts(&mut dst, wide) else { return false };
    with_buffers([rows * PORTION.min(k), rows * n.next_multiple_of(cols)], |[strips, sums]| {
        on_pool(par, || {
            for first in (0..k).step_by(PORTION) {
                let depth = PORTION.min(k - first);
                let strips = &mut strips[..rows * depth];
                arch.dispatch(Choice(PackStrips { lhs: dt, first, depth, room: depth, out: &mut *strips }));
                let (strips, x) = (&*strips, x.row_range(first..first + depth));
                for_each(par, sums.chunks_mut(rows * wide).zip(&mut outs).collect(), |at, (sums, out)| {
                    let columns = at * wide..((at + 1) * wide).min(n);
                    if first == 0 {
                        sums.fill(0.0);
                    }
                    with_buffer(BLOCK * cols, |narrow| {
                        arch.dispatch(Choice(Columns { strips, x, columns, narrow, sums: &mut *sums }));
                    });
                    if first + depth < k {
                        return;
                    }
                    // A tile of a strip's rows and `cols` columns after the other, strip by strip.
                    for (at, tile) in sums.chunks_exact(strip * cols).enumerate() {
                        let place = [at % (rows / strip) * strip, at / (rows / strip) * cols];
                        out.put(accum, tile.chunks_exact(cols), place, alpha);
                    }
                });
            }
        });
    });
    true
}

/// Where some columns of the result go.
enum Out<'a> {
    /// A slice for each row.
    Rows(Vec<&'a mut [f32]>),
    /// Column after column, so many numbers from one to the next.
    Columns { numbers: &'a mut [f32], stride: usize, rows: usize },
}

impl<'a> Out<'a> {
    /// `wide` columns of `dst` at a time; `None` if neither its rows nor its columns lie side by side.
    fn parts(dst: &'a mut MatMut<'_>, wide: usize) -> Option<Vec<Self>> {
        let (rows, cols) = (dst.rows(), dst.cols());
        let row_stride = if rows > 1 { dst.row_stride() } else { cols };
        let col_stride = dst.col_stride();
        if col_stride == 1 && row_stride >= cols {
            let mut parts: Vec<Vec<&mut [f32]>> = (0..cols).step_by(wide).map(|_| Vec::new()).collect();
            for row in dst.data_mut().chunks_mut(row_stride).take(rows) {
                parts.iter_mut().zip(row[..cols].chunks_mut(wide)).for_each(|(part, row)| part.push(row));
            }
            return Some(parts.into_iter().map(Out::Rows).collect());
        }
        if rows > 1 && dst.row_stride() != 1 || col_stride < rows {
            return None;
        }
        let numbers = &mut dst.data_mut()[..(cols - 1) * col_stride + rows];
        let part = |numbers| Out::Columns { numbers, stride: col_stride, rows };
        Some(numbers.chunks_mut(col_stride * wide).map(part).collect())
    }

    /// = or += alpha·a tile, given as rows, whose first number is at `place`; what is beyond the last row or column is left out.
    fn put<'t>(&mut self, accum: Accum, tile: impl Iterator<Item = &'t [f32]>, [row, column]: [usize; 2], alpha: f32) {
        let put = |to: &mut f32, x: f32| *to = if accum == Accum::Add { *to + alpha * x } else { alpha * x };
        match self {
            Out::Rows(rows) => {
                for (out, tile) in rows.iter_mut().skip(row).zip(tile) {
                    out[column..].iter_mut().zip(tile).for_each(|(to, &x)| put(to, x));
                }
            }
            Out::Columns { numbers, stride, rows } => {
                for (i, tile) in (row..*rows).zip(tile) {
                    let columns = numbers.chunks_mut(*stride).skip(column);
                    columns.zip(tile).for_each(|(out, &x)| put(&mut out[i], x));
                }
            }
        }
    }
}

struct Choice<W>(W);

impl<W: OnTiles> WithSimd for Choice<W> {
    type Output = W::Output;
    /// As many running sums as registers hold beside a row of x and a number of d; r is often 8 or 16.
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> W::Output {
        match S::F32_LANES {
            16 | 4 => self.0.run::<S, 8, 3>(simd),
            _ => self.0.run::<S, 4, 3>(simd),
        }
    }
}

struct Ask;

impl WithSimd for Ask {
    type Output = [usize; 2];
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> [usize; 2] {
        Choice(Shape).with_simd(simd)
    }
}

struct Shape;

impl OnTiles for Shape {
    type Output = [usize; 2];
    #[inline(always)]
    fn run<S: Simd, const M: usize, const V: usize>(self, _: S) -> [usize; 2] {
        [M, V * S::F32_LANES]
    }
}

/// What is added to tiles of dᵀ·x, of some columns of x.
struct Columns<'a> {
    /// Of dᵀ, each with all rows of x.
    strips: &'a [f32],
    x: MatRef<'a>,
    columns: Range<usize>,
    /// For the last columns.
    narrow: &'a mut [f32],
    sums: &'a mut [f32],
}

impl OnTiles for Columns<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd, const M: usize, const V: usize>(self, simd: S) {
        let Self { strips, x, columns, narrow, sums } = self;
        let (width, k, stride) = (V * S::F32_LANES, x.rows(), x.row_stride());
        let tiles = strips.len() / (M * k);
        for start in (0..k).step_by(BLOCK) {
            let rows = start..(start + BLOCK).min(k);
            for (at, sums) in sums.chunks_exact_mut(tiles * M * width).enumerate() {
                let first = columns.start + at * width;
                let numbers = &x.data()[rows.start * stride + first..];
                let (numbers, stride) = if first + width <= columns.end {
                    (numbers, stride)
                } else {
                    // The last columns, with zeros beside them.
                    for (p, out) in narrow.chunks_exact_mut(width).take(rows.len()).enumerate() {
                        let (out, zeros) = out.split_at_mut(columns.end - first);
                        out.copy_from_slice(&numbers[p * stride..p * stride + out.len()]);
                        zeros.fill(0.0);
                    }
                    (&*narrow, width)
                };
                for (strip, sums) in strips.chunks_exact(M * k).zip(sums.chunks_exact_mut(M * width)) {
                    let strip = &strip.as_chunks::<M>().0[rows.start..rows.end];
                    let sums = S::as_mut_simd_f32s(sums).0.as_chunks_mut::<V>().0;
                    add::<S, M, V>(simd, strip, numbers, stride, sums);
                }
            }
        }
    }
}

/// sums (M×N) += stripᵀ · the first N numbers of rows that begin each `stride` numbers.
#[inline(always)]
fn add<S: Simd, const M: usize, const V: usize>(
    simd: S,
    strip: &[[f32; M]],
    numbers: &[f32],
    stride: usize,
    sums: &mut [[S::f32s; V]],
) {
    let width = V * S::F32_LANES;
    let mut own = [[simd.splat_f32s(0.0); V]; M];
    for (p, strip) in strip.iter().enumerate() {
        if let Some(ahead) = numbers.get((p + AHEAD) * stride..(p + AHEAD) * stride + width) {
            (0..width).step_by(16).for_each(|at| prefetch(&ahead[at]));
        }
        let row = S::as_simd_f32s(&numbers[p * stride..p * stride + width]).0;
        for i in 0..M {
            let d = simd.splat_f32s(strip[i]);
            for v in 0..V {
                own[i][v] = simd.mul_add_e_f32s(d, row[v], own[i][v]);
            }
        }
    }
    for (sums, own) in sums.iter_mut().zip(own) {
        for (sum, own) in sums.iter_mut().zip(own) {
            *sum = simd.add_f32s(*sum, own);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Mat, Rng};

    /// `thin`, which takes what it is given where it was measured.
    fn taken(dst: &mut Mat, accum: Accum, lhs: MatRef<'_>, rhs: MatRef<'_>, par: Par) -> bool {
        let taken = thin(&mut dst.view_mut(), accum, lhs, rhs, 0.5, par);
        assert_eq!(taken, is_measured(Arch::new()));
        taken
    }

    #[test]
    fn every_number_equals_its_sum_in_f64() {
        let shapes =
            [(16, 300, 576), (1, 32, 32), (8, 65, 47), (64, 100, 97), (5, 1000, 50), (13, 64, 200), (3, 9000, 40)];
        for (r, k, n) in shapes {
            let mut rng = Rng::new(&[r as u64]);
            let [dt, x] = [(r, k), (k, n)].map(|(rows, cols)| Mat::from_fn(rows, cols, |_, _| rng.normal()));
            let want = Mat::<f64>::from_fn(r, n, |i, j| {
                (0..k).map(|p| f64::from(dt[(i, p)]) * f64::from(x[(p, j)])).sum::<f64>() * 0.5 + 1.0
            });
            let close = |got: &Mat, at: fn(usize, usize) -> (usize, usize)| {
                for (i, j) in (0..r).flat_map(|i| (0..n).map(move |j| (i, j))) {
                    let error = (f64::from(got[at(i, j)]) - want[(i, j)]).abs();
                    assert!(error < 1e-5 * (k as f64).sqrt(), "{r}x{k}x{n}: off by {error} at {i},{j}");
                }
            };
            let columns = Mat::from_fn(k, r, |p, i| dt[(i, p)]);
            for lhs in [dt.view(), columns.view().t()] {
                let mut got = Mat::from_fn(r, n, |_, _| 1.0);
                if taken(&mut got, Accum::Add, lhs, x.view(), Par::Rayon) {
                    close(&got, |i, j| (i, j));
                }
            }
            let mut got = Mat::from_fn(n, r, |_, _| f32::NAN);
            if taken(&mut got, Accum::Replace, x.view().t(), columns.view(), Par::Serial) {
                got.data_mut().iter_mut().for_each(|x| *x += 1.0);
                close(&got, |i, j| (j, i));
            }
            for arch in [Arch::new(), Arch::Scalar] {
                let mut got = Mat::from_fn(r, n, |_, _| 1.0);
                let both = [dt.view(), x.view()];
                assert!(transposed_times(arch, got.view_mut(), Accum::Add, both, 0.5, Par::Rayon));
                close(&got, |i, j| (i, j));
            }
            // Within a larger matrix, by rows and by columns, of which the rest stays as it is.
            for turned in [false, true] {
                let mut all = vec![7.0; (r + 3) * (n + 5)];
                let [row_stride, col_stride] = if turned { [1, r + 3] } else { [n + 5, 1] };
                let dst = MatMut::with_strides(&mut all, r, n, row_stride, col_stride);
                assert!(transposed_times(Arch::new(), dst, Accum::Replace, [dt.view(), x.view()], 0.5, Par::Rayon));
                close(&Mat::from_fn(r, n, |i, j| 1.0 + all[i * row_stride + j * col_stride]), |i, j| (i, j));
                assert!(all.iter().filter(|&&x| x == 7.0).count() >= all.len() - r * n, "turned: {turned}");
            }
            let mut apart = vec![0.0; 2 * r * n];
            let dst = MatMut::with_strides(&mut apart, r, n, 2 * n, 2);
            let both = [dt.view(), x.view()];
            assert_eq!(transposed_times(Arch::new(), dst, Accum::Replace, both, 0.5, Par::Rayon), r == 1);
        }
    }

    #[test]
    fn rows_may_overlap() {
        let mut rng = Rng::new(&[2]);
        let (data, d) = (Mat::from_fn(1, 300, |_, _| rng.normal()), Mat::from_fn(5, 64, |_, _| rng.normal()));
        for stride in [0, 1, 3] {
            let x = MatRef::with_strides(data.data(), 64, 100, stride, 1);
            let mut got = Mat::zeros(5, 100);
            assert!(transposed_times(Arch::new(), got.view_mut(), Accum::Replace, [d.view(), x], 1.0, Par::Serial));
            for (i, j) in (0..5).flat_map(|i| (0..100).map(move |j| (i, j))) {
                let want: f64 = (0..64).map(|p| f64::from(d[(i, p)]) * f64::from(x.get(p, j))).sum();
                let sum = got[(i, j)];
                assert!((f64::from(sum) - want).abs() < 1e-4, "rows {stride} apart: {sum} at {i},{j}, not {want}");
            }
        }
    }

    #[test]
    fn other_products_are_left_alone() {
        let [wide, few] = [Mat::zeros(70, 70), Mat::zeros(10, 70)];
        let mut dst = Mat::zeros(70, 70);
        assert!(!thin(&mut dst.view_mut(), Accum::Replace, wide.view(), wide.view(), 1.0, Par::Serial));
        let mut dst = Mat::zeros(10, 10);
        assert!(!thin(&mut dst.view_mut(), Accum::Replace, few.view(), few.view().t(), 1.0, Par::Serial));
    }
}
