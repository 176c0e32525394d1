//! Block quantisation, number by number, against the format as its documentation has it.

use half::bf16;
use loract_autograd::{Form, Quant, QuantRange, Rounding, SavedKind, StepKey};
use loract_testkit::spectrum::{Spectrum, with_spectrum};

use crate::harness::{KEY, Matrix, Result, random};
use crate::kept::{form, keep};

const EPS: f64 = f32::EPSILON as f64;

/// Every quantisation that can be asked for.
fn quants() -> Vec<Quant> {
    let mut all = Vec::new();
    for bits in [2, 3, 4, 5, 6, 8] {
        for block in [32, 64, 128] {
            for range in [QuantRange::MinMax, QuantRange::Symmetric] {
                for rounding in [Rounding::Nearest, Rounding::Stochastic] {
                    all.push(Quant { bits, block, range, rounding });
                }
            }
        }
    }
    all
}

/// The least bf16 not below x.
fn above(x: f64) -> f64 {
    let near = bf16::from_f64(x);
    let bits = near.to_bits();
    let next = if near.to_f64() == 0.0 {
        bf16::from_bits(1)
    } else {
        bf16::from_bits(if bits & 0x8000 == 0 { bits + 1 } else { bits - 1 })
    };
    if near.to_f64() >= x { near.to_f64() } else { next.to_f64() }
}

/// The most that a number of `block` may be off: half a step (a whole one if rounded at random), the step being that of
/// the format in real arithmetic; for the arithmetic of f32, a place of bf16 more in the step (2⁻⁷), the rounding of
/// (x − lo)/step ≤ levels, and that of lo and of lo + code·step; blocks below 1e-36 a level are kept as their least number.
fn bound(quant: Quant, block: &[f32]) -> f64 {
    let (least, most) = block.iter().fold((f64::MAX, f64::MIN), |(l, m), &x| (l.min(x.into()), m.max(x.into())));
    let largest = most.max(-least);
    let (step, levels) = match quant.range {
        QuantRange::MinMax => {
            let levels = f64::from((1 << quant.bits) - 1);
            let lo = -above(-least);
            (above((most - lo) / levels), levels)
        }
        QuantRange::Symmetric => {
            let half = f64::from((1 << (quant.bits - 1)) - 1);
            (above(largest / half), 2.0 * half)
        }
    };
    let part = if quant.rounding == Rounding::Nearest { 0.5 } else { 1.0 };
    step * (part + 1.0 / 128.0 + 4.0 * levels * EPS) + 4.0 * EPS * largest + 2.0 * levels * 1e-36
}

fn check(what: &str, x: &Matrix, quant: Quant) -> Result {
    let kept = keep(x, Form::Quantised(quant), KEY)?;
    if kept.kind == SavedKind::Exact {
        assert_eq!(kept.numbers, x.numbers, "{what} {quant}");
        return Ok(());
    }
    for (row, (x, got)) in x.numbers.chunks_exact(x.cols).zip(kept.numbers.chunks_exact(x.cols)).enumerate() {
        for (block, got) in x.chunks(quant.block).zip(got.chunks(quant.block)) {
            let bound = bound(quant, block);
            for (x, got) in block.iter().zip(got) {
                let off = (f64::from(*x) - f64::from(*got)).abs();
                assert!(off <= bound, "{what} {quant}, n {}, row {row}: {x:e} kept as {got:e}, bound {bound:e}", {
                    kept.numbers.len()
                });
            }
        }
    }
    Ok(())
}

/// Also narrow tensors (short blocks are the only ones), more rows than a tile of 32, and more than one of 256.
#[test]
fn every_number_is_off_by_half_a_step_at_most() -> Result {
    for quant in quants() {
        for (m, n) in [(7, 5), (7, 24), (35, 31), (7, 33), (7, 64), (33, 100), (7, 130), (7, 256)] {
            check("random", &Matrix::random(m, n, (m + n) as u64), quant)?;
        }
    }
    for bits in [2, 3, 4, 5, 6, 8].into_iter().filter_map(Quant::new) {
        check("many rows", &Matrix::random(300, 40, 5), bits)?;
    }
    Ok(())
}

/// Blocks that a careless scale would break on.
#[test]
fn extreme_blocks() -> Result {
    let (m, n) = (3, 70);
    let noise = random(m * n, 3);
    // A number from its place and from noise.
    type Number = fn(usize, f32) -> f32;
    let blocks: [(&str, Number); 13] = [
        ("zeros", |_, _| 0.0),
        ("minus zeros", |_, _| -0.0),
        ("a constant that bf16 has", |_, _| 2.5),
        ("a constant that bf16 has not", |_, _| -0.123_456_79),
        ("an outlier", |i, x| if i % 70 == 17 { 1e6 } else { 1e-3 * x }),
        ("an outlier below", |i, x| if i % 70 == 69 { -3e4 } else { x }),
        ("far from zero", |_, x| 1000.0 + 1e-3 * x),
        ("negative only", |_, x| -2.0 + x),
        ("squares that overflow", |_, x| 5e19 * x),
        ("the largest numbers", |_, x| 5e37 * x),
        ("small numbers", |_, x| 1e-30 * x),
        ("subnormal numbers", |_, x| 1e-40 * x),
        ("subnormal numbers and one", |i, x| if i % 70 == 0 { 1.0 } else { 1e-40 * x }),
    ];
    for (name, block) in blocks {
        let numbers: Vec<f32> = noise.iter().enumerate().map(|(i, &x)| block(i, x)).collect();
        let x = Matrix { rows: m, cols: n, numbers };
        for quant in quants() {
            check(name, &x, quant)?;
            let kept = keep(&x, Form::Quantised(quant), KEY)?;
            if name.contains("zeros") || (name == "a constant that bf16 has" && quant.range == QuantRange::MinMax) {
                assert_eq!(kept.numbers, x.numbers, "{name} {quant}");
            }
            // A block below 1e-36 a level is kept as its least number.
            let limit = if name.contains("sub") && quant.range == QuantRange::MinMax { 4.0 } else { 1.0 };
            let error = kept.error.map_or(0.0, |error| error.relative);
            assert!((0.0..=limit).contains(&error), "{name} {quant}: reported error {error}");
        }
    }
    Ok(())
}

/// Over K keys the mean of what is kept is x: each number within five of its standard errors (at most step/2/√K, here
/// from the bound, which is at least a step), and so is the mean of all, where a bias would add up.
#[test]
fn stochastic_rounding_is_right_in_the_mean() -> Result {
    const KEYS: u64 = 300;
    let x = Matrix::random(2, 75, 8);
    for words in ["q2:sr", "q3:sr", "q4:sr:sym", "q8:sr", "q2:sr:sym:b128"] {
        let Form::Quantised(quant) = form(words) else { unreachable!("a quantisation") };
        let mut sums = vec![0.0f64; x.numbers.len()];
        for step in 0..KEYS {
            let kept = keep(&x, form(words), StepKey { step, ..KEY })?;
            sums.iter_mut().zip(&kept.numbers).for_each(|(sum, &got)| *sum += f64::from(got));
        }
        let (mut off, mut variance) = (0.0, 0.0);
        let standard = |bound: f64| bound / 2.0 / (KEYS as f64).sqrt();
        for (row, sums) in x.numbers.chunks_exact(x.cols).zip(sums.chunks_exact(x.cols)) {
            for (block, sums) in row.chunks(quant.block).zip(sums.chunks(quant.block)) {
                let bound = bound(quant, block);
                for (x, sum) in block.iter().zip(sums) {
                    let bias = sum / KEYS as f64 - f64::from(*x);
                    assert!(bias.abs() <= 5.0 * standard(bound), "{words}: {x} is kept as {bias:+} of it in the mean");
                    off += bias;
                    variance += standard(bound).powi(2);
                }
            }
        }
        assert!(off.abs() <= 5.0 * variance.sqrt(), "{words}: {off} in all, standard error {}", variance.sqrt());
    }
    Ok(())
}

#[test]
fn a_key_names_the_rounding() -> Result {
    let x = Matrix::random(40, 70, 9);
    for (words, random) in [("q3:sr", true), ("q4:sym:sr", true), ("q3", false), ("rqb:4:f32+q2:sr", true)] {
        let numbers = |key| keep(&x, form(words), key).map(|kept| kept.numbers);
        assert_eq!(numbers(KEY)?, numbers(KEY)?, "{words}");
        for other in [StepKey { seed: 8, ..KEY }, StepKey { step: 4, ..KEY }, StepKey { micro_batch: 2, ..KEY }] {
            assert_eq!(numbers(KEY)? != numbers(other)?, random, "{words} {other:?}");
        }
    }
    Ok(())
}

/// Over one tensor, for every range, rounding and block; the last column's block is short.
#[test]
fn more_bits_are_closer() -> Result {
    let x = Matrix::random(50, 161, 10);
    let error = |form| -> Result<f64> {
        let kept = keep(&x, form, KEY)?;
        Ok(loract_testkit::oracle::relative_error(&kept.numbers, &crate::harness::wide(&x.numbers)))
    };
    for quant in quants().into_iter().filter(|quant| quant.bits == 2) {
        let mut last = f64::INFINITY;
        for bits in [2, 3, 4, 5, 6, 8] {
            let got = error(Form::Quantised(Quant { bits, ..quant }))?;
            // Each bit halves the step; a bit more than none is certain.
            assert!(got < 0.7 * last, "{quant} with {bits} bits: {got} after {last}");
            last = got;
        }
    }
    // Low rank plus bits: closer by the bits, and by the rank where the spectrum falls.
    let (numbers, rows, cols) = with_spectrum(60, 40, Spectrum::Power(1.5), 11);
    let x = Matrix { rows, cols, numbers };
    let mut last = f64::INFINITY;
    for words in ["rqb:4:f32", "rqb:4:f32+q2", "rqb:4:f32+q3", "rqb:4:f32+q4", "rqb:12:f32+q4", "rqb:12:f32+q8"] {
        let kept = keep(&x, form(words), KEY)?;
        let got = loract_testkit::oracle::relative_error(&kept.numbers, &crate::harness::wide(&x.numbers));
        assert!(got < 0.8 * last, "{words}: {got} after {last}");
        last = got;
    }
    Ok(())
}
