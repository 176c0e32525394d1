//! Whatever the form, gradients are those of the op at the activations that the form rebuilds, and tend to the exact ones.

use std::sync::Arc;

use loract_autograd::ops::{Activation, AttentionShape, Linear, Mask, Norm, add, linear};
use loract_autograd::{Category, Form, Frozen, Grads, Memory, Policy, Site, Tape, Values, Weight};
use loract_testkit::oracle;
use loract_testkit::spectrum::{Spectrum, with_spectrum};

use crate::harness::{Case, EPS, KEY, Matrix, Op, Result, assert_close, everywhere, lora, param, random, rms, wide};
use crate::kept::{form, forms, keep, probe, saved, seen};

/// Rows, and columns of outputs, so that an orthogonal dy shows everything.
const N: usize = 48;
/// Features of a head of attention, which has 4 heads of q and 2 of k and v.
const D: usize = 12;

/// Numbers of order 1 whose spectrum falls.
fn falling(rows: usize, cols: usize, seed: u64) -> Matrix {
    let (mut numbers, ..) = with_spectrum(rows, cols, Spectrum::Power(0.7), seed);
    let norm = numbers.iter().map(|x| x * x).sum::<f32>().sqrt();
    let scale = ((rows * cols) as f32).sqrt() / norm;
    numbers.iter_mut().for_each(|x| *x *= scale);
    Matrix { rows, cols, numbers }
}

/// Every op that keeps something, for m rows; and where it keeps its inputs.
fn cases(m: usize) -> Result<Vec<(Case, Site)>> {
    let memory = &Memory::new();
    let layer = |dropout| -> Result<Linear> {
        let weight = Weight::Frozen(Frozen::from_f32(memory, N, N, &random(N * N, 1))?);
        Ok(Linear { weight, bias: None, lora: Some(lora(memory, N, N, 3, dropout)) })
    };
    let input = |cols, seed| falling(m, cols, seed);
    let linear = |dropout| -> Result<Op> { Ok(Op::Linear { layer: layer(dropout)?, mask: None }) };
    let norm = Op::Norm { norm: rms(Values::Trained(param(memory, "weight", 1, N, 2))) };
    let sequences: Arc<[_]> = [0..m / 3, m / 3..m].into();
    let attention = |shape| Op::Attention { shape, sequences: Arc::clone(&sequences) };
    let capped = AttentionShape { softcap: Some(0.7), mask: Mask::None, ..AttentionShape::causal(4, 2, D) };
    let qkv = || vec![input(N, 5), input(N / 2, 6), input(N / 2, 7)];
    let terms = m + N;
    Ok([
        ("linear", linear(0.0)?, vec![input(N, 1)], Site::AttnOut),
        ("linear with dropout", linear(0.3)?, vec![input(N, 1)], Site::AttnOut),
        ("norm", norm, vec![input(N, 2)], Site::Norm),
        ("swiglu", Op::Gated(Activation::Silu), vec![input(N, 3), input(N, 4)], Site::ActFn),
        ("gelu", Op::Activate(Activation::Gelu), vec![input(N, 3)], Site::ActFn),
        ("attention", attention(AttentionShape::causal(4, 2, D)), qkv(), Site::AttnQkv),
        ("attention, capped, of all", attention(capped), qkv(), Site::AttnQkv),
    ]
    .into_iter()
    .map(|(name, op, inputs, site)| (Case { name, op, inputs, terms }, site))
    .collect())
}

fn orthogonal() -> Vec<f32> {
    with_spectrum(N, N, Spectrum::Flat, 40).0
}

/// Gradients of inputs, then of parameters, and what was kept of each input (of a norm: of its output).
fn through(case: &Case, site: Site, form: Form) -> Result<(Vec<Vec<f32>>, Vec<Matrix>)> {
    let memory = Memory::new();
    let probes: Vec<_> = case.inputs.iter().map(|x| probe(&memory, N, x.cols)).collect();
    let (mut tape, mut grads) = (Tape::new(&memory, everywhere(form), KEY), Grads::new());
    let inputs: Vec<_> = case.inputs.iter().map(|x| tape.input(x.tensor(&memory), true)).collect();
    let mut out = case.op.run(&mut tape, inputs.clone())?;
    let shown = if site == Site::Norm { vec![out.clone()] } else { inputs.clone() };
    for (x, probe) in shown.iter().zip(&probes) {
        let z = linear(&mut tape, x, probe, site)?;
        out = add(&mut tape, out, &z)?;
    }
    let dy = memory.tensor(N, N, orthogonal(), Category::Transient);
    let mut got = tape.backward(out.id(), dy, &mut grads)?;
    let inputs = inputs.iter().map(|x| got.take(x.id()).expect("an input wants a gradient").to_vec());
    let params = case.op.params().into_iter().map(|p| grads.get(p).expect("a parameter is trained").to_vec());
    let gradients = inputs.chain(params).collect();
    let dy = wide(&orthogonal());
    let kept = probes.iter().zip(&case.inputs).map(|(probe, x)| {
        let numbers = oracle::times_transposed(&dy, &oracle::transpose(&wide(&seen(&grads, probe)), x.cols), N);
        Matrix { rows: N, cols: x.cols, numbers: numbers.iter().map(|&x| x as f32).collect() }
    });
    Ok((gradients, kept.collect()))
}

/// dx and dw of the norm for dy, when x̂ is kept as y/w.
fn norm_gradients(x: &Matrix, y: &Matrix, weight: &Values) -> [Vec<f64>; 2] {
    let (w, dy) = (wide(&weight.value().to_vec()), wide(&orthogonal()));
    let (mut dx, mut dw) = (Vec::new(), vec![0.0; N]);
    for ((x, y), dy) in x.numbers.chunks_exact(N).zip(y.numbers.chunks_exact(N)).zip(dy.chunks_exact(N)) {
        let x_hat: Vec<f64> = y.iter().zip(&w).map(|(y, w)| f64::from(*y) / w).collect();
        let rstd = (wide(x).iter().map(|x| x * x).sum::<f64>() / N as f64 + f64::from(EPS)).sqrt().recip();
        let g = oracle::product(dy, &w);
        let mean = oracle::product(&g, &x_hat).iter().sum::<f64>() / N as f64;
        dx.extend(g.iter().zip(&x_hat).map(|(g, h)| rstd * (g - h * mean)));
        dw = oracle::add(&dw, &oracle::product(dy, &x_hat));
    }
    [dx, dw]
}

#[test]
fn gradients_are_those_at_the_rebuilt_activations() -> Result {
    for (case, site) in cases(N)? {
        // Rebuilding is two products with sums of N, the op's backward up to four.
        let tolerance = 8.0 * case.tolerance();
        let exact = case.run(Policy::exact(), KEY, &orthogonal(), true)?.gradients;
        for (words, form) in forms(6) {
            let what = format!("{} {words}", case.name);
            let (got, kept) = through(&case, site, form)?;
            for (x, kept) in case.inputs.iter().zip(&kept).filter(|_| site != Site::Norm) {
                let lost = oracle::relative_error(&kept.numbers, &wide(&x.numbers));
                assert!(lost > 1e-4 || form == Form::Exact, "{what}: {lost}");
            }
            if let Op::Norm { norm: Norm { weight: Some(weight), .. } } = &case.op {
                let want = norm_gradients(&case.inputs[0], &kept[0], weight);
                let least = wide(&weight.value().to_vec()).iter().fold(1.0f64, |least, w| least.min(w.abs()));
                // x̂ = y/w magnifies the rounding of y.
                assert_close(&what, &got, &want, tolerance / least);
                continue;
            }
            let rebuilt =
                Case { inputs: kept, ..cases(N)?.into_iter().find(|(c, _)| c.name == case.name).expect("it").0 };
            let at_rebuilt = rebuilt.run(Policy::exact(), KEY, &orthogonal(), true)?.gradients;
            match &case.op {
                Op::Linear { .. } => {
                    // dx and dB do not depend on what is kept of x.
                    assert_eq!((&got[0], &got[2]), (&exact[0], &exact[2]), "{what}");
                    assert_close(&what, &got[1..2], &[wide(&at_rebuilt[1])], tolerance);
                }
                _ => {
                    let want: Vec<_> = at_rebuilt.iter().map(|g| wide(g)).collect();
                    assert_close(&what, &got, &want, tolerance);
                }
            }
        }
    }
    Ok(())
}

#[test]
fn gradients_tend_to_the_exact_ones() -> Result {
    let rows = 80;
    let ladders: [&[&str]; 7] = [
        &["q2", "q3", "q4", "q8", "bf16"],
        &["q2:sym:sr", "q3:sym:sr", "q4:sym:sr", "q8:sym:sr"],
        &["rqb:4:f32", "rqb:24:f32", "rqb:48:f32"],
        &["gauss:4:f32", "gauss:24:f32", "gauss:48:f32"],
        &["tsvd:4:f32", "tsvd:24:f32", "tsvd:48:f32"],
        &["rsvd:4", "rsvd:24", "rsvd:48:f32"],
        &["rqb:4", "rqb:4+q2", "rqb:4+q4", "rqb:24:f32+q4", "rqb:24:f32+q8"],
    ];
    for (case, _) in cases(rows)? {
        let dy = random(rows * N, 6);
        let exact: Vec<f64> = wide(&case.run(Policy::exact(), KEY, &dy, false)?.gradients.concat());
        for ladder in ladders {
            let mut last = f64::INFINITY;
            for words in ladder {
                let got = case.run(everywhere(form(words)), KEY, &dy, false)?;
                let error = oracle::relative_error(&got.gradients.concat(), &exact);
                assert!(error < 0.9 * last, "{} {words}: {error} after {last}", case.name);
                last = error;
                if words.contains(":48") {
                    // Of full rank for q, x, gate and x̂ (k and v have 24 features, and are so too).
                    assert!(error <= 8.0 * case.tolerance(), "{} {words}: {error}", case.name);
                }
            }
        }
    }
    Ok(())
}

/// Rows of P sum to 1 whatever q and k have become: Σ_j dv_j = Σ_i dy_i, and no gradient moves all keys of a sequence
/// together.
#[test]
fn approximate_queries_and_keys_leave_rows_of_p_a_distribution() -> Result {
    let (case, _) = cases(N)?.into_iter().find(|(case, _)| case.name == "attention").expect("it");
    let dy = random(N * N, 6);
    let sums = |numbers: &[f64], cols: usize, rows: std::ops::Range<usize>| {
        let rows = numbers[rows.start * cols..rows.end * cols].chunks_exact(cols);
        rows.fold(vec![0.0; cols], |sum, row| oracle::add(&sum, row))
    };
    let largest = |numbers: &[f32]| numbers.iter().fold(0.0f64, |m, &x| m.max(f64::from(x).abs()));
    let [q, _, v] = &case.inputs[..] else { unreachable!("q, k, v") };
    // A row of dS = P·(dP − ΣP·dP) sums to 0 up to the rounding of sums of N numbers of the size of dP = dy·vᵀ, and is
    // multiplied by q. Quantised numbers are up to twice as large.
    let d = D as f64;
    let bound = (N * N) as f64
        * 4.0
        * f64::from(f32::EPSILON)
        * d.sqrt()
        * largest(&dy)
        * largest(&v.numbers)
        * largest(&q.numbers);
    for (words, form) in forms(6) {
        let got = case.run(everywhere(form), KEY, &dy, false)?.gradients;
        for rows in [0..N / 3, N / 3..N] {
            let of_k = sums(&wide(&got[1]), N / 2, rows.clone());
            let worst = of_k.iter().fold(0.0f64, |m, x| m.max(x.abs()));
            assert!(worst <= bound, "{words}: {worst} over the keys, bound {bound}");
            let (of_v, of_dy) = (sums(&wide(&got[2]), N / 2, rows.clone()), sums(&wide(&dy), N, rows));
            // Heads 0 and 1 share the first key head.
            for (at, got) in of_v.iter().enumerate() {
                let first = at / D * 2 * D + at % D;
                let want = of_dy[first] + of_dy[first + D];
                assert!((got - want).abs() <= bound, "{words}: {got} against {want}");
            }
        }
    }
    Ok(())
}

/// A tensor that is needed more finely than it is kept is kept again; more coarsely, it is shared.
#[test]
fn a_coarser_form_does_not_stand_in_for_a_finer_one() -> Result {
    let memory = Memory::new();
    let forms = ["rqb:3", "q2", "rqb:3+q2", "q8:sym", "bf16", "exact"].map(form);
    for (at, first) in forms.into_iter().enumerate() {
        for (second, again) in forms.into_iter().zip(0..).map(|(form, other)| (form, other > at)) {
            let layers = [probe(&memory, N, N), probe(&memory, N, N)];
            let policy = Policy { forms: [(Site::AttnIn, first), (Site::MlpIn, second)].into(), ..Policy::exact() };
            let mut tape = Tape::new(&memory, policy, KEY);
            let x = tape.input(Matrix::random(N, N, 1).tensor(&memory), false);
            linear(&mut tape, &x, &layers[0], Site::AttnIn)?;
            linear(&mut tape, &x, &layers[1], Site::MlpIn)?;
            let kept = saved(&memory.ledger().live());
            assert_eq!(kept.keys().any(|(site, _)| *site == Site::MlpIn), again, "{first} then {second}");
        }
    }
    Ok(())
}

#[test]
fn a_tensor_of_lower_rank_than_asked_keeps_what_it_has() -> Result {
    let (rows, cols) = (96, 40);
    // Three columns that are not 0: of rank 3 whatever is rounded.
    let mut numbers = random(rows * cols, 5);
    numbers.iter_mut().enumerate().filter(|(i, _)| i % cols >= 3).for_each(|(_, x)| *x = 0.0);
    let x = Matrix { rows, cols, numbers };
    let kept = keep(&x, form("rqb:8:f32"), KEY)?;
    assert_eq!(kept.bytes, 4 * 3 * (rows + cols), "counted as kept, not as planned");
    let error = oracle::relative_error(&kept.numbers, &wide(&x.numbers));
    assert!(error < 1e-5, "{error}");
    Ok(())
}
