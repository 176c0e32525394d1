//! Every op except attention: forward and gradients of all inputs and trained parameters against the oracle, with what
//! it keeps in every form.

use loract_autograd::ops::{Activation, Linear, Norm, NormKind, RopePairs, Shares, Targets, add, dropout, linear};
use loract_autograd::{
    Bytes, Category, Compress, DType, Frozen, Grads, Memory, Param, Policy, Rank, SavedKind, Site, Tape, Values,
    Weight, to_bf16_bytes,
};

use crate::expert::Expert;
use crate::harness::{
    Case, EPS, KEY, Matrix, Op, OwnedHead, Result, assert_close, compressed, lora, param, random, rms,
};

/// Rank of the inputs of a thin case, and the rank asked of the compression: more, so that it is exact.
const THIN: usize = 3;
const ASKED: usize = 6;

/// Numbers for 8-bit blocks: scale 1/64 and each a different integer.
fn q8_0(memory: &Memory, rows: usize, cols: usize) -> Result<Frozen> {
    let mut bytes = Vec::new();
    for block in 0..rows * cols / 32 {
        bytes.extend_from_slice(&half::f16::from_f32(1.0 / 64.0).to_le_bytes());
        bytes.extend((0..32).map(|i| ((block * 57 + i * 29) % 256) as u8));
    }
    Frozen::new(memory, DType::Q8_0, rows, cols, Bytes::owned(bytes))
}

fn frozen(memory: &Memory, dtype: DType, rows: usize, cols: usize) -> Result<Weight> {
    let numbers = random(rows * cols, 31);
    Ok(Weight::Frozen(match dtype {
        DType::Q8_0 => q8_0(memory, rows, cols)?,
        DType::Bf16 => Frozen::new(memory, dtype, rows, cols, Bytes::owned(to_bf16_bytes(&numbers)))?,
        _ => Frozen::from_f32(memory, rows, cols, &numbers)?,
    }))
}

fn trained(memory: &Memory, rows: usize, cols: usize) -> Weight {
    Weight::Trained(param(memory, "weight", rows, cols, 32))
}

fn trained_vector(memory: &Memory, len: usize) -> Values {
    Values::Trained(param(memory, "vector", 1, len, 33))
}

/// What dropout with `tag` 5 on an m×n input multiplies by: seen through a LoRA pair of identities on ones.
fn lora_mask(m: usize, n: usize, probability: f32) -> Result<Vec<f64>> {
    let memory = Memory::new();
    let identity = |name| Param::new(&memory, name, n, n, (0..n * n).map(|i| f32::from(i % (n + 1) == 0)).collect());
    let mut pair = lora(&memory, n, n, n, probability);
    (pair.a, pair.b, pair.scale) = (Values::Trained(identity("a")), identity("b"), 1.0);
    let weight = Weight::Frozen(Frozen::from_f32(&memory, n, n, &vec![0.0; n * n])?);
    let layer = Linear { weight, bias: None, lora: Some(pair) };
    let mut tape = Tape::new(&memory, Policy::exact(), KEY);
    let ones = tape.input(memory.tensor(m, n, vec![1.0; m * n], Category::Transient), false);
    let y = linear(&mut tape, &ones, &layer, Site::AttnOut)?;
    Ok(y.tensor().to_vec().into_iter().map(f64::from).collect())
}

fn dropout_mask(m: usize, n: usize, probability: f32) -> Result<Vec<f64>> {
    let memory = Memory::new();
    let mut tape = Tape::new(&memory, Policy::exact(), KEY);
    let ones = tape.input(memory.tensor(m, n, vec![1.0; m * n], Category::Transient), false);
    let y = dropout(&mut tape, ones, probability, 9)?;
    Ok(y.tensor().to_vec().into_iter().map(f64::from).collect())
}

/// Norms of every kind, with the features of their rows.
fn norms(memory: &Memory) -> Vec<(&'static str, usize, Norm)> {
    let frozen = |len, seed| Values::frozen(memory, random(len, seed));
    let trained = |len| Some(trained_vector(memory, len));
    let bias = |len| Some(Values::Trained(param(memory, "bias", 1, len, 36)));
    let plain = |kind, width| Norm { kind, width, eps: EPS, offset: 0.0, weight: None, bias: None };
    let (rms, layer) = (|width| plain(NormKind::Rms, width), |width| plain(NormKind::Layer, width));
    vec![
        ("rms", 32, Norm { weight: Some(frozen(32, 35)), ..rms(32) }),
        ("rms trained", 32, Norm { weight: trained(32), ..rms(32) }),
        ("rms odd width", 19, Norm { weight: trained(19), ..rms(19) }),
        ("rms of heads", 32, Norm { weight: trained(8), ..rms(8) }),
        ("rms of heads, a number a feature", 32, Norm { weight: trained(32), ..rms(8) }),
        ("rms, offset", 32, Norm { weight: trained(32), offset: 1.0, ..rms(32) }),
        ("rms of heads, offset", 32, Norm { weight: Some(frozen(8, 35)), offset: 1.0, ..rms(8) }),
        ("rms without weight", 32, rms(32)),
        ("rms of heads without weight", 32, rms(8)),
        ("rms, bias alone", 32, Norm { bias: bias(32), ..rms(32) }),
        ("layer", 32, Norm { weight: trained(32), bias: bias(32), ..layer(32) }),
        ("layer odd width", 19, Norm { weight: trained(19), bias: bias(19), ..layer(19) }),
        ("layer frozen", 32, Norm { weight: Some(frozen(32, 35)), bias: Some(frozen(32, 36)), ..layer(32) }),
        ("layer without bias", 32, Norm { weight: trained(32), ..layer(32) }),
        ("layer without weight", 32, layer(32)),
        ("layer, offset", 32, Norm { weight: trained(32), offset: 1.0, bias: bias(32), ..layer(32) }),
        ("layer of heads", 32, Norm { weight: trained(8), bias: bias(8), ..layer(8) }),
        ("layer of heads, a number a feature", 32, Norm { weight: trained(32), bias: bias(32), ..layer(8) }),
        ("layer of heads, weight and bias of two lengths", 32, Norm { weight: trained(32), bias: bias(8), ..layer(8) }),
        ("layer of heads without weight", 32, layer(8)),
    ]
}

/// All cases; with `thin`, activations are of exactly that rank.
fn cases(thin: Option<usize>) -> Result<Vec<Case>> {
    let memory = &Memory::new();
    let input = |rows, cols, seed| match thin {
        None => Matrix::random(rows, cols, seed),
        Some(rank) => Matrix::of_rank(rank, rows, cols, seed),
    };
    let (m, n, out, r, p) = (70, 32, 20, 3, 0.3);
    let plain = |weight| Linear { weight, bias: None, lora: None };
    let with_lora = |dtype, dropout| -> Result<Linear> {
        Ok(Linear { lora: Some(lora(memory, n, out, r, dropout)), ..plain(frozen(memory, dtype, out, n)?) })
    };
    let mut cases = Vec::new();
    let mut case = |name, terms, inputs, op| cases.push(Case { name, terms, inputs, op });
    let mut linear = |name, layer, mask| case(name, m + n, vec![input(m, n, 1)], Op::Linear { layer, mask });
    linear("linear f32", plain(frozen(memory, DType::F32, out, n)?), None);
    linear("linear bf16", plain(frozen(memory, DType::Bf16, out, n)?), None);
    linear("linear q8_0", plain(frozen(memory, DType::Q8_0, out, n)?), None);
    linear("linear trained", plain(trained(memory, out, n)), None);
    let bias = Some(trained_vector(memory, out));
    linear("linear trained bias", Linear { bias, ..plain(frozen(memory, DType::F32, out, n)?) }, None);
    let bias = Some(Values::frozen(memory, random(out, 34)));
    linear("linear lora, frozen bias", Linear { bias, ..with_lora(DType::Bf16, 0.0)? }, None);
    let everything = Linear {
        weight: trained(memory, out, n),
        bias: Some(trained_vector(memory, out)),
        lora: Some(lora(memory, n, out, r, 0.0)),
    };
    linear("linear all trained", everything, None);
    linear("linear lora dropout", with_lora(DType::Q8_0, p)?, Some(lora_mask(m, n, p)?));
    // Fewer rows than features: compression works on the other side. One row.
    for (name, m) in [("linear lora wide", 24), ("linear lora one row", 1)] {
        let op = Op::Linear { layer: with_lora(DType::F32, 0.0)?, mask: None };
        case(name, m + n, vec![input(m, n, 2)], op);
    }
    for (name, cols, norm) in norms(memory) {
        // Each head has a factor of its own, so that x̂ is of a higher rank than x.
        if thin.is_none() || norm.width == cols {
            case(name, cols / norm.width * m, vec![input(m, cols, 3)], Op::Norm { norm });
        }
    }
    for (name, top_k, shares) in [
        ("experts, shares of all", 2, Shares::OfAll),
        ("experts, shares of the chosen", 2, Shares::OfChosen),
        ("one expert a row", 1, Shares::OfAll),
        ("every expert", 4, Shares::OfChosen),
    ] {
        // What the experts keep is of a higher rank than x.
        if thin.is_none() {
            let experts = (0..4).map(|seed| Expert::new(memory, 12, 10, seed)).collect::<Result<_>>()?;
            let mut logits = input(24, 4, 12);
            if top_k < 4 {
                // Nobody's choice.
                logits.numbers.iter_mut().skip(2).step_by(4).for_each(|z| *z = -9.0);
            }
            case(name, 24 + 12, vec![input(24, 12, 11), logits], Op::Experts { experts, top_k, shares });
        }
    }
    case("weigh_rows", n, vec![input(m, n, 4), Matrix::random(m, 1, 5)], Op::WeighRows);
    for (gated, alone, activation) in [
        ("swiglu", "silu", Activation::Silu),
        ("geglu", "gelu", Activation::Gelu),
        ("geglu by tanh", "gelu by tanh", Activation::GeluTanh),
        ("quick geglu", "quick gelu", Activation::QuickGelu),
        ("reglu", "relu", Activation::Relu),
    ] {
        case(gated, 1, vec![input(m, n, 4), input(m, n, 5)], Op::Gated(activation));
        case(alone, 1, vec![input(m, n, 4)], Op::Activate(activation));
    }
    case("add", 1, vec![input(m, n, 4), input(m, n, 5)], Op::Add);
    case("slice", 1, vec![input(m, n, 4)], Op::Slice { columns: 3..20, of: n });
    case("scale", 1, vec![input(m, n, 4)], Op::Scale { factor: -1.7 });
    case("clamp", 1, vec![input(m, n, 4)], Op::Clamp { limit: 0.6 });
    case("dropout", 1, vec![input(m, n, 6)], Op::Dropout { probability: p, mask: dropout_mask(m, n, p)? });
    let positions: Vec<u32> = (0..40).chain(0..30).collect();
    for (name, head_dim, pairs, amplitude) in [
        ("rope", 8, RopePairs::Halves, 1.0),
        ("rope of neighbours", 8, RopePairs::Neighbours, 1.3),
        ("rope of a part", n, RopePairs::Halves, 0.7),
    ] {
        let (frequencies, positions) = (vec![1.0, 0.1, 0.01, 0.003], positions.clone().into());
        case(name, 2, vec![input(m, n, 7)], Op::Rope { frequencies, head_dim, pairs, amplitude, positions });
    }
    let ids = vec![3, 0, 3, 16, 5, 3];
    case("embedding trained", ids.len(), vec![], Op::Embedding { table: trained(memory, 17, 8), ids });
    // Rows 0, 2, 5–6 and 8 are not trained.
    let targets = Targets { rows: vec![1, 3, 4, 7], tokens: vec![10, 0, 16, 10] };
    for (name, head) in [
        ("cross_entropy frozen f32", frozen(memory, DType::F32, 17, n)?),
        ("cross_entropy frozen bf16", frozen(memory, DType::Bf16, 17, n)?),
        ("cross_entropy trained", trained(memory, 17, n)),
    ] {
        let head = OwnedHead::plain(head);
        case(name, 17 + n, vec![input(9, n, 8)], Op::CrossEntropy { head, targets: targets.clone() });
    }
    let bias = || Some(trained_vector(memory, 17));
    let plain = |weight| OwnedHead::plain(weight);
    for (name, head) in [
        ("cross_entropy scaled", OwnedHead { scale: 0.3, ..plain(trained(memory, 17, n)) }),
        ("cross_entropy capped", OwnedHead { softcap: Some(2.5), ..plain(trained(memory, 17, n)) }),
        ("cross_entropy trained bias", OwnedHead { bias: bias(), ..plain(frozen(memory, DType::Bf16, 17, n)?) }),
        (
            "cross_entropy frozen bias, scaled and capped",
            OwnedHead {
                bias: Some(Values::frozen(memory, random(17, 34))),
                scale: 0.6,
                softcap: Some(3.0),
                ..plain(frozen(memory, DType::F32, 17, n)?)
            },
        ),
        (
            "cross_entropy all of it, all trained",
            OwnedHead { bias: bias(), scale: -0.6, softcap: Some(3.0), ..plain(trained(memory, 17, n)) },
        ),
    ] {
        case(name, 17 + n, vec![input(9, n, 8)], Op::CrossEntropy { head, targets: targets.clone() });
    }
    let head = OwnedHead { bias: bias(), softcap: Some(1.0), ..plain(trained(memory, 17, n)) };
    let nothing = Op::CrossEntropy { head, targets: Targets::default() };
    case("cross_entropy nothing trained", 1, vec![input(9, n, 8)], nothing);
    Ok(cases)
}

#[test]
fn forward_and_gradients_equal_the_oracle() -> Result {
    for case in cases(None)? {
        let dy = case.seed();
        let got = case.run(Policy::exact(), KEY, &dy, false)?;
        let tolerance = case.tolerance();
        assert_close(case.name, std::slice::from_ref(&got.output), &[case.op.oracle(&case.args())], tolerance);
        // Backward is a chain of up to four such sums (LoRA's dx: dy·B, ·A, dy·W, and the sum).
        assert_close(case.name, &got.gradients, &case.numeric_gradients(&dy), 4.0 * tolerance);
        assert!(!got.kinds.contains(&SavedKind::LowRank), "{}", case.name);
        // An input that somebody holds is not written over, and nothing else changes.
        assert_eq!(got, case.run(Policy::exact(), KEY, &dy, true)?, "{}", case.name);
    }
    Ok(())
}

/// Full rank on activations of any rank, and rank 6 on activations of rank 3: the factors lose nothing but rounding.
#[test]
fn factors_of_sufficient_rank_give_the_exact_gradients() -> Result {
    let full = Rank::Fraction { num: 1, den: 1 };
    for (thin, rank) in [(None, full), (Some(THIN), Rank::Count(ASKED))] {
        for case in cases(thin)? {
            let dy = case.seed();
            let exact = case.run(Policy::exact(), KEY, &dy, false)?;
            let numeric = case.numeric_gradients(&dy);
            for compress in [Compress::Rqb, Compress::Gauss] {
                let what = format!("{} {compress:?} {rank}", case.name);
                let got = case.run(compressed(compress, rank), KEY, &dy, false)?;
                assert_eq!(got.output, exact.output, "{what}: forward must not depend on the policy");
                let x = case.inputs.first();
                let shrinks = x.is_some_and(|x| x.rows > if thin.is_some() { ASKED } else { x.cols });
                let factored = case.op.keeps_compressible() && shrinks;
                assert_eq!(got.kinds.contains(&SavedKind::LowRank), factored, "{what}");
                if !factored {
                    assert_eq!(got.gradients, exact.gradients, "{what}");
                    continue;
                }
                // Rebuilding adds two products: A·Q with sums of n, U·V with sums of k ≤ n.
                let n = x.map_or(0, |x| x.cols.max(x.rows)) as f64;
                let tolerance = 4.0 * (case.tolerance() + 2.0 * n * f64::from(f32::EPSILON));
                assert_close(&what, &got.gradients, &numeric, tolerance);
            }
        }
    }
    Ok(())
}

#[test]
fn dropout_masks_are_zero_or_the_inverse_of_what_is_kept() -> Result {
    let (m, n, p) = (100, 64, 0.25);
    for mask in [dropout_mask(m, n, p)?, lora_mask(m, n, p)?] {
        let kept = mask.iter().filter(|&&x| x != 0.0).count() as f64;
        assert!(mask.iter().all(|&x| x == 0.0 || x == f64::from(1.0 / (1.0 - p))));
        // Six standard deviations of a binomial count.
        let (expected, deviation) = (6400.0 * 0.75, (6400.0f64 * 0.75 * 0.25).sqrt());
        assert!((kept - expected).abs() <= 6.0 * deviation, "{kept} kept, {expected} expected");
    }
    Ok(())
}

/// No rows (an empty micro-batch after dropping): every op gives empty outputs and zero gradients.
#[test]
fn no_rows_are_no_special_case() -> Result {
    let memory = Memory::new();
    let empty = |cols| Matrix { rows: 0, cols, numbers: Vec::new() };
    let experts = (0..3).map(|seed| Expert::new(&memory, 12, 10, seed)).collect::<Result<_>>()?;
    let layer = Linear {
        weight: frozen(&memory, DType::Bf16, 20, 32)?,
        bias: Some(trained_vector(&memory, 20)),
        lora: Some(lora(&memory, 32, 20, 3, 0.1)),
    };
    for (name, inputs, op) in [
        ("linear", vec![empty(32)], Op::Linear { layer, mask: None }),
        ("norm", vec![empty(8)], Op::Norm { norm: rms(trained_vector(&memory, 8)) }),
        ("swiglu", vec![empty(8), empty(8)], Op::Gated(Activation::Silu)),
        ("gelu", vec![empty(8)], Op::Activate(Activation::Gelu)),
        ("experts", vec![empty(12), empty(3)], Op::Experts { experts, top_k: 2, shares: Shares::OfChosen }),
        ("weigh_rows", vec![empty(8), empty(1)], Op::WeighRows),
        ("add", vec![empty(8), empty(8)], Op::Add),
        ("slice", vec![empty(8)], Op::Slice { columns: 2..5, of: 8 }),
        ("scale", vec![empty(8)], Op::Scale { factor: 2.0 }),
        ("clamp", vec![empty(8)], Op::Clamp { limit: 0.5 }),
        ("rope", vec![empty(8)], Op::rope(vec![1.0; 4], [])),
        ("embedding", vec![], Op::Embedding { table: trained(&memory, 5, 8), ids: vec![] }),
    ] {
        let case = Case { name, op, inputs, terms: 0 };
        let got = case.run(compressed(Compress::Rqb, Rank::Count(2)), KEY, &[], false)?;
        assert!(got.output.is_empty(), "{name}");
        assert!(got.gradients.iter().flatten().all(|&g| g == 0.0), "{name}");
    }
    Ok(())
}

/// Activations that are all zero compress to rank 0.
#[test]
fn zero_activations_compress_and_give_zero_gradients() -> Result {
    for mut case in cases(None)?.into_iter().filter(|case| case.op.keeps_compressible()) {
        case.inputs.iter_mut().for_each(|x| x.numbers.fill(0.0));
        let dy = case.seed();
        let exact = case.run(Policy::exact(), KEY, &dy, false)?;
        assert_eq!(case.run(compressed(Compress::Rqb, Rank::Count(4)), KEY, &dy, false)?.gradients, exact.gradients);
    }
    Ok(())
}

/// A value used twice gets the sum of both gradients, whichever op adds it.
#[test]
fn gradients_of_a_value_used_twice_add_up() -> Result {
    let memory = Memory::new();
    let (m, n) = (12, 8);
    let square = || Linear { weight: trained(&memory, n, n), bias: None, lora: None };
    let x = Matrix::random(m, n, 1);
    for op in [
        Op::Linear { layer: square(), mask: None },
        Op::Norm { norm: rms(trained_vector(&memory, n)) },
        Op::rope(vec![0.5; 4], 0..12),
        Op::Slice { columns: 0..n, of: n },
        Op::Scale { factor: 0.5 },
        Op::Clamp { limit: 0.5 },
        Op::Dropout { probability: 0.5, mask: Vec::new() },
    ] {
        let case = Case { name: "alone", op, inputs: vec![x.clone()], terms: n };
        let dy = random(m * n, 3);
        let alone = case.run(Policy::exact(), KEY, &dy, false)?;
        let mut tape = Tape::new(&memory, Policy::exact(), KEY);
        let x = tape.input(x.tensor(&memory), true);
        let y = case.op.run(&mut tape, vec![x.clone()])?;
        let z = add(&mut tape, y, &x)?;
        let w = add(&mut tape, z, &x)?;
        let seed = memory.tensor(m, n, dy.clone(), Category::Transient);
        let gradient = tape.backward(w.id(), seed, &mut Grads::new())?.take(x.id()).expect("x wants a gradient");
        let want = alone.gradients[0].iter().zip(&dy).map(|(g, d)| f64::from(*g) + 2.0 * f64::from(*d));
        assert_close("used thrice", &[gradient.to_vec()], &[want.collect()], case.tolerance());
    }
    Ok(())
}
