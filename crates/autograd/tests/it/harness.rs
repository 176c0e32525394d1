//! An op with its weights, run on a tape and by the oracle.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use loract_autograd::ops::{
    Activation, AttentionShape, Head, Linear, Lora, Mask, Norm, NormKind, RopePairs, RopeTable, Shares, Targets,
    activate, add, attention, clamp, cross_entropy, dropout, embedding, experts, gated, linear, norm, rope, route,
    scale, slice, weigh_rows,
};
use loract_autograd::{
    Category, Compress, Error, FactorType, Factored, Form, Grads, Memory, Param, Policy, Rank, Recompute, SavedKind,
    Site, StepKey, Tape, Tensor, Values, Var, Weight,
};
use loract_testkit::oracle;
use loract_testkit::spectrum::{Spectrum, with_spectrum};

use crate::expert::{self, Expert};
use crate::vision_op::Vision;

pub type Result<T = ()> = std::result::Result<T, Error>;

pub const EPS: f32 = 1e-5;
pub const KEY: StepKey = StepKey { seed: 7, step: 3, micro_batch: 1 };

/// `len` numbers uniform in [−1.5, 1.5), of which each `seed` gives others.
pub fn random(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    (0..len).map(|_| (3.0 * loract_testkit::uniform(&mut state) - 1.5) as f32).collect()
}

pub fn wide(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().map(|&x| f64::from(x)).collect()
}

/// An input of an op.
#[derive(Debug, Clone)]
pub struct Matrix {
    pub rows: usize,
    pub cols: usize,
    pub numbers: Vec<f32>,
}

impl Matrix {
    pub fn random(rows: usize, cols: usize, seed: u64) -> Self {
        Self { rows, cols, numbers: random(rows * cols, seed) }
    }

    /// Of exactly this rank (up to the rounding to f32), elements of order 1.
    pub fn of_rank(rank: usize, rows: usize, cols: usize, seed: u64) -> Self {
        let (mut numbers, ..) = with_spectrum(rows, cols, Spectrum::ExactRank(rank), seed);
        let scale = ((rows * cols) as f32 / rank as f32).sqrt();
        numbers.iter_mut().for_each(|x| *x *= scale);
        Self { rows, cols, numbers }
    }

    pub fn tensor(&self, memory: &Memory) -> Tensor {
        memory.tensor(self.rows, self.cols, self.numbers.clone(), Category::Transient)
    }
}

pub fn param(memory: &Memory, name: &str, rows: usize, cols: usize, seed: u64) -> Param {
    Param::new(memory, name, rows, cols, random(rows * cols, seed))
}

/// A LoRA pair of rank r; neither factor is zero, so no gradient is.
pub fn lora(memory: &Memory, inputs: usize, outputs: usize, r: usize, dropout: f32) -> Lora {
    let (a, b) = (param(memory, "a", r, inputs, 101), param(memory, "b", outputs, r, 102));
    Lora { a: Values::Trained(a), b, scale: 0.75, magnitude: None, dropout, tag: 5 }
}

/// Every compressible site compressed to f32 factors, nothing recomputed.
pub fn compressed(method: Compress, rank: Rank) -> Policy {
    let factors = Factored { method, rank, stored: FactorType::F32 };
    everywhere(if method == Compress::None { Form::Exact } else { Form::LowRank(factors) })
}

/// Every compressible site in one form, nothing recomputed.
pub fn everywhere(form: Form) -> Policy {
    Policy::uniform(Recompute::None, Site::COMPRESSIBLE, form)
}

pub fn recomputing(recompute: Recompute) -> Policy {
    Policy { recompute, ..Policy::exact() }
}

/// A head with its weights.
#[derive(Debug)]
pub struct OwnedHead {
    pub weight: Weight,
    pub bias: Option<Values>,
    pub scale: f32,
    pub softcap: Option<f32>,
}

impl OwnedHead {
    pub fn plain(weight: Weight) -> Self {
        Self { weight, bias: None, scale: 1.0, softcap: None }
    }

    pub fn head(&self) -> Head<'_> {
        Head { weight: &self.weight, bias: self.bias.as_ref(), scale: self.scale, softcap: self.softcap }
    }
}

/// RMSNorm by `weight`.
pub fn rms(weight: Values) -> Norm {
    Norm::rms(weight, EPS)
}

/// An op under test, with its weights and settings.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "a few values, each used once")]
pub enum Op {
    Embedding { table: Weight, ids: Vec<u32> },
    Linear { layer: Linear, mask: Option<Vec<f64>> },
    Norm { norm: Norm },
    Rope { frequencies: Vec<f64>, head_dim: usize, pairs: RopePairs, amplitude: f64, positions: Arc<[u32]> },
    Attention { shape: AttentionShape, sequences: Arc<[Range<usize>]> },
    Gated(Activation),
    Activate(Activation),
    Experts { experts: Vec<Expert>, top_k: usize, shares: Shares },
    WeighRows,
    Add,
    Slice { columns: Range<usize>, of: usize },
    Scale { factor: f32 },
    Clamp { limit: f32 },
    Dropout { probability: f32, mask: Vec<f64> },
    CrossEntropy { head: OwnedHead, targets: Targets },
    Vision(Vision),
}

impl Op {
    /// Whole heads turned by halves.
    pub fn rope(frequencies: Vec<f64>, positions: impl IntoIterator<Item = u32>) -> Self {
        let (head_dim, positions) = (2 * frequencies.len(), positions.into_iter().collect());
        Op::Rope { frequencies, head_dim, pairs: RopePairs::Halves, amplitude: 1.0, positions }
    }

    pub fn run<'m>(&'m self, tape: &mut Tape<'m>, inputs: Vec<Var>) -> Result<Var> {
        let mut inputs = inputs.into_iter();
        let mut next = || inputs.next().expect("as many inputs as the op takes");
        match self {
            Op::Embedding { table, ids } => embedding(tape, table, ids),
            Op::Linear { layer, .. } => linear(tape, &next(), layer, Site::AttnOut),
            Op::Norm { norm: settings } => norm(tape, &next(), settings, &[Site::Norm]),
            Op::Rope { frequencies, head_dim, pairs, amplitude, positions } => {
                // Half of the rows are turned by the second set.
                let twice: Vec<f64> = frequencies.iter().map(|frequency| 2.0 * frequency).collect();
                let table = RopeTable::new(60, *head_dim, *pairs, &[frequencies, &twice], *amplitude);
                let places = positions.iter().enumerate().map(|(i, &p)| p + 60 * (i as u32 % 2));
                rope(tape, next(), &Arc::new(table), &places.collect())
            }
            Op::Attention { shape, sequences } => attention(tape, [next(), next(), next()], *shape, sequences),
            Op::Gated(activation) => gated(tape, *activation, next(), next()),
            Op::Activate(activation) => activate(tape, *activation, next()),
            Op::Experts { experts: all, top_k, shares } => {
                let x = next();
                let routed = route(tape, &next(), *top_k, *shares)?;
                experts(tape, &x, &routed, &[Site::MlpIn], |tape, number, input| {
                    all[number].run(tape, &input.x, &input.weights, &[])
                })
            }
            Op::WeighRows => {
                let x = next();
                weigh_rows(tape, x, &next(), Site::ActFn)
            }
            Op::Add => {
                let x = next();
                add(tape, x, &next())
            }
            Op::Slice { columns, .. } => slice(tape, &next(), columns.clone()),
            Op::Scale { factor } => scale(tape, next(), *factor),
            Op::Clamp { limit } => clamp(tape, next(), *limit),
            Op::Dropout { probability, .. } => dropout(tape, next(), *probability, 9),
            Op::CrossEntropy { head, targets } => Ok(cross_entropy(tape, next(), head.head(), targets)?.loss),
            Op::Vision(op) => op.run(tape, &mut next),
        }
    }

    pub fn params(&self) -> Vec<&Param> {
        match self {
            Op::Embedding { table, .. } => table.trained().into_iter().collect(),
            Op::CrossEntropy { head, .. } => {
                let bias = head.bias.as_ref().and_then(Values::trained);
                head.weight.trained().into_iter().chain(bias).collect()
            }
            Op::Linear { layer, .. } => {
                let bias = layer.bias.as_ref().and_then(Values::trained);
                let pair = layer.lora.iter().flat_map(Lora::params);
                layer.weight.trained().into_iter().chain(bias).chain(pair).collect()
            }
            Op::Norm { norm } => [&norm.weight, &norm.bias].into_iter().flatten().filter_map(Values::trained).collect(),
            Op::Experts { experts, .. } => experts.iter().flat_map(Expert::params).collect(),
            Op::Vision(op) => op.params(),
            _ => Vec::new(),
        }
    }

    /// The output for the given inputs and trained parameters, in that order.
    pub fn oracle(&self, args: &[Vec<f64>]) -> Vec<f64> {
        let mut args = args.iter();
        let mut next = || args.next().expect("a value for each input and parameter").clone();
        match self {
            Op::Embedding { table, ids } => oracle::embedding(&weight(table, &mut next), table.cols(), ids),
            Op::Linear { layer, mask } => {
                let x = next();
                let w = weight(&layer.weight, &mut next);
                let bias = layer.bias.as_ref().map(|b| vector(b, &mut next));
                let pair = layer.lora.as_ref().map(|l| (next(), next(), l.a.value().rows(), f64::from(l.scale)));
                let mask = mask.as_deref();
                let pair =
                    pair.as_ref().map(|(a, b, rank, scale)| oracle::Lora { a, b, rank: *rank, scale: *scale, mask });
                oracle::linear(&x, layer.weight.cols(), &w, bias.as_deref(), pair)
            }
            Op::Norm { norm } => {
                let x = next();
                let weight = norm.weight.as_ref().map(|w| vector(w, &mut next));
                let bias = norm.bias.as_ref().map(|b| vector(b, &mut next));
                let x = match norm.kind {
                    NormKind::Rms => x,
                    NormKind::Layer => oracle::centred(&x, norm.width),
                };
                let mut y = oracle::rms_norm(&x, &vec![1.0; norm.width], f64::from(norm.eps));
                for w in weight.iter() {
                    y.iter_mut().zip(w.iter().cycle()).for_each(|(y, w)| *y *= w + f64::from(norm.offset));
                }
                for b in bias.iter() {
                    y.iter_mut().zip(b.iter().cycle()).for_each(|(y, b)| *y += b);
                }
                y
            }
            Op::Rope { frequencies, head_dim, pairs, amplitude, positions } => {
                let x = next();
                let cols = x.len() / positions.len();
                let turns = |i: usize| f64::from(positions[i]) * [1.0, 2.0][i % 2];
                let turns: Vec<f64> = (0..positions.len()).map(turns).collect();
                let neighbours = *pairs == RopePairs::Neighbours;
                let heads = oracle::Turned { head_dim: *head_dim, neighbours, amplitude: *amplitude };
                oracle::rope(&x, cols, frequencies, &turns, heads)
            }
            Op::Attention { shape, sequences } => {
                let AttentionShape { heads, kv_heads, head_dim, scale, softcap, mask } = *shape;
                let (scale, softcap) = (f64::from(scale), softcap.map(f64::from));
                let heads = oracle::Heads { heads, kv_heads, head_dim, scale, softcap };
                let sees = |query, key| sees(mask, query, key);
                oracle::attention([&next(), &next(), &next()], heads, sees, sequences)
            }
            Op::Gated(activation) => oracle::gated(function(*activation), &next(), &next()),
            Op::Activate(activation) => next().into_iter().map(function(*activation)).collect(),
            Op::Experts { experts, top_k, shares } => {
                let (x, logits) = (next(), next());
                expert::oracle(experts, *top_k, *shares, &x, &logits, &mut next)
            }
            Op::WeighRows => {
                let (x, w) = (next(), next());
                let cols = x.len() / w.len().max(1);
                x.iter().enumerate().map(|(i, x)| x * w[i / cols]).collect()
            }
            Op::Add => oracle::add(&next(), &next()),
            Op::Slice { columns, of } => {
                next().chunks_exact(*of).flat_map(|row| row[columns.clone()].to_vec()).collect()
            }
            Op::Scale { factor } => next().iter().map(|x| x * f64::from(*factor)).collect(),
            Op::Clamp { limit } => next().iter().map(|x| x.clamp(-f64::from(*limit), f64::from(*limit))).collect(),
            Op::Dropout { mask, .. } => oracle::product(&next(), mask),
            Op::CrossEntropy { head, targets } => {
                let x = next();
                let w = weight(&head.weight, &mut next);
                let bias = head.bias.as_ref().map(|b| vector(b, &mut next));
                let (scale, softcap) = (f64::from(head.scale), head.softcap.map(f64::from));
                let of = oracle::Head { weight: &w, bias: bias.as_deref(), scale, softcap };
                let nll = oracle::cross_entropy(&x, head.weight.cols(), of, &targets.rows, &targets.tokens);
                vec![nll.iter().sum()]
            }
            Op::Vision(op) => op.oracle(&mut next),
        }
    }

    /// Whether it keeps something that a policy may compress.
    pub fn keeps_compressible(&self) -> bool {
        match self {
            Op::Linear { layer, .. } => layer.lora.is_some() || layer.weight.trained().is_some(),
            Op::Norm { .. } | Op::Gated(_) | Op::Activate(_) | Op::Experts { .. } | Op::WeighRows => true,
            _ => false,
        }
    }
}

/// Whether a query of a sequence sees a key of it.
pub fn sees(mask: Mask, query: usize, key: usize) -> bool {
    match mask {
        Mask::None => true,
        Mask::Causal { window } => key <= query && window.is_none_or(|window| query - key < window),
    }
}

/// What an activation is by definition.
fn function(activation: Activation) -> fn(f64) -> f64 {
    match activation {
        Activation::Silu => oracle::silu,
        Activation::Gelu => oracle::gelu,
        Activation::GeluTanh => oracle::gelu_tanh,
        Activation::QuickGelu => oracle::quick_gelu,
        Activation::Relu => oracle::relu,
    }
}

pub fn weight(weight: &Weight, trained: &mut dyn FnMut() -> Vec<f64>) -> Vec<f64> {
    match weight {
        Weight::Frozen(frozen) => wide(&frozen.to_f32()),
        Weight::Trained(_) => trained(),
    }
}

pub fn vector(vector: &Values, trained: &mut dyn FnMut() -> Vec<f64>) -> Vec<f64> {
    match vector {
        Values::Frozen(frozen) => wide(&frozen.to_vec()),
        Values::Trained(_) => trained(),
    }
}

/// An op and its inputs.
#[derive(Debug)]
pub struct Case {
    pub name: &'static str,
    pub op: Op,
    pub inputs: Vec<Matrix>,
    /// The longest sum that an element of the output or of a gradient is made of.
    pub terms: usize,
}

/// What one run of a case gave.
#[derive(Debug, PartialEq)]
pub struct Outcome {
    pub output: Vec<f32>,
    /// Of inputs, then of trained parameters.
    pub gradients: Vec<Vec<f32>>,
    /// The forms in which something was kept.
    pub kinds: BTreeSet<SavedKind>,
}

impl Case {
    /// Forward, and backward from `dy`. With `hold`, the inputs are held by the caller while the op runs, which must then
    /// leave them as they are.
    pub fn run(&self, policy: Policy, key: StepKey, dy: &[f32], hold: bool) -> Result<Outcome> {
        self.run_in(&Memory::new(), policy, key, dy, hold)
    }

    /// As [`Case::run`], in memory that may have been used before.
    pub fn run_in(&self, memory: &Memory, policy: Policy, key: StepKey, dy: &[f32], hold: bool) -> Result<Outcome> {
        let mut grads = Grads::new();
        let mut tape = Tape::new(memory, policy, key);
        let inputs: Vec<Var> = self.inputs.iter().map(|x| tape.input(x.tensor(memory), true)).collect();
        let ids: Vec<_> = inputs.iter().map(Var::id).collect();
        let held = hold.then(|| inputs.clone());
        let y = self.op.run(&mut tape, inputs)?;
        for (var, input) in held.iter().flatten().zip(&self.inputs) {
            assert_eq!(var.tensor().to_vec(), input.numbers, "{}: an input changed", self.name);
        }
        let kinds = memory.ledger().live().into_keys().filter_map(|category| match category {
            Category::Saved(_, kind) => Some(kind),
            _ => None,
        });
        let kinds = kinds.collect();
        let (output, id) = (y.tensor().to_vec(), y.id());
        let seed = memory.tensor(y.tensor().rows(), y.tensor().cols(), dy.to_vec(), Category::Transient);
        drop((y, held));
        let mut inputs = tape.backward(id, seed, &mut grads)?;
        let mut gradients: Vec<_> = ids
            .into_iter()
            .map(|id| inputs.take(id).unwrap_or_else(|| panic!("{}: an input without gradient", self.name)).to_vec())
            .collect();
        for param in self.op.params() {
            let gradient = grads.get(param).unwrap_or_else(|| panic!("{}: no gradient of {}", self.name, param.name()));
            gradients.push(gradient.to_vec());
        }
        drop(inputs);
        assert_eq!(memory.ledger().activation_bytes(), 0, "{}: activations left after backward", self.name);
        Ok(Outcome { output, gradients, kinds })
    }

    pub fn args(&self) -> Vec<Vec<f64>> {
        let inputs = self.inputs.iter().map(|x| wide(&x.numbers));
        inputs.chain(self.op.params().into_iter().map(|p| wide(&p.value().to_vec()))).collect()
    }

    /// A random gradient of the output.
    pub fn seed(&self) -> Vec<f32> {
        random(self.op.oracle(&self.args()).len(), 77)
    }

    /// The gradient of Σ dy∘output for each input and each trained parameter, by central differences of the oracle.
    pub fn numeric_gradients(&self, dy: &[f32]) -> Vec<Vec<f64>> {
        let (args, dy) = (self.args(), wide(dy));
        (0..args.len())
            .map(|which| {
                oracle::central_differences(&args[which], |x| {
                    let mut moved = args.clone();
                    moved[which] = x.to_vec();
                    oracle::product(&self.op.oracle(&moved), &dy).iter().sum()
                })
            })
            .collect()
    }

    /// Bound of the relative error of f32 arithmetic with sums of up to `terms` numbers: such a sum is off by at most
    /// terms·eps·Σ|aᵢ·bᵢ| (Higham, *Accuracy and Stability*, 3.1), in practice by its square root, while Σ|aᵢ·bᵢ| exceeds
    /// |Σaᵢ·bᵢ| by about the square root for random signs; 8 more for exp, division and the roundings of single steps.
    pub fn tolerance(&self) -> f64 {
        (self.terms + 8) as f64 * f64::from(f32::EPSILON)
    }
}

/// That `got` equals `want` up to `tolerance`, by the norm of each part.
pub fn assert_close(what: &str, got: &[Vec<f32>], want: &[Vec<f64>], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}: number of gradients");
    for (at, (got, want)) in got.iter().zip(want).enumerate() {
        let error = oracle::relative_error(got, want);
        assert!(error <= tolerance, "{what}, gradient {at}: relative error {error:e}, tolerance {tolerance:e}");
    }
}
