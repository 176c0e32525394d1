//! Recomputed segments: the same forward and the same gradients as when everything is kept, for less memory.

use loract_autograd::ops::{Activation, Linear, Norm, add, dropout, gated, linear, norm};
use loract_autograd::{
    Category, Compress, Frozen, Grads, Memory, Param, Phase, Policy, Precision, Rank, Recompute, SavedKind, Site, Tape,
    Values, Var, Weight,
};

use crate::harness::{KEY, Matrix, Result, assert_close, compressed, lora, param, random, recomputing, rms, wide};

const M: usize = 90;
const N: usize = 16;
const F: usize = 40;
const R: usize = 2;

/// x + drop(down(swiglu(gate(norm x), up(norm x)))), with LoRA and its dropout on each projection.
struct Block {
    norm: Norm,
    gate: Linear,
    up: Linear,
    down: Linear,
}

impl Block {
    fn new(memory: &Memory) -> Result<Self> {
        let linear = |outputs: usize, inputs: usize, tag| -> Result<Linear> {
            let numbers: Vec<f32> = random(outputs * inputs, tag).iter().map(|x| 0.3 * x).collect();
            let mut pair = lora(memory, inputs, outputs, R, 0.2);
            pair.tag = tag;
            Ok(Linear {
                weight: Weight::Frozen(Frozen::from_f32(memory, outputs, inputs, &numbers)?),
                bias: None,
                lora: Some(pair),
            })
        };
        let norm = rms(Values::Trained(param(memory, "norm", 1, N, 1)));
        Ok(Self { norm, gate: linear(F, N, 10)?, up: linear(F, N, 11)?, down: linear(N, F, 12)? })
    }

    fn mlp<'m>(&'m self, tape: &mut Tape<'m>, h: &Var) -> Result<Var> {
        let gate = linear(tape, h, &self.gate, Site::MlpIn)?;
        let up = linear(tape, h, &self.up, Site::MlpIn)?;
        let a = gated(tape, Activation::Silu, gate, up)?;
        let y = linear(tape, &a, &self.down, Site::MlpOut)?;
        dropout(tape, y, 0.2, 13)
    }

    /// As a model does it: the layer is a segment, and so is the MLP within; the policy says which of them is one.
    fn forward<'m>(&'m self, tape: &mut Tape<'m>, x: Var) -> Result<Var> {
        tape.segment(
            Site::CkptLayer,
            x,
            Box::new(|tape, x| {
                let consumer = if tape.recomputes(Site::CkptMlp) { Site::CkptMlp } else { Site::MlpIn };
                let h = norm(tape, &x, &self.norm, &[Site::Norm, consumer])?;
                let y = tape.segment(Site::CkptMlp, h, Box::new(|tape, h| self.mlp(tape, &h)))?;
                add(tape, x, &y)
            }),
        )
    }

    fn params(&self) -> impl Iterator<Item = &Param> {
        let pairs = [&self.gate, &self.up, &self.down].into_iter().filter_map(|l| l.lora.as_ref());
        self.norm.weight.as_ref().and_then(Values::trained).into_iter().chain(pairs.flat_map(|l| l.params()))
    }
}

struct Run {
    output: Vec<f32>,
    gradients: Vec<Vec<f32>>,
    /// Kept when forward ends.
    saved: Vec<(Category, usize)>,
    saved_bytes: usize,
    peak_bytes: usize,
    peak_phase: Phase,
}

fn run(blocks: &[Block], memory: &Memory, x_needs_grad: bool, policy: Policy) -> Result<Run> {
    let ledger = memory.ledger();
    ledger.reset_peak();
    let mut grads = Grads::new();
    let mut tape = Tape::new(memory, policy, KEY);
    let mut x = tape.input(Matrix::random(M, N, 2).tensor(memory), x_needs_grad);
    let id = x.id();
    for (layer, block) in blocks.iter().enumerate() {
        tape.set_layer(Some(layer));
        x = block.forward(&mut tape, x)?;
    }
    let output = x.tensor().to_vec();
    let saved = ledger.live().into_iter().filter(|(c, _)| matches!(c, Category::Saved(..))).collect();
    let saved_bytes = ledger.saved_bytes();
    let dy = memory.tensor(M, N, random(M * N, 3), Category::Transient);
    let last = x.id();
    drop(x);
    let mut inputs = tape.backward(last, dy, &mut grads)?;
    let input = inputs.take(id);
    assert_eq!(input.is_some(), x_needs_grad);
    let of = |p: &Param| grads.get(p).unwrap_or_else(|| panic!("no gradient of {}", p.name())).to_vec();
    let params = blocks.iter().flat_map(Block::params).map(of);
    let gradients = input.iter().map(|g| g.to_vec()).chain(params).collect();
    drop((input, inputs));
    assert_eq!(ledger.activation_bytes(), 0, "activations left after backward");
    let peak = ledger.peak();
    Ok(Run { output, gradients, saved, saved_bytes, peak_bytes: peak.activation_bytes, peak_phase: peak.phase })
}

fn blocks(memory: &Memory, count: usize) -> Result<Vec<Block>> {
    (0..count).map(|_| Block::new(memory)).collect()
}

#[test]
fn recomputing_changes_no_bit_and_lowers_the_peak() -> Result {
    let memory = Memory::new();
    let blocks = blocks(&memory, 4)?;
    for x_needs_grad in [true, false] {
        let whole = run(&blocks, &memory, x_needs_grad, Policy::exact())?;
        assert!(whole.gradients.iter().all(|g| g.iter().any(|&x| x != 0.0)));
        for recompute in [Recompute::Layer, Recompute::Sublayer] {
            let got = run(&blocks, &memory, x_needs_grad, recomputing(recompute))?;
            assert_eq!(got.output, whole.output, "{recompute:?}: forward");
            assert_eq!(got.gradients, whole.gradients, "{recompute:?}: gradients");
            assert!(got.saved_bytes < whole.saved_bytes, "{recompute:?}");
            assert!(got.peak_bytes < whole.peak_bytes, "{recompute:?}: {} {}", got.peak_bytes, whole.peak_bytes);
        }
    }
    let peak = run(&blocks, &memory, true, recomputing(Recompute::Layer))?;
    assert!(matches!(peak.peak_phase, Phase::Recompute | Phase::Backward), "{:?}", peak.peak_phase);
    Ok(())
}

/// Kept with 4 layers, by hand: the inputs alone, and x̂ (shared by norm and segment) with the row statistics.
#[test]
fn a_segment_keeps_its_input_only() -> Result {
    let memory = Memory::new();
    let count = 4;
    let blocks = blocks(&memory, count)?;
    let k = 3;
    let sizes = [(SavedKind::Exact, 4 * M * N), (SavedKind::LowRank, 4 * k * (M + N))];
    for (kind, size) in sizes {
        let policy = |recompute| match kind {
            SavedKind::Exact => recomputing(recompute),
            _ => Policy { recompute, ..compressed(Compress::Rqb, Rank::Count(k)) },
        };
        let layer = run(&blocks, &memory, true, policy(Recompute::Layer))?;
        assert_eq!(layer.saved, [(Category::Saved(Site::CkptLayer, kind), count * size)]);
        let sublayer = run(&blocks, &memory, true, policy(Recompute::Sublayer))?;
        let statistics = (Category::Saved(Site::RowStats, SavedKind::Exact), count * 4 * M);
        assert_eq!(sublayer.saved, [(Category::Saved(Site::Norm, kind), count * size), statistics]);
    }
    Ok(())
}

/// Full rank: the recomputed layers run from rebuilt inputs that differ by rounding only, each layer from its own.
#[test]
fn compressed_inputs_of_full_rank_give_the_exact_gradients() -> Result {
    let memory = Memory::new();
    let blocks = blocks(&memory, 3)?;
    let whole = run(&blocks, &memory, true, Policy::exact())?;
    let want: Vec<_> = whole.gradients.iter().map(|g| wide(g)).collect();
    for recompute in [Recompute::None, Recompute::Layer, Recompute::Sublayer, Recompute::Factored] {
        for compress in [Compress::Rqb, Compress::Gauss] {
            let policy = Policy { recompute, ..compressed(compress, Rank::Fraction { num: 1, den: 1 }) };
            let got = run(&blocks, &memory, true, policy)?;
            assert_eq!(got.output, whole.output, "{recompute:?} {compress:?}: forward");
            // Rebuilding is two products with sums of up to F, a layer's backward eight more; three layers.
            let tolerance = 30.0 * F as f64 * f64::from(f32::EPSILON);
            assert_close(&format!("{recompute:?} {compress:?}"), &got.gradients, &want, tolerance);
        }
    }
    Ok(())
}

#[test]
fn operands_are_rounded_in_a_segment_as_outside() -> Result {
    let memory = Memory::new();
    let blocks = blocks(&memory, 3)?;
    let of = |precision, recompute| run(&blocks, &memory, true, Policy { precision, recompute, ..Policy::exact() });
    let (plain, rounded) = (of(Precision::F32, Recompute::None)?, of(Precision::Bf16, Recompute::None)?);
    for recompute in [Recompute::Layer, Recompute::Sublayer] {
        let again = of(Precision::Bf16, recompute)?;
        assert_eq!((&again.output, &again.gradients), (&rounded.output, &rounded.gradients), "{recompute:?}");
    }
    // 8 bits of each operand, in three layers and back.
    for (plain, rounded) in plain.gradients.iter().zip(&rounded.gradients).chain([(&plain.output, &rounded.output)]) {
        let length = |x: &mut dyn Iterator<Item = f32>| x.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        let apart = length(&mut plain.iter().zip(rounded).map(|(x, y)| x - y)) / length(&mut plain.iter().copied());
        assert!(apart > 1e-5 && apart < 0.03, "{apart}");
    }
    Ok(())
}

#[test]
fn compressed_recomputation_is_deterministic() -> Result {
    let memory = Memory::new();
    let blocks = blocks(&memory, 2)?;
    for recompute in [Recompute::None, Recompute::Layer, Recompute::Sublayer, Recompute::Factored] {
        let policy = || Policy { recompute, ..compressed(Compress::Rqb, Rank::Count(4)) };
        let (first, second) = (run(&blocks, &memory, true, policy())?, run(&blocks, &memory, true, policy())?);
        assert_eq!(first.gradients, second.gradients, "{recompute:?}");
    }
    Ok(())
}

/// A segment with nothing trained in it and nothing below keeps nothing and gives no gradient.
#[test]
fn a_frozen_segment_keeps_nothing() -> Result {
    let memory = Memory::new();
    let settings = rms(Values::frozen(&memory, random(N, 1)));
    let mut tape = Tape::new(&memory, recomputing(Recompute::Layer), KEY);
    let x = tape.input(Matrix::random(M, N, 2).tensor(&memory), false);
    let y = tape.segment(Site::CkptLayer, x, Box::new(|tape, x| norm(tape, &x, &settings, &[Site::Norm])))?;
    assert!(!y.needs_grad());
    assert_eq!(memory.ledger().saved_bytes(), 0);
    Ok(())
}
