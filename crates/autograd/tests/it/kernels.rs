//! Sizes beyond one panel of a widened weight, one chunk of logits, one tile of rows, one buffer of the pool: too large for
//! differences, so checked by linearity and against smaller runs.

use loract_autograd::ops::{Activation, AttentionShape, Head, Linear, Mask, Norm, NormKind, Targets, cross_entropy};
use loract_autograd::{
    Bytes, Category, Compress, DType, Frozen, Grads, Memory, Param, Policy, Rank, StepKey, Tape, Values, Weight,
    to_bf16_bytes,
};
use loract_testkit::oracle;

use crate::harness::{
    Case, EPS, KEY, Matrix, Op, OwnedHead, Result, assert_close, compressed, lora, param, random, rms, wide,
};

/// 300 rows of 8192: three panels of 128 output rows, the last one short.
#[test]
fn weights_of_several_panels() -> Result {
    let memory = Memory::new();
    let (m, inputs, outputs) = (3, 8192, 300);
    let bytes = Bytes::owned(to_bf16_bytes(&random(outputs * inputs, 1)));
    let weight = Weight::Frozen(Frozen::new(&memory, DType::Bf16, outputs, inputs, bytes)?);
    let op = Op::Linear { layer: Linear { weight, bias: None, lora: None }, mask: None };
    let case = Case { name: "panels", op, inputs: vec![Matrix::random(m, inputs, 2)], terms: inputs };
    let dy = case.seed();
    let got = case.run(Policy::exact(), KEY, &dy, false)?;
    assert_close("panels", &[got.output], &[case.op.oracle(&case.args())], case.tolerance());
    let Op::Linear { layer: Linear { weight: Weight::Frozen(w), .. }, .. } = &case.op else {
        unreachable!("made above")
    };
    let want = oracle::times_transposed(&wide(&dy), &oracle::transpose(&wide(&w.to_f32()), inputs), outputs);
    assert_close("panels dx", &got.gradients, &[want], case.tolerance());
    Ok(())
}

/// A vocabulary of 2²⁰ makes chunks of 8 rows: 19 rows in three chunks equal the same rows in three calls of one chunk.
#[test]
fn logits_of_several_chunks() -> Result {
    let memory = Memory::new();
    let (m, cols, vocabulary) = (19u32, 2, 1 << 20);
    let weight = param(&memory, "head", vocabulary, cols, 3);
    let (weight, bias) = (Weight::Trained(weight), Values::Trained(param(&memory, "bias", 1, vocabulary, 5)));
    let head = Head { bias: Some(&bias), scale: 0.8, softcap: Some(1.5), ..Head::plain(&weight) };
    let x = Matrix::random(m as usize, cols, 4);
    let run = |rows: std::ops::Range<u32>| -> Result<_> {
        let targets = Targets { tokens: rows.clone().map(|row| row * 50_000).collect(), rows: rows.collect() };
        let (mut tape, mut grads) = (Tape::new(&memory, Policy::exact(), StepKey::default()), Grads::new());
        let x = tape.input(x.tensor(&memory), true);
        let id = x.id();
        let out = cross_entropy(&mut tape, x, head, &targets)?;
        let dy = memory.tensor(1, 1, vec![0.5], Category::Transient);
        let dx = tape.backward(out.loss.id(), dy, &mut grads)?.take(id).expect("x wants a gradient");
        let of = |param: Option<&Param>| param.and_then(|p| grads.get(p)).expect("the head is trained").to_vec();
        Ok((out.nll, dx.to_vec(), of(weight.trained()), of(bias.trained())))
    };
    let (nll, dx, of_weight, of_bias) = run(0..m)?;
    let parts = [run(0..8)?, run(8..16)?, run(16..m)?];
    assert_eq!(nll, parts.iter().flat_map(|p| p.0.clone()).collect::<Vec<_>>());
    let sum = |parts: [&Vec<f32>; 3]| {
        let [a, b, c] = parts.map(|part| wide(part));
        oracle::add(&oracle::add(&a, &b), &c)
    };
    let [a, b, c] = &parts;
    let want = [sum([&a.1, &b.1, &c.1]), sum([&a.2, &b.2, &c.2]), sum([&a.3, &b.3, &c.3])];
    // Sums of 19 rows at most, and 8 as ever.
    assert_close("chunks", &[dx, of_weight, of_bias], &want, 27.0 * f64::from(f32::EPSILON));
    Ok(())
}

const M: usize = 600;
const N: usize = 32;

/// Everything trained; W and A have 4096 numbers, so that the pool takes their gradients back.
fn all_trained(memory: &Memory, dropout: f32) -> Op {
    let weight = Weight::Trained(param(memory, "weight", 128, N, 1));
    let bias = Some(Values::Trained(param(memory, "bias", 1, 128, 2)));
    let layer = Linear { weight, bias, lora: Some(lora(memory, N, 128, 128, dropout)) };
    Op::Linear { layer, mask: None }
}

fn norm(memory: &Memory) -> Op {
    Op::Norm { norm: rms(Values::Trained(param(memory, "norm", 1, N, 3))) }
}

/// LayerNorm of groups of `width`, with weight and bias.
fn layer_norm(memory: &Memory, width: usize) -> Op {
    let weight = Some(Values::Trained(param(memory, "norm", 1, width, 3)));
    let bias = Some(Values::Trained(param(memory, "bias", 1, width, 4)));
    Op::Norm { norm: Norm { kind: NormKind::Layer, width, eps: EPS, offset: 0.5, weight, bias } }
}

/// Rows of these ops do not see each other: 600 rows (several tiles) equal three times 200 (one tile), exactly kept and as
/// factors that lose nothing.
#[test]
fn many_rows_equal_the_same_rows_in_parts() -> Result {
    const PART: usize = 200;
    let memory = Memory::new();
    let x = |seed| Matrix::of_rank(3, M, N, seed);
    for (name, op, inputs) in [
        ("linear", all_trained(&memory, 0.0), vec![x(1)]),
        ("norm", norm(&memory), vec![x(2)]),
        ("layer norm", layer_norm(&memory, N), vec![x(2)]),
        ("layer norm of heads", layer_norm(&memory, 8), vec![x(2)]),
        ("weigh_rows", Op::WeighRows, vec![x(2), Matrix::random(M, 1, 3)]),
        ("swiglu", Op::Gated(Activation::Silu), vec![x(3), x(4)]),
        ("gelu", Op::Activate(Activation::Gelu), vec![x(3)]),
        ("add", Op::Add, vec![x(3), x(4)]),
    ] {
        let count = inputs.len();
        let mut case = Case { name, op, inputs, terms: M };
        let dy = case.seed();
        let whole = case.inputs.clone();
        let (mut output, mut gradients): (Vec<f64>, Vec<Vec<f64>>) = Default::default();
        for (part, dy) in dy.chunks_exact(dy.len() * PART / M).enumerate() {
            let rows = part * PART * N..(part + 1) * PART * N;
            let cut = |x: &Matrix| Matrix {
                rows: PART,
                cols: x.cols,
                numbers: x.numbers[rows.start / N * x.cols..rows.end / N * x.cols].to_vec(),
            };
            case.inputs = whole.iter().map(cut).collect();
            let got = case.run(Policy::exact(), KEY, dy, false)?;
            output.extend(wide(&got.output));
            gradients.resize(got.gradients.len(), Vec::new());
            for (at, (sum, gradient)) in gradients.iter_mut().zip(&got.gradients).enumerate() {
                if at < count || sum.is_empty() {
                    sum.extend(wide(gradient));
                } else {
                    *sum = oracle::add(sum, &wide(gradient));
                }
            }
        }
        case.inputs = whole;
        // x̂ of heads is of a higher rank than x.
        let rank = if name.ends_with("heads") { N } else { 6 };
        for policy in [Policy::exact(), compressed(Compress::Rqb, Rank::Count(rank))] {
            let got = case.run(policy, KEY, &dy, false)?;
            assert_close(name, &[got.output], std::slice::from_ref(&output), case.tolerance());
            assert_close(name, &got.gradients, &gradients, case.tolerance());
        }
    }
    Ok(())
}

/// NaN in every buffer of the pool must not show in a run that gets these buffers.
#[test]
fn what_earlier_tensors_left_in_memory_is_never_read() -> Result {
    let model = Memory::new();
    let x = |cols, seed| Matrix::random(M, cols, seed);
    let shape = AttentionShape {
        softcap: Some(2.0),
        mask: Mask::Causal { window: Some(100) },
        ..AttentionShape::causal(8, 4, 4)
    };
    let attention = Op::Attention { shape, sequences: [0..250, 250..M].into() };
    let head = OwnedHead {
        bias: Some(Values::Trained(param(&model, "bias", 1, 128, 5))),
        softcap: Some(2.0),
        ..OwnedHead::plain(Weight::Trained(param(&model, "head", 128, N, 4)))
    };
    let targets = Targets { rows: (0..M as u32).step_by(2).collect(), tokens: (0..300).map(|i| i % 128).collect() };
    let cross_entropy = Op::CrossEntropy { head, targets };
    for (name, op, inputs) in [
        ("linear", all_trained(&model, 0.0), vec![x(N, 1)]),
        ("linear dropout", all_trained(&model, 0.2), vec![x(N, 1)]),
        ("norm", norm(&model), vec![x(N, 2)]),
        ("swiglu", Op::Gated(Activation::Silu), vec![x(N, 3), x(N, 4)]),
        ("gelu", Op::Activate(Activation::Gelu), vec![x(N, 3)]),
        ("slice", Op::Slice { columns: 0..N, of: N }, vec![x(N, 3)]),
        ("clamp", Op::Clamp { limit: 0.5 }, vec![x(N, 3)]),
        ("add", Op::Add, vec![x(N, 3), x(N, 4)]),
        ("rope", Op::rope(vec![0.1; 4], (0..M as u32).map(|i| i % 60)), vec![x(N, 5)]),
        ("attention", attention, vec![x(32, 6), x(16, 7), x(16, 8)]),
        ("cross_entropy", cross_entropy, vec![x(N, 9)]),
    ] {
        let len = if name == "cross_entropy" { 1 } else { M * if name.starts_with("linear") { 128 } else { N } };
        let dy = random(len, 5);
        let case = Case { name, op, inputs, terms: M };
        for policy in [Policy::exact(), compressed(Compress::Rqb, Rank::Count(6))] {
            let fresh = case.run(policy.clone(), KEY, &dy, false)?;
            let memory = Memory::new();
            // Of every size that these ops take from the pool, more than they hold at once; then all free.
            let sizes = [M * N, M * 128, 128 * N, 128 * 128, M / 2 * 128, M / 2 * N, M * 16, M * 8];
            let broken = |len| memory.tensor(1, len, vec![f32::NAN; len], Category::Transient);
            drop((0..6).flat_map(|_| sizes.map(broken)).collect::<Vec<_>>());
            assert_eq!(case.run_in(&memory, policy, KEY, &dy, false)?, fresh, "{name}");
            if name == "cross_entropy" {
                let mut odd_rows = fresh.gradients[0].chunks_exact(N).skip(1).step_by(2).flatten();
                assert!(odd_rows.all(|&g| g == 0.0), "rows that are not trained have no gradient");
            }
        }
    }
    Ok(())
}
