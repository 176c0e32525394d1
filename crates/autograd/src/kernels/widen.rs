//! Stored numbers as f32: see the table of block formats in [`crate::frozen`].

mod super_blocks;

use super::simd::vectorised;
use crate::frozen::DType;

/// Calls a function for each number or block of numbers. Not a function that takes a function: that one cannot be told to
/// inline what it is given, and what is not inlined is compiled without vectors.
macro_rules! each {
    ($stored:ident, $out:ident, |$bytes:ident, $numbers:ident| $one:expr) => {
        for ($numbers, $bytes) in $out.as_chunks_mut().0.iter_mut().zip($stored.as_chunks().0) {
            $one;
        }
    };
}

vectorised! {
    /// Whole blocks of `stored`, widened, by the calling thread.
    pub(crate) fn widen<'a>(dtype: DType, stored: &'a [u8], out: &'a mut [f32]) -> () {
        match dtype {
            DType::F32 => each!(stored, out, |bytes, x| *x = [f32::from_le_bytes(*bytes)]),
            DType::F16 => each!(stored, out, |bytes, x| *x = [half_of(*bytes)]),
            DType::Bf16 => each!(stored, out, |bytes, x| *x = [bf16_of(*bytes)]),
            DType::Q8_0 => each!(stored, out, |block, x| q8_0(block, x)),
            DType::Q4_0 => each!(stored, out, |block, x| q4_0(block, x)),
            DType::Q4_1 => each!(stored, out, |block, x| q4_1(block, x)),
            DType::Q5_0 => each!(stored, out, |block, x| q5_0(block, x)),
            DType::Q5_1 => each!(stored, out, |block, x| q5_1(block, x)),
            DType::Q2_K => each!(stored, out, |block, x| super_blocks::q2_k(block, x)),
            DType::Q3_K => each!(stored, out, |block, x| super_blocks::q3_k(block, x)),
            DType::Q4_K => each!(stored, out, |block, x| super_blocks::q4_k(block, x)),
            DType::Q5_K => each!(stored, out, |block, x| super_blocks::q5_k(block, x)),
            DType::Q6_K => each!(stored, out, |block, x| super_blocks::q6_k(block, x)),
        }
    }
}

/// N bytes of a block, from `at` on.
#[inline(always)]
fn bytes<const N: usize>(block: &[u8], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&block[at..at + N]);
    bytes
}

#[inline(always)]
fn half_of(stored: [u8; 2]) -> f32 {
    widen_half(u16::from_le_bytes(stored))
}

#[inline(always)]
fn bf16_of(stored: [u8; 2]) -> f32 {
    f32::from_bits(u32::from(u16::from_le_bytes(stored)) << 16)
}

#[inline(always)]
fn half_at(block: &[u8], at: usize) -> f32 {
    half_of(bytes(block, at))
}

#[inline(always)]
fn q8_0(block: &[u8; 34], out: &mut [f32; 32]) {
    let (d, q) = (half_at(block, 0), bytes::<32>(block, 2));
    for (x, &q) in out.iter_mut().zip(&q) {
        *x = d * f32::from(q as i8);
    }
}

#[inline(always)]
fn q4_0(block: &[u8; 18], out: &mut [f32; 32]) {
    centred(half_at(block, 0), 8, nibbles(bytes(block, 2)), out);
}

#[inline(always)]
fn q4_1(block: &[u8; 20], out: &mut [f32; 32]) {
    scaled(half_at(block, 0), half_at(block, 2), nibbles(bytes(block, 4)), out);
}

#[inline(always)]
fn q5_0(block: &[u8; 22], out: &mut [f32; 32]) {
    centred(half_at(block, 0), 16, five_bits(bytes(block, 2), bytes(block, 6)), out);
}

#[inline(always)]
fn q5_1(block: &[u8; 24], out: &mut [f32; 32]) {
    scaled(half_at(block, 0), half_at(block, 2), five_bits(bytes(block, 4), bytes(block, 8)), out);
}

/// The nibbles of 16 bytes, the low ones first.
#[inline(always)]
fn nibbles(q: [u8; 16]) -> [u8; 32] {
    let mut codes = [0; 32];
    let (low, high) = codes.split_at_mut(16);
    for ((low, high), &q) in low.iter_mut().zip(high).zip(&q) {
        (*low, *high) = (q & 15, q >> 4);
    }
    codes
}

/// The same with fifth bits.
#[inline(always)]
fn five_bits(fifth: [u8; 4], q: [u8; 16]) -> [u8; 32] {
    let (mut codes, fifth) = (nibbles(q), u32::from_le_bytes(fifth));
    for (i, code) in codes.iter_mut().enumerate() {
        *code |= ((fifth >> i & 1) << 4) as u8;
    }
    codes
}

/// d·q + m.
#[inline(always)]
fn scaled<const N: usize>(d: f32, m: f32, codes: [u8; N], out: &mut [f32; N]) {
    for (x, &q) in out.iter_mut().zip(&codes) {
        *x = d * f32::from(q) + m;
    }
}

/// d·(q − c).
#[inline(always)]
fn centred<const N: usize>(d: f32, c: i8, codes: [u8; N], out: &mut [f32; N]) {
    for (x, &q) in out.iter_mut().zip(&codes) {
        *x = d * f32::from(q as i8 - c);
    }
}

/// An f16 by its bits. As `half::f16::to_f32`, which asks for the processor's instructions at every number and so cannot
/// be part of a vectorised loop.
#[inline(always)]
fn widen_half(bits: u16) -> f32 {
    /// 2^(127 − 15): what f32's exponents have more.
    const REBIAS: f32 = f32::from_bits((127 + 127 - 15) << 23);
    // Exponent and mantissa in f32's places; the factor puts the exponent right, that of subnormal numbers too.
    let magnitude = f32::from_bits(u32::from(bits & 0x7fff) << 13) * REBIAS;
    let infinite_or_nan = if bits & 0x7c00 == 0x7c00 { 0x7f80_0000 } else { 0 };
    f32::from_bits(magnitude.to_bits() | infinite_or_nan | u32::from(bits & 0x8000) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_widens_as_the_half_crate_says() {
        for bits in 0..=u16::MAX {
            let (ours, theirs) = (widen_half(bits), half::f16::from_bits(bits).to_f32());
            assert!(
                ours.to_bits() == theirs.to_bits() || (ours.is_nan() && theirs.is_nan()),
                "{bits}: {ours} {theirs}"
            );
        }
    }

    #[test]
    fn numbers_have_no_more_significant_bits_than_their_type_says() {
        let mut rng = loract_linalg::Rng::new(&[1]);
        for dtype in [DType::Bf16, DType::F16, DType::Q4_0, DType::Q5_0] {
            let blocks = 20_000 / dtype.block_len();
            let stored: Vec<u8> = (0..blocks * dtype.block_bytes()).map(|_| rng.below(256) as u8).collect();
            let mut numbers = vec![0.0; blocks * dtype.block_len()];
            widen(dtype, &stored, &mut numbers);
            numbers.retain(|x| x.is_normal());
            assert!(numbers.len() > 10_000, "{dtype}");
            let bits = |x: f32| 24 - (x.to_bits() | 1 << 23).trailing_zeros() as usize;
            let most = numbers.into_iter().map(bits).max();
            assert!(most.is_some_and(|most| most <= dtype.significant_bits()), "{dtype}: {most:?}");
        }
    }
}
