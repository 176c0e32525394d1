//! A small decoder, every kind of op in it, laid out in segments as the real ones are.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use loract_autograd::ops::{
    Activation, AttentionShape, Head, Linear, Norm, RopePairs, RopeTable, Targets, add, attention, cross_entropy,
    embedding, gated, linear, norm, rope,
};
use loract_autograd::{
    Bytes, Category, DType, Frozen, Grads, History, Memory, Param, Peak, Policy, Site, SiteError, Tape, Values, Var,
    Weight, Workers, to_bf16_bytes,
};

use crate::harness::{KEY, Result, lora, param, random, rms};

/// C.
pub const WIDTH: usize = 32;
/// F.
pub const HIDDEN: usize = 72;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
/// Features of a head.
const D: usize = 8;
const VOCABULARY: usize = 50;
/// r.
pub const RANK: usize = 3;

/// What differs between the decoders of the tests.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// m, in two sequences.
    pub tokens: usize,
    pub layers: usize,
    pub bias: bool,
    /// On the branches of LoRA.
    pub dropout: f32,
    /// Whether segments tell where their output is made.
    pub closes: bool,
    /// Of frozen weights.
    pub dtype: DType,
}

impl Default for Options {
    fn default() -> Self {
        Self { tokens: 90, layers: 2, bias: false, dropout: 0.0, closes: true, dtype: DType::F32 }
    }
}

#[derive(Debug)]
struct Layer {
    norms: [Norm; 2],
    /// q, k, v, o, gate, up, down.
    linears: [Linear; 7],
}

impl Layer {
    fn params(&self) -> impl Iterator<Item = &Param> {
        let pairs = self.linears.iter().filter_map(|l| l.lora.as_ref()).flat_map(|l| l.params());
        let biases = self.linears.iter().filter_map(|l| l.bias.as_ref()?.trained());
        self.norms.iter().filter_map(trained).chain(pairs).chain(biases)
    }
}

#[derive(Debug)]
pub struct Decoder {
    options: Options,
    embedding: Weight,
    layers: Vec<Layer>,
    norm: Norm,
    head: Weight,
    ids: Vec<u32>,
    sequences: Arc<[Range<usize>]>,
    table: Arc<RopeTable>,
    positions: Arc<[u32]>,
}

/// What a step gave.
#[derive(Debug)]
pub struct Run {
    pub nll: Vec<f32>,
    /// Of every trained parameter.
    pub gradients: Vec<Vec<f32>>,
    pub errors: Vec<SiteError>,
    /// By category when forward ends, and when backward does.
    pub live: [BTreeMap<Category, usize>; 2],
    pub peak: Peak,
}

impl Decoder {
    pub fn new(memory: &Memory, options: Options) -> Result<Self> {
        let frozen = |outputs: usize, inputs: usize, seed| -> Result<Weight> {
            let scale = 1.0 / (inputs as f32).sqrt();
            let numbers: Vec<f32> = random(outputs * inputs, seed).iter().map(|x| scale * x).collect();
            Ok(Weight::Frozen(match options.dtype {
                DType::Bf16 => {
                    Frozen::new(memory, DType::Bf16, outputs, inputs, Bytes::owned(to_bf16_bytes(&numbers)))?
                }
                _ => Frozen::from_f32(memory, outputs, inputs, &numbers)?,
            }))
        };
        let layer = |at: u64| -> Result<Layer> {
            let norms = [20, 21].map(|seed| rms(Values::Trained(param(memory, "norm", 1, WIDTH, seed + at))));
            let (q, kv) = (HEADS * D, KV_HEADS * D);
            let (c, f) = (WIDTH, HIDDEN);
            let sizes = [(q, c, 1), (kv, c, 2), (kv, c, 3), (c, q, 4), (f, c, 5), (f, c, 6), (c, f, 7)];
            let linears = sizes.map(|(outputs, inputs, tag)| -> Result<Linear> {
                let mut pair = lora(memory, inputs, outputs, RANK, options.dropout);
                (pair.scale, pair.tag) = (0.1, tag);
                let bias = options.bias.then(|| Values::Trained(param(memory, "bias", 1, outputs, tag)));
                Ok(Linear { weight: frozen(outputs, inputs, tag + 100 * at)?, bias, lora: Some(pair) })
            });
            let [q, k, v, o, gate, up, down] = linears;
            Ok(Layer { norms, linears: [q?, k?, v?, o?, gate?, up?, down?] })
        };
        let first = options.tokens / 3 + 1;
        let sequences = [0..first, first..options.tokens];
        Ok(Self {
            options,
            embedding: Weight::Trained(param(memory, "embedding", VOCABULARY, WIDTH, 8)),
            layers: (0..options.layers as u64).map(layer).collect::<Result<_>>()?,
            norm: rms(Values::Trained(param(memory, "norm", 1, WIDTH, 9))),
            head: frozen(VOCABULARY, WIDTH, 10)?,
            ids: (0..options.tokens as u32).map(|i| i * i % VOCABULARY as u32).collect(),
            positions: sequences.iter().flat_map(|s| 0..s.len() as u32).collect(),
            sequences: sequences.into(),
            table: Arc::new(RopeTable::new(options.tokens, 8, RopePairs::Halves, &[&[1.0, 0.3, 0.1, 0.03]], 1.0)),
        })
    }

    fn layer<'m>(&'m self, tape: &mut Tape<'m>, layer: &'m Layer, x: Var) -> Result<Var> {
        let y = normed(tape, &x, &layer.norms[0], [Site::CkptAttn, Site::AttnIn])?;
        let y = tape.segment(Site::CkptAttn, y, Box::new(move |tape, y| self.attention(tape, layer, y)))?;
        let x = add(tape, x, &y)?;
        drop(y);
        let y = normed(tape, &x, &layer.norms[1], [Site::CkptMlp, Site::MlpIn])?;
        let y = tape.segment(Site::CkptMlp, y, Box::new(move |tape, y| self.mlp(tape, layer, y)))?;
        add(tape, x, &y)
    }

    fn attention<'m>(&'m self, tape: &mut Tape<'m>, layer: &'m Layer, y: Var) -> Result<Var> {
        let [q, k, v, o, ..] = &layer.linears;
        let heads = move |tape: &mut Tape<'m>, y: Var| {
            let q = linear(tape, &y, q, Site::AttnIn)?;
            let k = linear(tape, &y, k, Site::AttnIn)?;
            let v = linear(tape, &y, v, Site::AttnIn)?;
            drop(y);
            let q = rope(tape, q, &self.table, &self.positions)?;
            let k = rope(tape, k, &self.table, &self.positions)?;
            attention(tape, [q, k, v], AttentionShape::causal(HEADS, KV_HEADS, D), &self.sequences)
        };
        let y = tape.segment(Site::AttnQkv, y, Box::new(heads))?;
        if self.options.closes {
            tape.closes(&[Site::CkptAttn]);
        }
        linear(tape, &y, o, Site::AttnOut)
    }

    fn mlp<'m>(&'m self, tape: &mut Tape<'m>, layer: &'m Layer, y: Var) -> Result<Var> {
        let [.., gate, up, down] = &layer.linears;
        let (gate, up) = (linear(tape, &y, gate, Site::MlpIn)?, linear(tape, &y, up, Site::MlpIn)?);
        drop(y);
        let h = gated(tape, Activation::Silu, gate, up)?;
        if self.options.closes {
            tape.closes(&[Site::CkptMlp, Site::CkptLayer]);
        }
        linear(tape, &h, down, Site::MlpOut)
    }

    /// A step on all tokens but the first of each sequence.
    pub fn run(&self, memory: &Memory, policy: Policy) -> Result<Run> {
        self.run_with(memory, policy, &mut History::default(), None)
    }

    /// As [`Decoder::run`], with what is remembered of earlier runs, and compressing on `workers`.
    pub fn run_with(
        &self,
        memory: &Memory,
        policy: Policy,
        history: &mut History,
        workers: Option<&Workers>,
    ) -> Result<Run> {
        let ledger = memory.ledger();
        ledger.reset_peak();
        let mut grads = Grads::new();
        let mut tape = Tape::new(memory, policy, KEY);
        tape.recall(history);
        if let Some(workers) = workers {
            tape.compress_on(workers);
        }
        let mut x = embedding(&mut tape, &self.embedding, &self.ids)?;
        for (at, layer) in self.layers.iter().enumerate() {
            tape.set_layer(Some(at));
            x = tape.segment(Site::CkptLayer, x, Box::new(move |tape, x| self.layer(tape, layer, x)))?;
        }
        tape.set_layer(None);
        let x = norm(&mut tape, &x, &self.norm, &[Site::Norm])?;
        let rows: Vec<u32> = (1..self.ids.len() as u32).collect();
        let targets = Targets { tokens: rows.iter().map(|row| row * 7 % VOCABULARY as u32).collect(), rows };
        let out = cross_entropy(&mut tape, x, Head::plain(&self.head), &targets)?;
        tape.settle()?;
        let errors = tape.errors().to_vec();
        let id = out.loss.id();
        drop(out.loss);
        let forward = ledger.live();
        tape.backward(id, memory.tensor(1, 1, vec![0.1], Category::Transient), &mut grads)?;
        let gradients = self.params().map(|p| grads.get(p).map(|g| g.to_vec()).unwrap_or_default()).collect();
        Ok(Run { nll: out.nll, gradients, errors, live: [forward, ledger.live()], peak: ledger.peak() })
    }

    /// From now on what enters layer 1 is not finite.
    pub fn poison(&mut self) {
        if let Some(pair) = &mut self.layers[0].linears[6].lora {
            let mut numbers = pair.b.value().to_vec();
            numbers[3] = f32::NAN;
            pair.b.value_mut().write(&numbers);
        }
    }

    fn params(&self) -> impl Iterator<Item = &Param> {
        self.embedding
            .trained()
            .into_iter()
            .chain(self.layers.iter().flat_map(Layer::params))
            .chain(trained(&self.norm))
    }
}

fn trained(norm: &Norm) -> Option<&Param> {
    norm.weight.as_ref()?.trained()
}

fn normed<'m>(tape: &mut Tape<'m>, x: &Var, settings: &'m Norm, [segment, projections]: [Site; 2]) -> Result<Var> {
    let consumer = if tape.recomputes(segment) { segment } else { projections };
    norm(tape, x, settings, &[Site::Norm, consumer])
}

/// The gradients in f64.
pub fn wide(gradients: &[Vec<f32>]) -> Vec<Vec<f64>> {
    gradients.iter().map(|g| crate::harness::wide(g)).collect()
}
