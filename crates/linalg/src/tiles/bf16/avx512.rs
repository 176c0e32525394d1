//! Pairs by AVX512-BF16: a vector of them and the same pair in all lanes. And what AVX-512 packs for AMX as well.

use std::arch::x86_64::{
    __cpuid, __m256bh, __m256i, __m512, __m512bh, __m512i, _mm512_cvtepu16_epi32, _mm512_cvtne2ps_pbh,
    _mm512_cvtneps_pbh, _mm512_cvtpbh_ps, _mm512_dpbf16_ps, _mm512_or_si512, _mm512_shuffle_i32x4, _mm512_slli_epi32,
    _mm512_sub_ps, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};
use std::mem::transmute;
use std::ops::Range;
use std::sync::LazyLock;

use pulp::x86::V4;
use pulp::{Simd, f32x16, u32x16};

use super::{BLOCK, PAIRS};
use crate::mat::MatRef;
use crate::tiles::{Sweep, Tile};

const M: usize = 12;
const V: usize = 2;

pub(super) const TILE: Tile = Tile { rows: M, cols: 16 * V, lanes: 16 };

/// Proof of AVX-512 with its bf16 instructions.
#[derive(Clone, Copy)]
pub(crate) struct Vectors(V4);

impl Vectors {
    pub(super) fn new() -> Option<Self> {
        V4::try_new().filter(|_| std::arch::is_x86_feature_detected!("avx512bf16")).map(Self)
    }

    /// Whether they do more in a second than f32's. On AMD's processors twice as much is expected, since an instruction does two
    /// multiply-adds a lane; not measured. On an Intel Emerald Rapids a product took 1.2 to 2.8 times as long.
    pub(super) fn are_fast(self) -> bool {
        !by_intel()
    }

    pub(super) fn simd(self) -> V4 {
        self.0
    }

    /// See [`super::Bf16`], of which this is.
    pub(super) fn pair(self, row: &mut [f32], next: &mut [f32], at: usize, panels: &mut [&mut [f32]]) {
        // SAFETY: `self` proves AVX512-BF16, here and below.
        unsafe { pair(row, next, at, panels) }
    }

    pub(super) fn pair_neighbours(self, column: &[f32], parts: usize, out: &mut [f32]) {
        // SAFETY: as above.
        unsafe { split(column, parts, PAIRS, PAIRS * parts, out) }
    }

    pub(super) fn pack_columns(self, columns: &[f32], depth: usize, panel: &mut [f32]) {
        // SAFETY: as above.
        unsafe { scatter(bytemuck::cast_slice(columns), depth, bytemuck::cast_slice_mut(panel)) }
    }

    /// Columns of a row as blocks of pairs, then zeros, each part `stride` numbers after the other.
    pub(super) fn pack_row(
        self,
        lhs: MatRef<'_>,
        row: usize,
        columns: Range<usize>,
        parts: usize,
        stride: usize,
        out: &mut [f32],
    ) {
        let whole = if lhs.col_stride() == 1 { columns.len() / BLOCK } else { 0 };
        if whole > 0 {
            let numbers = &lhs.data()[row * lhs.row_stride() + columns.start..][..whole * BLOCK];
            // SAFETY: as above.
            unsafe { split(numbers, parts, stride, stride * parts, out) };
        }
        for block in whole..columns.len().div_ceil(BLOCK) {
            let mut numbers = [0.0; BLOCK];
            let some = columns.clone().skip(block * BLOCK);
            numbers.iter_mut().zip(some).for_each(|(x, j)| *x = lhs.get(row, j));
            // SAFETY: as above.
            unsafe { split(&numbers, parts, stride, stride * parts, &mut out[block * stride * parts..]) };
        }
    }

    pub(super) fn sweep(self, sweep: Sweep<'_, '_>) {
        // SAFETY: the processor has what `on_pairs` is compiled for, as `self` proves.
        unsafe { on_pairs(self.0, sweep) }
    }
}

fn by_intel() -> bool {
    static FOUND: LazyLock<bool> = LazyLock::new(|| {
        // `__cpuid` became safe after the oldest compiler that this is for.
        #[allow(unused_unsafe)]
        // SAFETY: every x86-64 has the instruction, and this leaf.
        let leaf = unsafe { __cpuid(0) };
        [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes).concat() == *b"GenuineIntel"
    });
    *FOUND
}

#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512bf16")]
fn on_pairs(simd: V4, sweep: Sweep<'_, '_>) {
    sweep.with::<V4, M, V>(simd, 1, |strip, panel, out| {
        let mut sums = [[simd.splat_f32s(0.0); V]; M];
        let panel = bytemuck::cast_slice::<f32, [u32x16; V]>(panel).as_chunks::<PAIRS>().0;
        let strip = strip.as_chunks::<PAIRS>().0.as_chunks::<M>().0;
        for (strip, panel) in strip.iter().zip(panel) {
            for (p, panel) in panel.iter().enumerate() {
                for i in 0..M {
                    let x = simd.splat_u32s(strip[i][p].to_bits());
                    for v in 0..V {
                        sums[i][v] = add_products(sums[i][v], x, panel[v]);
                    }
                }
            }
        }
        *out = sums;
    });
}

/// sum + the products of both halves.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn add_products(sum: f32x16, x: u32x16, y: u32x16) -> f32x16 {
    // SAFETY: 64 bytes each, of which any will do.
    let (sum, x, y) = unsafe {
        (transmute::<f32x16, __m512>(sum), transmute::<u32x16, __m512bh>(x), transmute::<u32x16, __m512bh>(y))
    };
    // SAFETY: as above.
    unsafe { transmute::<__m512, f32x16>(_mm512_dpbf16_ps(sum, x, y)) }
}

/// Blocks of numbers as pairs, each `block` numbers after the other, and each of their parts `stride`.
#[target_feature(enable = "avx512f,avx512bf16")]
fn split(numbers: &[f32], parts: usize, stride: usize, block: usize, out: &mut [f32]) {
    for (at, numbers) in numbers.as_chunks::<BLOCK>().0.iter().enumerate() {
        let out = &mut out[at * block..];
        // SAFETY: 64 bytes each, of which any will do.
        let [mut low, mut high] = unsafe { transmute::<[f32; BLOCK], [__m512; 2]>(*numbers) };
        for part in 0..parts {
            let nearest = _mm512_cvtne2ps_pbh(high, low);
            // SAFETY: as above.
            let (pairs, [of_low, of_high]) = unsafe {
                (transmute::<__m512bh, [f32; PAIRS]>(nearest), transmute::<__m512bh, [__m256bh; 2]>(nearest))
            };
            out[part * stride..][..PAIRS].copy_from_slice(&pairs);
            low = _mm512_sub_ps(low, _mm512_cvtpbh_ps(of_low));
            high = _mm512_sub_ps(high, _mm512_cvtpbh_ps(of_high));
        }
    }
}

#[target_feature(enable = "avx512f,avx512bf16")]
fn pair(row: &mut [f32], next: &mut [f32], at: usize, panels: &mut [&mut [f32]]) {
    debug_assert!([row.len(), next.len()] == [panels.len() * TILE.cols; 2], "rows as wide as the panels");
    let rows = row.as_chunks_mut::<PAIRS>().0.iter_mut().zip(next.as_chunks_mut::<PAIRS>().0);
    for (column, (row, next)) in rows.enumerate() {
        panels[column / V].as_chunks_mut().0[at * V + column % V] = pair_vectors(row, next);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn pair_vectors(row: &mut [f32; PAIRS], next: &mut [f32; PAIRS]) -> [f32; PAIRS] {
    let pairs = _mm512_or_si512(take_nearest(row), _mm512_slli_epi32::<16>(take_nearest(next)));
    // SAFETY: 64 bytes, of which any will do.
    unsafe { transmute::<__m512i, [f32; PAIRS]>(pairs) }
}

/// The nearest numbers of bf16, in the lower halves; what they leave over stays.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn take_nearest(numbers: &mut [f32; PAIRS]) -> __m512i {
    // SAFETY: as many bytes on either side, of which any will do.
    unsafe {
        let x = transmute::<[f32; PAIRS], __m512>(*numbers);
        let nearest = _mm512_cvtneps_pbh(x);
        *numbers = transmute::<__m512, [f32; PAIRS]>(_mm512_sub_ps(x, _mm512_cvtpbh_ps(nearest)));
        _mm512_cvtepu16_epi32(transmute::<__m256bh, __m256i>(nearest))
    }
}

/// Columns of `depth` pairs, a multiple of 16, as a panel: depth×32.
#[target_feature(enable = "avx512f")]
fn scatter(columns: &[u32], depth: usize, panel: &mut [u32]) {
    let panel = panel.as_chunks_mut::<16>().0;
    for (v, columns) in columns.chunks_exact(16 * depth).enumerate().take(V) {
        for start in (0..depth).step_by(16) {
            let mut rows = [[0; 16]; 16];
            for (row, column) in rows.iter_mut().zip(columns.chunks_exact(depth)) {
                row.copy_from_slice(&column[start..start + 16]);
            }
            for (p, row) in transposed(rows).into_iter().enumerate() {
                panel[(start + p) * V + v] = row;
            }
        }
    }
}

/// 16×16 numbers, by four rounds in which neighbours at a distance of 1, 2, 4 and 8 exchange halves.
#[inline]
#[target_feature(enable = "avx512f")]
fn transposed(rows: [[u32; 16]; 16]) -> [[u32; 16]; 16] {
    // SAFETY: 16 vectors of 64 bytes, of which any will do.
    let mut x = unsafe { transmute::<[[u32; 16]; 16], [__m512i; 16]>(rows) };
    let mut y = x;
    for i in (0..16).step_by(2) {
        (y[i], y[i + 1]) = (_mm512_unpacklo_epi32(x[i], x[i + 1]), _mm512_unpackhi_epi32(x[i], x[i + 1]));
    }
    // Then quarter q of row g + c is column 4q + c of rows g to g + 3.
    for g in (0..16).step_by(4) {
        x[g] = _mm512_unpacklo_epi64(y[g], y[g + 2]);
        x[g + 1] = _mm512_unpackhi_epi64(y[g], y[g + 2]);
        x[g + 2] = _mm512_unpacklo_epi64(y[g + 1], y[g + 3]);
        x[g + 3] = _mm512_unpackhi_epi64(y[g + 1], y[g + 3]);
    }
    for c in 0..4 {
        let [a, b, c4, d] = [x[c], x[4 + c], x[8 + c], x[12 + c]];
        let (low, high) = (_mm512_shuffle_i32x4::<0x44>(a, b), _mm512_shuffle_i32x4::<0xee>(a, b));
        let (low4, high4) = (_mm512_shuffle_i32x4::<0x44>(c4, d), _mm512_shuffle_i32x4::<0xee>(c4, d));
        y[c] = _mm512_shuffle_i32x4::<0x88>(low, low4);
        y[4 + c] = _mm512_shuffle_i32x4::<0xdd>(low, low4);
        y[8 + c] = _mm512_shuffle_i32x4::<0x88>(high, high4);
        y[12 + c] = _mm512_shuffle_i32x4::<0xdd>(high, high4);
    }
    // SAFETY: as above.
    unsafe { transmute::<[__m512i; 16], [[u32; 16]; 16]>(y) }
}
