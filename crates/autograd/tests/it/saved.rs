//! Compression that loses something (k below the rank): gradients are those of the rebuilt activation, and nothing else
//! changes; the same key gives the same bits.

use loract_autograd::ops::{Activation, Linear, add, gated, linear, norm};
use loract_autograd::{
    Category, Compress, Frozen, Grads, Memory, Param, Policy, Rank, Site, StepKey, Tape, Values, Weight,
};
use loract_testkit::oracle;
use loract_testkit::spectrum::{Spectrum, with_spectrum};

use crate::harness::{Case, EPS, KEY, Matrix, Op, Result, assert_close, compressed, lora, param, random, rms, wide};

const N: usize = 24;
const K: usize = 6;

/// Rounding of chains of a few products with sums of N, in f32.
const TOLERANCE: f64 = 8.0 * N as f64 * f32::EPSILON as f64;

fn frozen(memory: &Memory, rows: usize, cols: usize) -> Result<Weight> {
    Ok(Weight::Frozen(Frozen::from_f32(memory, rows, cols, &random(rows * cols, 9))?))
}

/// A trained W of zeros, N×N: adds nothing to the output or to dx, but its gradient dyᵀ·x̃ shows what was kept of x.
fn probe(memory: &Memory) -> Linear {
    let weight = Param::new(memory, "probe", N, N, vec![0.0; N * N]);
    Linear { weight: Weight::Trained(weight), bias: None, lora: None }
}

/// An orthogonal dy (N×N), so that x̃ = dy·(dyᵀ·x̃).
fn orthogonal() -> Vec<f32> {
    with_spectrum(N, N, Spectrum::Flat, 40).0
}

/// x̃ (N×N), from the gradient of the probe.
fn rebuilt(grads: &Grads, probe: &Linear) -> Vec<f64> {
    let gradient = probe.weight.trained().and_then(|p| grads.get(p)).expect("the probe is trained");
    oracle::times_transposed(&wide(&orthogonal()), &oracle::transpose(&wide(&gradient.to_vec()), N), N)
}

fn assert_compressed(what: &str, rebuilt: &[f64], x: &[f32]) {
    let error = oracle::relative_error(x, rebuilt);
    assert!(error > 0.1, "{what}: compression to {K} of {N} must lose something, error {error}");
}

#[test]
fn linear_uses_the_rebuilt_input_for_a_and_w_only() -> Result {
    let memory = Memory::new();
    let x = Matrix::random(N, N, 1);
    let layer = Linear { weight: frozen(&memory, N, N)?, bias: None, lora: Some(lora(&memory, N, N, 3, 0.0)) };
    let pair = layer.lora.as_ref().expect("given above");
    let probe = probe(&memory);
    let run = |policy| -> Result<_> {
        let (mut tape, mut grads) = (Tape::new(&memory, policy, KEY), Grads::new());
        let x = tape.input(x.tensor(&memory), true);
        let y = linear(&mut tape, &x, &layer, Site::AttnIn)?;
        let z = linear(&mut tape, &x, &probe, Site::AttnIn)?;
        let out = add(&mut tape, y, &z)?;
        let dy = memory.tensor(N, N, orthogonal(), Category::Transient);
        let dx = tape.backward(out.id(), dy, &mut grads)?.take(x.id()).expect("x wants a gradient");
        let of = |p| grads.get(p).expect("A and B are trained").to_vec();
        let [a, b] = [pair.a.trained().expect("A is trained"), &pair.b].map(of);
        Ok((dx.to_vec(), a, b, rebuilt(&grads, &probe)))
    };
    let exact = run(Policy::exact())?;
    let got = run(compressed(Compress::Rqb, Rank::Count(K)))?;
    assert_eq!((&got.0, &got.2), (&exact.0, &exact.2), "dx and dB do not depend on the form of x");
    assert_compressed("linear", &got.3, &x.numbers);
    // dA = gᵀ·x̃ with g = s·dy·B.
    let b = wide(&pair.b.value().to_vec());
    let g = oracle::times_transposed(&wide(&orthogonal()), &oracle::transpose(&b, 3), N);
    let g: Vec<f64> = g.iter().map(|g| g * f64::from(pair.scale)).collect();
    assert_close("dA", &[got.1], &[oracle::transposed_times(&g, 3, &got.3, N)], TOLERANCE);
    Ok(())
}

#[test]
fn norm_uses_the_rebuilt_x_hat() -> Result {
    let memory = Memory::new();
    let x = Matrix::random(N, N, 2);
    let (settings, probe) = (rms(Values::Trained(param(&memory, "weight", 1, N, 3))), probe(&memory));
    let weight = settings.weight.as_ref().expect("given above");
    let (mut tape, mut grads) = (Tape::new(&memory, compressed(Compress::Gauss, Rank::Count(K)), KEY), Grads::new());
    let input = tape.input(x.tensor(&memory), true);
    let y = norm(&mut tape, &input, &settings, &[Site::Norm, Site::AttnIn])?;
    let z = linear(&mut tape, &y, &probe, Site::AttnIn)?;
    let out = add(&mut tape, y, &z)?;
    let dy = memory.tensor(N, N, orthogonal(), Category::Transient);
    let dx = tape.backward(out.id(), dy, &mut grads)?.take(input.id()).expect("x wants a gradient");
    let dw = weight.trained().and_then(|w| grads.get(w)).expect("the weight is trained");

    let w = wide(&weight.value().to_vec());
    // The probe saw x̂·diag(w).
    let x_hat: Vec<f64> =
        rebuilt(&grads, &probe).chunks_exact(N).flat_map(|row| row.iter().zip(&w).map(|(y, w)| y / w)).collect();
    assert_compressed(
        "x̂",
        &x_hat,
        &oracle::rms_norm(&wide(&x.numbers), &[1.0; N], f64::from(EPS)).iter().map(|&x| x as f32).collect::<Vec<_>>(),
    );
    let (numbers, dy) = (wide(&x.numbers), wide(&orthogonal()));
    let rows = numbers.chunks_exact(N).zip(x_hat.chunks_exact(N)).zip(dy.chunks_exact(N)).flat_map(|((x, h), dy)| {
        let rstd = 1.0 / (x.iter().map(|x| x * x).sum::<f64>() / N as f64 + f64::from(EPS)).sqrt();
        let g = oracle::product(dy, &w);
        let mean = oracle::product(&g, h).iter().sum::<f64>() / N as f64;
        g.iter().zip(h).map(|(g, h)| rstd * (g - h * mean)).collect::<Vec<_>>()
    });
    // x̂ was divided by w, whose smallest element magnifies its rounding.
    let least = w.iter().fold(f64::MAX, |least, w| least.min(w.abs()));
    assert_close(
        "dx, dw",
        &[dx.to_vec(), dw.to_vec()],
        &[rows.collect(), column_sums(&oracle::product(&dy, &x_hat))],
        TOLERANCE / least.min(1.0),
    );
    Ok(())
}

fn column_sums(a: &[f64]) -> Vec<f64> {
    oracle::transpose(a, N).chunks_exact(N).map(|column| column.iter().sum()).collect()
}

#[test]
fn swiglu_uses_the_rebuilt_gate_and_up() -> Result {
    let memory = Memory::new();
    let inputs = [Matrix::random(N, N, 3), Matrix::random(N, N, 4)];
    let probes = [probe(&memory), probe(&memory)];
    let (mut tape, mut grads) = (Tape::new(&memory, compressed(Compress::Rqb, Rank::Count(K)), KEY), Grads::new());
    let [gate, up] = inputs.each_ref().map(|x| tape.input(x.tensor(&memory), true));
    let mut out = gated(&mut tape, Activation::Silu, gate.clone(), up.clone())?;
    for (x, probe) in [&gate, &up].into_iter().zip(&probes) {
        let z = linear(&mut tape, x, probe, Site::ActFn)?;
        out = add(&mut tape, out, &z)?;
    }
    let dy = memory.tensor(N, N, orthogonal(), Category::Transient);
    let mut got = tape.backward(out.id(), dy, &mut grads)?;
    let got = [&gate, &up].map(|x| got.take(x.id()).expect("gate and up want gradients").to_vec());
    let [g, u] = probes.each_ref().map(|probe| rebuilt(&grads, probe));
    assert_compressed("gate", &g, &inputs[0].numbers);
    assert_compressed("up", &u, &inputs[1].numbers);
    let sigma: Vec<f64> = g.iter().map(|g| 1.0 / (1.0 + (-g).exp())).collect();
    let slope: Vec<f64> = g.iter().zip(&sigma).map(|(g, s)| s * (1.0 + g * (1.0 - s))).collect();
    let dy = wide(&orthogonal());
    let want = [oracle::product(&oracle::product(&dy, &u), &slope), oracle::product(&oracle::product(&dy, &g), &sigma)];
    assert_close("dgate, dup", &got, &want, TOLERANCE);
    Ok(())
}

/// Gate and up of equal numbers are sampled independently: a poor draw for one is not one for the other.
#[test]
fn two_saves_at_one_site_draw_other_samples() -> Result {
    let memory = Memory::new();
    let (x, probes) = (Matrix::random(N, N, 3), [probe(&memory), probe(&memory)]);
    let (mut tape, mut grads) = (Tape::new(&memory, compressed(Compress::Rqb, Rank::Count(K)), KEY), Grads::new());
    let pair = [(); 2].map(|()| tape.input(x.tensor(&memory), true));
    let mut out = gated(&mut tape, Activation::Silu, pair[0].clone(), pair[1].clone())?;
    for (x, probe) in pair.iter().zip(&probes) {
        let z = linear(&mut tape, x, probe, Site::ActFn)?;
        out = add(&mut tape, out, &z)?;
    }
    let dy = memory.tensor(N, N, orthogonal(), Category::Transient);
    tape.backward(out.id(), dy, &mut grads)?;
    assert_ne!(rebuilt(&grads, &probes[0]), rebuilt(&grads, &probes[1]));
    Ok(())
}

/// Tall x: x̃ = x·P with a projector P, so dA is projected: the part that is lost is orthogonal to the part that is kept,
/// row by row, and it is at most ‖g‖·‖x − x̃‖.
#[test]
fn dropping_directions_projects_the_gradient_of_a() -> Result {
    let memory = Memory::new();
    let (m, r) = (60, 3);
    for spectrum in [Spectrum::Flat, Spectrum::Power(1.0)] {
        let (numbers, ..) = with_spectrum(m, N, spectrum, 5);
        let pair = lora(&memory, N, 10, r, 0.0);
        let layer = Linear { weight: frozen(&memory, 10, N)?, bias: None, lora: Some(pair) };
        let op = Op::Linear { layer, mask: None };
        let case = Case { name: "projected", op, inputs: vec![Matrix { rows: m, cols: N, numbers }], terms: m + N };
        let dy = case.seed();
        let exact = case.run(Policy::exact(), KEY, &dy, false)?;
        let got = case.run(compressed(Compress::Rqb, Rank::Count(K)), KEY, &dy, false)?;
        let [exact_a, kept] = [&exact, &got].map(|o| wide(&o.gradients[1]));
        assert_eq!((&exact.gradients[0], &exact.gradients[2]), (&got.gradients[0], &got.gradients[2]), "dx and dB");
        let lost: Vec<f64> = exact_a.iter().zip(&kept).map(|(e, k)| e - k).collect();
        let norm = |a: &[f64]| a.iter().map(|a| a * a).sum::<f64>().sqrt();
        assert!(norm(&lost) > 1e-3 * norm(&exact_a), "something must be lost");
        let inner = norm(&oracle::times_transposed(&kept, &lost, N));
        assert!(inner <= case.tolerance() * norm(&exact_a).powi(2), "{inner}");
    }
    Ok(())
}

#[test]
fn the_same_key_gives_the_same_bits_and_another_other_factors() -> Result {
    let memory = Memory::new();
    let linear = |dropout| -> Result<Op> {
        let lora = Some(lora(&memory, N, 10, 3, dropout));
        Ok(Op::Linear { layer: Linear { weight: frozen(&memory, 10, N)?, bias: None, lora }, mask: None })
    };
    let x = |seed| Matrix::random(60, N, seed);
    for (name, op, inputs) in [
        ("linear", linear(0.0)?, vec![x(1)]),
        ("linear dropout", linear(0.4)?, vec![x(1)]),
        ("norm", Op::Norm { norm: rms(Values::Trained(param(&memory, "w", 1, N, 2))) }, vec![x(2)]),
        ("swiglu", Op::Gated(Activation::Silu), vec![x(3), x(4)]),
    ] {
        let case = Case { name, op, inputs, terms: 60 };
        let dy = random(case.inputs[0].rows * if name.starts_with("linear") { 10 } else { N }, 6);
        for compress in [Compress::Rqb, Compress::Gauss] {
            let run = |key| case.run(compressed(compress, Rank::Count(K)), key, &dy, false);
            let first = run(KEY)?;
            assert_eq!(first, run(KEY)?, "{name}");
            for other in [StepKey { seed: 8, ..KEY }, StepKey { step: 4, ..KEY }, StepKey { micro_batch: 2, ..KEY }] {
                assert_ne!(first.gradients, run(other)?.gradients, "{name} {other:?}");
            }
        }
    }
    Ok(())
}
