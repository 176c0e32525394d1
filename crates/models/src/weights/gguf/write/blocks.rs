//! Numbers in the forms of a GGUF file: the mirror image of what widens them.
//!
//! Rounding is that of ggml's reference (`quantize_row_q8_0_ref`, `quantize_row_q4_0_ref` in `ggml-quants.c`) without fused
//! multiply-adds, which makes the same bytes as `gguf.quants.quantize` of the Python package `gguf`:
//!
//! | type | d | q |
//! |---|---|---|
//! | Q8_0 | max abs(x) / 127 | x · (1/d), to nearest, halves away from zero |
//! | Q4_0 | −(the x of largest magnitude, the first of several) / 8 | x · (1/d) + 8.5 cut to a whole number, 15 at most |
//!
//! q is computed with d as f32, then d is stored as f16.

use half::f16;
use loract_autograd::to_bf16_bytes;

use super::GgufType;

/// Numbers of a block.
pub(super) const BLOCK: usize = 32;

/// Whole rows of `numbers` as bytes of the file; of a block type, a multiple of [`BLOCK`] numbers.
pub(super) fn encode(stored: GgufType, numbers: &[f32]) -> Vec<u8> {
    match stored {
        GgufType::F32 => numbers.iter().flat_map(|x| x.to_le_bytes()).collect(),
        GgufType::F16 => numbers.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect(),
        GgufType::Bf16 => to_bf16_bytes(numbers),
        GgufType::Q8_0 => blocks(numbers, q8_0),
        GgufType::Q4_0 => blocks(numbers, q4_0),
    }
}

fn blocks<const BYTES: usize>(numbers: &[f32], one: impl Fn(&[f32; BLOCK]) -> [u8; BYTES]) -> Vec<u8> {
    numbers.as_chunks().0.iter().flat_map(one).collect()
}

/// 1/d, or 0 where all numbers are 0.
fn inverse(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

fn q8_0(block: &[f32; BLOCK]) -> [u8; 34] {
    let d = block.iter().fold(0.0f32, |most, x| most.max(x.abs())) / 127.0;
    let inverse = inverse(d);
    let mut bytes = [0; 34];
    bytes[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    for (byte, x) in bytes[2..].iter_mut().zip(block) {
        *byte = (x * inverse).round() as i8 as u8;
    }
    bytes
}

fn q4_0(block: &[f32; BLOCK]) -> [u8; 18] {
    let largest = block.iter().fold(0.0f32, |most, &x| if most.abs() < x.abs() { x } else { most });
    let d = largest / -8.0;
    let inverse = inverse(d);
    let code = |x: f32| ((x * inverse + 8.5) as u8).min(15);
    let mut bytes = [0; 18];
    bytes[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    let (low, high) = block.split_at(BLOCK / 2);
    for (byte, (&low, &high)) in bytes[2..].iter_mut().zip(low.iter().zip(high)) {
        *byte = code(low) | code(high) << 4;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_by_hand() {
        let mut block = [0.0f32; BLOCK];
        (block[0], block[1], block[16], block[31]) = (-8.0, 7.0, 1.0, 3.0);
        let bytes = q4_0(&block);
        // d = 1: codes are x + 8.
        assert_eq!(bytes[..2], f16::ONE.to_le_bytes());
        assert_eq!((bytes[2], bytes[3], bytes[4], bytes[17]), (0x90, 0x8f, 0x88, 0xb8));
        (block[0], block[1]) = (-127.0, 0.5);
        let bytes = q8_0(&block);
        assert_eq!((bytes[2] as i8, bytes[3] as i8, bytes[18] as i8, bytes[33] as i8), (-127, 1, 1, 3));
        assert_eq!(q8_0(&[0.0; BLOCK]), [0; 34]);
    }
}
