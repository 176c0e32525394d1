//! The inverse transform of 8×8 coefficients: libjpeg's accurate integer one (`jidctint.c`), after Loeffler, Ligtenberg and
//! Moschytz, "Practical fast 1-D DCT algorithms with 11 multiplications", ICASSP 1989. Columns first; 13 bits behind the point,
//! and 2 of them kept between the passes.

use std::num::Wrapping;

use super::Component;

/// Coefficients that no encoder writes would overflow.
type Number = Wrapping<i32>;

/// A component's samples, in rows of 8·`blocks_across`.
pub(super) fn samples(component: &Component, quantisers: &[u16; 64]) -> Vec<u8> {
    let stride = 8 * component.blocks_across;
    let mut samples = vec![0; component.coefficients.len() * 64];
    for (place, coefficients) in component.coefficients.iter().enumerate() {
        let (row, column) = (place / component.blocks_across, place % component.blocks_across);
        let at = row * 8 * stride + column * 8;
        for (line, eight) in block(coefficients, quantisers).into_iter().enumerate() {
            samples[at + line * stride..][..8].copy_from_slice(&eight);
        }
    }
    samples
}

fn block(coefficients: &[i16; 64], quantisers: &[u16; 64]) -> [[u8; 8]; 8] {
    let column = |column: usize| {
        let number = |row: usize| {
            let at = row * 8 + column;
            Wrapping(i32::from(coefficients[at])) * Wrapping(i32::from(quantisers[at]))
        };
        transform(std::array::from_fn(number)).map(|number| rounded(number, 11))
    };
    let columns: [[Number; 8]; 8] = std::array::from_fn(column);
    std::array::from_fn(|row| {
        let eight = transform(columns.map(|column| column[row]));
        eight.map(|number| rounded(number, 18).0.wrapping_add(128).clamp(0, 255) as u8)
    })
}

fn rounded(number: Number, bits: usize) -> Number {
    (number + Wrapping(1 << (bits - 1))) >> bits
}

fn transform([x0, x1, x2, x3, x4, x5, x6, x7]: [Number; 8]) -> [Number; 8] {
    let times = |x: Number, factor: i32| x * Wrapping(factor);
    // The even part.
    let turned = times(x2 + x6, 4433);
    let (low, high) = (turned - times(x6, 15_137), turned + times(x2, 6270));
    let (sum, difference) = ((x0 + x4) << 13, (x0 - x4) << 13);
    let even = [sum + high, difference + low, difference - low, sum - high];
    // The odd part.
    let all = times(x7 + x3 + x5 + x1, 9633);
    let (a, b) = (times(x7 + x1, -7373), times(x5 + x3, -20_995));
    let (c, d) = (times(x7 + x3, -16_069) + all, times(x5 + x1, -3196) + all);
    let odd =
        [times(x1, 12_299) + a + d, times(x3, 25_172) + b + c, times(x5, 16_819) + b + d, times(x7, 2446) + a + c];
    std::array::from_fn(|i| if i < 4 { even[i] + odd[i] } else { even[7 - i] - odd[7 - i] })
}
