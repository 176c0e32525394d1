//! What fast products are made of: the product of packed operands, a tile of the result in registers at a time, and the packing.
//! [`crate::Product`] is made of it, and what cannot be one product, such as attention.
//!
//! A tile is M rows × N columns, N = V vectors. Of a depth d, a strip of the left operand is packed as d×M and a panel of
//! the right one as d×N: the innermost loop reads both from one end to the other. 4·d·N bytes of a panel stay in the
//! nearest cache while it meets all strips of a task; these stay in the second (Goto and van de Geijn, "Anatomy of
//! High-Performance Matrix Multiplication", 2008).

pub(crate) mod bf16;

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use crate::mat::MatRef;
use crate::product::Stored;

/// Rows and columns of a tile, and numbers in a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tile {
    /// M.
    pub rows: usize,
    /// N.
    pub cols: usize,
    /// N/V.
    pub lanes: usize,
}

impl Tile {
    /// That of this processor.
    pub fn of(arch: Arch) -> Self {
        dispatch(arch, Ask)
    }
}

/// Something that is compiled for the tile of an instruction set.
pub trait OnTiles {
    /// What it gives.
    type Output;
    /// M rows, V vectors. Always to be inlined (`#[inline(always)]`), as all that it calls, or it is compiled for the least processor.
    fn run<S: Simd, const M: usize, const V: usize>(self, simd: S) -> Self::Output;
}

struct Choice<W>(W);

impl<W: OnTiles> WithSimd for Choice<W> {
    type Output = W::Output;
    /// As many running sums as registers hold beside a row of the panel and a number of the strip.
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> W::Output {
        match S::F32_LANES {
            16 => self.0.run::<S, 12, 2>(simd),
            8 => self.0.run::<S, 6, 2>(simd),
            4 => self.0.run::<S, 6, 4>(simd),
            _ => self.0.run::<S, 4, 4>(simd),
        }
    }
}

/// Runs `work` with the best instructions of this processor.
pub fn dispatch<W: OnTiles>(arch: Arch, work: W) -> W::Output {
    arch.dispatch(Choice(work))
}

struct Ask;

impl OnTiles for Ask {
    type Output = Tile;
    #[inline(always)]
    fn run<S: Simd, const M: usize, const V: usize>(self, _: S) -> Tile {
        Tile { rows: M, cols: V * S::F32_LANES, lanes: S::F32_LANES }
    }
}

/// Rows of the left operand as strips, those of the last filled up with its last row; `depth` columns from `first` on. A strip
/// has room for `room` columns.
pub struct PackStrips<'a> {
    /// Rows × at least `first + depth` columns.
    pub lhs: MatRef<'a>,
    /// The first column.
    pub first: usize,
    /// How many.
    pub depth: usize,
    /// For how many a strip has room.
    pub room: usize,
    /// M·room numbers a strip.
    pub out: &'a mut [f32],
}

impl OnTiles for PackStrips<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd, const M: usize, const V: usize>(self, _: S) {
        let Self { lhs, first, depth, room, out } = self;
        let (rows, columns) = (lhs.rows(), first..first + depth);
        for (strip, out) in out.chunks_exact_mut(M * room).enumerate() {
            let out = &mut out.as_chunks_mut::<M>().0[..depth];
            let row = |i: usize| (strip * M + i).min(rows - 1);
            if lhs.col_stride() == 1 {
                let start = |i: usize| row(i) * lhs.row_stride();
                let sources = std::array::from_fn(|i| &lhs.data()[start(i) + columns.start..start(i) + columns.end]);
                interleave::<M>(sources, out);
            } else if lhs.row_stride() == 1 && (strip + 1) * M <= rows {
                for (out, p) in out.iter_mut().zip(columns.clone()) {
                    out.copy_from_slice(&lhs.data()[p * lhs.col_stride() + strip * M..][..M]);
                }
            } else {
                for (out, p) in out.iter_mut().zip(columns.clone()) {
                    *out = std::array::from_fn(|i| lhs.get(row(i), p));
                }
            }
        }
    }
}

/// `out[p][i] = sources[i][p]`.
#[inline(always)]
fn interleave<const M: usize>(sources: [&[f32]; M], out: &mut [[f32; M]]) {
    let whole = out.len() / 8 * 8;
    for (at, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let from: [&[f32; 8]; M] = sources.map(|source| &source.as_chunks().0[at]);
        for (p, out) in out.iter_mut().enumerate() {
            *out = std::array::from_fn(|i| from[i][p]);
        }
    }
    for (p, out) in out.iter_mut().enumerate().skip(whole) {
        *out = std::array::from_fn(|i| sources[i][p]);
    }
}

/// Numbers of `mid`, rows×rank, behind the `from` columns that strips have already.
pub(crate) struct Append<'a> {
    /// rows×rank.
    pub(crate) mid: &'a [f32],
    /// Columns.
    pub(crate) rank: usize,
    /// Columns of strips before them.
    pub(crate) from: usize,
    /// M·(from + rank) numbers a strip.
    pub(crate) out: &'a mut [f32],
}

impl OnTiles for Append<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd, const M: usize, const V: usize>(self, _: S) {
        let Self { mid, rank, from, out } = self;
        for (mid, out) in mid.chunks(M * rank).zip(out.chunks_exact_mut(M * (from + rank))) {
            for (q, out) in out[M * from..].as_chunks_mut::<M>().0.iter_mut().enumerate() {
                *out = std::array::from_fn(|i| mid.get(i * rank + q).copied().unwrap_or(0.0));
            }
        }
    }
}

/// One panel of a matrix whose rows are the panel's columns (`rows`, at most N, the others zero), `depth` of its columns from
/// `first` on; `scratch` holds N·depth numbers.
pub struct PackTransposed<'a> {
    /// At least `rows.end` × (`first` + `depth`).
    pub source: &'a dyn Stored,
    /// Those that become columns.
    pub rows: Range<usize>,
    /// The first column.
    pub first: usize,
    /// How many.
    pub depth: usize,
    /// N·depth numbers.
    pub scratch: &'a mut [f32],
    /// The panel, depth×N.
    pub out: &'a mut [f32],
}

impl OnTiles for PackTransposed<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd, const M: usize, const V: usize>(self, _: S) {
        let Self { source, rows, first, depth, scratch, out } = self;
        scratch[rows.len() * depth..].fill(0.0);
        for (row, out) in rows.zip(scratch.chunks_exact_mut(depth)) {
            source.read(row, first..first + depth, out);
        }
        // A vector's columns at a time.
        for (v, columns) in scratch.chunks_exact(depth * S::F32_LANES).enumerate() {
            match S::F32_LANES {
                16 => scatter::<16>(columns, depth, v, V, out),
                8 => scatter::<8>(columns, depth, v, V, out),
                4 => scatter::<4>(columns, depth, v, V, out),
                _ => scatter::<1>(columns, depth, v, V, out),
            }
        }
    }
}

/// Vector v of each V vectors of `out`: L columns of `depth` numbers each.
#[inline(always)]
fn scatter<const L: usize>(columns: &[f32], depth: usize, v: usize, vectors: usize, out: &mut [f32]) {
    let sources: [&[f32]; L] = std::array::from_fn(|i| &columns[i * depth..(i + 1) * depth]);
    let out = out.as_chunks_mut::<L>().0;
    let mut block = [[0.0; L]; 8];
    for start in (0..depth).step_by(8) {
        let len = 8.min(depth - start);
        let parts = sources.map(|source| &source[start..start + len]);
        interleave(parts, &mut block[..len]);
        for (p, numbers) in block[..len].iter().enumerate() {
            out[(start + p) * vectors + v] = *numbers;
        }
    }
}

/// A panel of `from`, scaled: its rows, `cols` numbers each, zeros where there are none.
pub fn pack_panel(from: MatRef<'_>, scale: f32, cols: usize, out: &mut [f32]) {
    for (p, out) in out.chunks_exact_mut(cols).enumerate() {
        out[from.cols()..].fill(0.0);
        match from.row(p) {
            Some(row) => out.iter_mut().zip(row).for_each(|(x, y)| *x = scale * y),
            None => out.iter_mut().enumerate().take(from.cols()).for_each(|(j, x)| *x = scale * from.get(p, j)),
        }
    }
}

/// What becomes of a tile.
#[derive(Clone, Copy)]
pub struct Finish<'a> {
    /// By which it is multiplied.
    pub scale: f32,
    /// Whether it is added to what is there.
    pub add: bool,
    /// A number for each column.
    pub bias: Option<&'a [f32]>,
}

/// Columns of strips and rows of panels that are multiplied, as packed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Depth {
    /// Of one part of the numbers.
    pub(crate) rows: usize,
    /// Parts of a number of a strip and of a panel: 1, if they are not split ([`bf16`]).
    pub(crate) parts: [usize; 2],
}

impl Depth {
    /// Columns of a strip.
    pub(crate) fn strip(self) -> usize {
        self.rows * self.parts[0]
    }

    /// Rows of a panel.
    pub(crate) fn panel(self) -> usize {
        self.rows * self.parts[1]
    }
}

/// Strips, which have room for `room` columns, times panels of depth `depth`, into the rows of `out`, whose first numbers are
/// those of the first panel.
pub(crate) struct Sweep<'a, 'o> {
    /// M·room numbers each.
    pub(crate) strips: &'a [f32],
    /// Columns of a strip.
    pub(crate) room: usize,
    /// N·depth numbers each.
    pub(crate) panels: &'a [f32],
    /// How many are multiplied.
    pub(crate) depth: Depth,
    /// Rows of the result.
    pub(crate) out: &'a mut [&'o mut [f32]],
    /// What becomes of a tile.
    pub(crate) finish: Finish<'a>,
}

impl OnTiles for Sweep<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd, const M: usize, const V: usize>(self, simd: S) {
        self.with::<S, M, V>(simd, 1, |strip, panel, sums| *sums = tile::<S, M, V>(simd, strip.as_chunks().0, panel));
    }
}

impl Sweep<'_, '_> {
    /// With a product `tile` of a strip (M·depth numbers) and a panel (depth×N), which writes it over what is there. A strip
    /// meets `group` panels in turn.
    #[inline(always)]
    fn with<S: Simd, const M: usize, const V: usize>(
        self,
        simd: S,
        group: usize,
        tile: impl Fn(&[f32], &[f32], &mut [[S::f32s; V]; M]),
    ) {
        let Self { strips, room, panels, depth, out, finish } = self;
        let width = V * S::F32_LANES;
        let mut sums = [[simd.splat_f32s(0.0); V]; M];
        for (g, panels) in panels.chunks(group * width * depth.panel()).enumerate() {
            for (out, strip) in out.chunks_mut(M).zip(strips.chunks_exact(M * room)) {
                for (j, panel) in panels.chunks_exact(width * depth.panel()).enumerate() {
                    let start = (g * group + j) * width;
                    for out in &*out {
                        out[start..].iter().step_by(16).take(width.div_ceil(16)).for_each(prefetch);
                    }
                    tile(&strip[..M * depth.strip()], panel, &mut sums);
                    for (out, sums) in out.iter_mut().zip(&sums) {
                        let columns = start..(start + width).min(out.len());
                        let bias = finish.bias.map(|bias| &bias[columns.clone()]);
                        write(simd, sums, &mut out[columns], Finish { bias, ..finish });
                    }
                }
            }
        }
    }
}

/// strip (d×M)ᵀ · panel (d×N).
#[inline(always)]
pub fn tile<S: Simd, const M: usize, const V: usize>(simd: S, strip: &[[f32; M]], panel: &[f32]) -> [[S::f32s; V]; M] {
    let mut sums = [[simd.splat_f32s(0.0); V]; M];
    let panel = S::as_simd_f32s(panel).0.as_chunks::<V>().0;
    let step = |sums: &mut [[S::f32s; V]; M], strip: &[f32; M], panel: &[S::f32s; V]| {
        for i in 0..M {
            let x = simd.splat_f32s(strip[i]);
            for v in 0..V {
                sums[i][v] = simd.mul_add_e_f32s(x, panel[v], sums[i][v]);
            }
        }
    };
    let (strips, strip) = strip.as_chunks::<4>();
    let (panels, panel) = panel.as_chunks::<4>();
    for (strip, panel) in strips.iter().zip(panels) {
        step(&mut sums, &strip[0], &panel[0]);
        step(&mut sums, &strip[1], &panel[1]);
        step(&mut sums, &strip[2], &panel[2]);
        step(&mut sums, &strip[3], &panel[3]);
    }
    for (strip, panel) in strip.iter().zip(panel) {
        step(&mut sums, strip, panel);
    }
    sums
}

/// sums + rows·panel, where rows is M×N, row-major, such as rows of another product's panel, and panel N×N.
#[inline(always)]
pub fn add_square<S: Simd, const M: usize, const V: usize>(
    simd: S,
    mut sums: [[S::f32s; V]; M],
    rows: &[f32],
    panel: &[f32],
) -> [[S::f32s; V]; M] {
    let width = V * S::F32_LANES;
    let (rows, panel) = (&rows[..M * width], S::as_simd_f32s(&panel[..width * width]).0.as_chunks::<V>().0);
    for (p, panel) in panel.iter().enumerate() {
        for i in 0..M {
            let x = simd.splat_f32s(rows[i * width + p]);
            for v in 0..V {
                sums[i][v] = simd.mul_add_e_f32s(x, panel[v], sums[i][v]);
            }
        }
    }
    sums
}

/// A row of a tile into `out`, which may be narrower.
#[inline(always)]
pub fn write<S: Simd, const V: usize>(simd: S, sums: &[S::f32s; V], out: &mut [f32], finish: Finish<'_>) {
    let Finish { scale, add, bias } = finish;
    if out.len() == V * S::F32_LANES {
        let (out, scale) = (S::as_mut_simd_f32s(out).0, simd.splat_f32s(scale));
        let bias = bias.map(|bias| S::as_simd_f32s(bias).0);
        for v in 0..V {
            let mut sum = simd.mul_f32s(sums[v], scale);
            if add {
                sum = simd.add_f32s(sum, out[v]);
            }
            if let Some(bias) = bias {
                sum = simd.add_f32s(sum, bias[v]);
            }
            out[v] = sum;
        }
        return;
    }
    let sums: &[f32] = bytemuck::cast_slice(sums);
    for (at, (out, &sum)) in out.iter_mut().zip(sums).enumerate() {
        *out = sum * scale + if add { *out } else { 0.0 } + bias.map_or(0.0, |bias| bias[at]);
    }
}

/// Tells the processor that `x` is wanted soon.
#[inline(always)]
pub(crate) fn prefetch(x: &f32) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, whatever the address; SSE is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(x).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = x;
}
