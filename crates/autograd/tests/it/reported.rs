//! What is told of a compressed tensor: how closely it was kept, how many bytes it takes, and that it was broken.

use loract_autograd::ops::{Activation, AttentionShape, Linear, attention, gated, linear};
use loract_autograd::{
    Category, Error, FactorType, Form, Frozen, Grads, Memory, Rank, Recompute, SavedKind, Site, StepKey, Tape, Values,
    Var, Weight,
};
use loract_testkit::oracle;
use loract_testkit::spectrum::{Spectrum, with_spectrum};

use crate::harness::{KEY, Matrix, Result, everywhere, lora, random, rms, wide};
use crate::kept::{at, form, forms, keep, probe, saved};

/// Below this the residual of factors is an estimate that cancelled (linalg's `Residual`: 4·√eps), and known to be below.
const RESOLUTION: f64 = 1.4e-3;

/// How far the reported error may be from the measured one: sums of a block in f32; of factors, an eighth of the residual,
/// or its resolution; and the rounding of factors to bf16, which is left out of the report: 2⁻⁹ of each of U and V, which
/// in the Frobenius norm is 2⁻⁹·(1 + √k) of X for factors of which one is orthonormal.
fn tolerance(form: Form, kind: SavedKind, k: usize, measured: f64) -> f64 {
    let rounding = |stored| if stored == FactorType::Bf16 { (1.0 + (k as f64).sqrt()) / 512.0 } else { 0.0 };
    let eps = f64::from(f32::EPSILON);
    let sums = 128.0 * eps * measured + 4.0 * eps;
    match (kind, form) {
        (SavedKind::Bf16, _) => 1.0 / 256.0,
        (_, Form::LowRank(f) | Form::Hybrid(f, _)) => sums + measured / 8.0 + RESOLUTION + rounding(f.stored),
        _ => sums,
    }
}

#[test]
fn the_reported_error_is_the_measured_one() -> Result {
    let spectra = [Spectrum::Flat, Spectrum::Power(0.5), Spectrum::Power(2.0), Spectrum::ExactRank(3)];
    for spectrum in spectra {
        // Tall and wide, whole and short last blocks.
        for (m, n) in [(70, 64), (90, 33), (40, 130), (12, 100)] {
            let (mut numbers, ..) = with_spectrum(m, n, spectrum, 3);
            numbers.iter_mut().for_each(|x| *x *= 30.0);
            let x = Matrix { rows: m, cols: n, numbers };
            for (words, form) in forms(6) {
                let kept = keep(&x, form, KEY)?;
                let measured = oracle::relative_error(&kept.numbers, &wide(&x.numbers));
                let Some(error) = kept.error else {
                    assert_eq!((kept.kind, measured), (SavedKind::Exact, 0.0), "{words}");
                    continue;
                };
                assert_eq!((error.site, error.layer), (Site::AttnIn, Some(2)));
                let (reported, k) = (f64::from(error.relative), 6.max(n / 2));
                // Factors of Nyström are not orthonormal: their residual is a difference of larger numbers.
                let tolerance =
                    tolerance(form, kept.kind, k, measured) * if words.contains("nystrom") { 8.0 } else { 1.0 };
                assert!(
                    (reported - measured).abs() <= tolerance,
                    "{spectrum:?} {m}x{n} {words}: reported {reported:e}, measured {measured:e}, tolerance {tolerance:e}"
                );
            }
        }
    }
    Ok(())
}

/// Equal to the planned bytes, in numbers and hollow; of a rank that is found, at most.
#[test]
fn bytes_are_those_planned() -> Result {
    for (m, n) in [(1, 1), (2, 3), (13, 5), (7, 31), (33, 32), (50, 63), (65, 64), (9, 130), (300, 17), (20, 257)] {
        let x = Matrix::random(m, n, 4);
        for (words, form) in forms(4) {
            let policy = at(Site::AttnIn, form);
            let planned = policy.plan(&[Site::AttnIn], m, n);
            let kept = keep(&x, form, KEY)?;
            let found = matches!(form, Form::LowRank(f) if matches!(f.rank, Rank::Auto { .. }));
            let what = format!("{m}x{n} {words}");
            assert_eq!(kept.kind, planned.kind(), "{what}");
            assert!(kept.bytes == planned.bytes(m, n) || (found && kept.bytes < planned.bytes(m, n)), "{what}");

            let memory = Memory::hollow();
            let probe = probe(&memory, m, n);
            let mut tape = Tape::new(&memory, policy, KEY);
            let input = tape.input(x.tensor(&memory), false);
            let y = linear(&mut tape, &input, &probe, Site::AttnIn)?;
            drop(input);
            let hollow: Vec<_> = saved(&memory.ledger().live()).into_iter().collect();
            assert_eq!(hollow, [((Site::AttnIn, planned.kind()), planned.bytes(m, n))], "{what}");
            let id = y.id();
            drop(y);
            drop(tape.backward(id, memory.zeros(m, m, Category::Transient), &mut Grads::new())?);
            assert_eq!(memory.ledger().activation_bytes(), 0, "{what}");
        }
    }
    Ok(())
}

/// A number that is broken, wherever it is, stops the run and is named: the first, if there are several.
#[test]
fn a_broken_number_is_named() -> Result {
    let (m, n) = (70, 40);
    for words in ["bf16", "q8", "q4:sym", "q3:sr", "q2:b128", "rqb:3", "rqb:3+q4", "tsvd:3:f32+q2:sr", "nystrom:3+q8"] {
        for (row, col) in [(0, 0), (5, 31), (33, 39), (69, 32), (69, 39)] {
            for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut x = Matrix::random(m, n, 5);
                x.numbers[row * n + col] = broken;
                x.numbers[m * n - 1] = broken;
                match keep(&x, form(words), KEY) {
                    Err(Error::NonFinite { site: Site::AttnIn, layer: Some(2), row: r, col: c, value }) => {
                        assert_eq!((r, c), (row, col), "{words} {broken}");
                        assert_eq!(value.to_bits(), broken.to_bits(), "{words}");
                    }
                    other => panic!("{words} {broken} at {row}, {col}: {other:?}"),
                }
            }
        }
    }
    Ok(())
}

/// Finite, but so large that differences overflow: refused like an infinity, never kept as one.
#[test]
fn numbers_too_large_to_subtract_are_refused() -> Result {
    for words in ["q8", "q4:sym", "q3:sr", "q2", "q2:sym"] {
        for (col, large) in [(3, f32::MAX), (69, -f32::MAX), (20, 2e38)] {
            let mut x = Matrix::random(4, 70, 6);
            x.numbers.iter_mut().for_each(|x| *x *= 1e37);
            x.numbers[2 * 70 + col] = large;
            match keep(&x, form(words), KEY) {
                Err(Error::NonFinite { row, col: c, value, .. }) => {
                    assert_eq!((row, c, value), (2, col, large), "{words}")
                }
                other => panic!("{words} {large}: {other:?}"),
            }
        }
    }
    Ok(())
}

/// The same at every other site that keeps something.
#[test]
fn the_site_and_layer_of_a_broken_number_are_named() -> Result {
    let memory = &Memory::new();
    let (m, n) = (20, 32);
    let weight = Weight::Frozen(Frozen::from_f32(memory, n, n, &random(n * n, 1))?);
    let layer = Linear { weight, bias: None, lora: Some(lora(memory, n, n, 2, 0.1)) };
    let norm = rms(Values::frozen(memory, random(n, 2)));
    let shape = AttentionShape::causal(2, 2, 16);
    let sequences = std::iter::once(0..m).collect();
    type Run<'m> = &'m dyn Fn(&mut Tape<'m>, Var, [Var; 2]) -> Result<Var>;
    let out: Run<'_> = &|t, x, _| linear(t, &x, &layer, Site::AttnOut);
    let gate: Run<'_> = &|t, x, [good, _]| gated(t, Activation::Silu, x, good);
    let up: Run<'_> = &|t, x, [good, _]| gated(t, Activation::Silu, good, x);
    let q: Run<'_> = &|t, x, [k, v]| attention(t, [x, k, v], shape, &sequences);
    let v: Run<'_> = &|t, x, [q, k]| attention(t, [q, k, x], shape, &sequences);
    let x_hat: Run<'_> = &|t, x, _| loract_autograd::ops::norm(t, &x, &norm, &[Site::Norm, Site::AttnIn]);
    let segment: Run<'_> = &|t, x, _| t.segment(Site::CkptLayer, x, Box::new(|_, x| Ok(x)));
    for words in ["q4", "q2:sym:sr", "rqb:2+q4"] {
        for (site, col, run) in [
            (Site::AttnOut, 4, out),
            (Site::ActFn, 4, gate),
            (Site::ActFn, 4, up),
            (Site::AttnQkv, 4, q),
            (Site::AttnQkv, 4, v),
            // One NaN makes its whole row of x̂ NaN.
            (Site::Norm, 0, x_hat),
            (Site::CkptLayer, 4, segment),
        ] {
            let mut policy = everywhere(form(words));
            if site == Site::CkptLayer {
                policy.recompute = Recompute::Layer;
            }
            let mut tape = Tape::new(memory, policy, StepKey::default());
            tape.set_layer(Some(3));
            let mut x = Matrix::random(m, n, 1);
            x.numbers[11 * n + 4] = f32::NAN;
            let good = [2, 3].map(|seed| tape.input(Matrix::random(m, n, seed).tensor(memory), true));
            let x = tape.input(x.tensor(memory), true);
            match run(&mut tape, x, good) {
                Err(Error::NonFinite { site: s, layer, row, col: c, .. }) => {
                    assert_eq!((s, layer, row, c), (site, Some(3), 11, col), "{words}");
                }
                other => panic!("{words} at {site}: {:?}", other.map(|_| "kept")),
            }
        }
    }
    Ok(())
}
