//! Pairs by AVX512-BF16: a vector of them and the same pair in all lanes.

use std::arch::x86_64::{__cpuid, __m512, __m512bh, _mm512_dpbf16_ps};
use std::mem::transmute;

use pulp::x86::V4;
use pulp::{Simd, f32x16, u32x16};

use super::PAIRS;
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

    /// Whether they do more in a second than f32's: twice as much by the instruction tables of AMD's processors (uops.info; not
    /// measured here). Intel's start one such instruction where they start four of f32, and a product took 1.7 times as long.
    pub(super) fn are_fast(self) -> bool {
        !by_intel()
    }

    pub(super) fn sweep(self, sweep: Sweep<'_, '_>) {
        // SAFETY: the processor has what `on_pairs` is compiled for, as `self` proves.
        unsafe { on_pairs(self.0, sweep) }
    }
}

// `__cpuid` became safe after the oldest compiler that this is for.
#[allow(unused_unsafe)]
fn by_intel() -> bool {
    // SAFETY: every x86-64 has the instruction, and this leaf.
    let leaf = unsafe { __cpuid(0) };
    [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes).concat() == *b"GenuineIntel"
}

#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512bf16")]
fn on_pairs(simd: V4, sweep: Sweep<'_, '_>) {
    sweep.with::<V4, M, V>(simd, 1, |strip, panel| {
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
        sums
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
