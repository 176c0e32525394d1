//! An expert of a mixture as a model has it, and mixtures of them by the oracle.

use loract_autograd::ops::{Activation, Linear, Lora, Shares, gated, linear, weigh_rows};
use loract_autograd::{Frozen, Memory, Param, Site, Tape, Values, Var, Weight};
use loract_testkit::oracle;

use crate::harness::{Result, param, random, weight};

/// An expert of a mixture.
#[derive(Debug)]
pub struct Expert {
    pub gate: Linear,
    pub up: Linear,
    pub down: Linear,
}

impl Expert {
    /// Frozen weights and LoRA pairs, from n features over `hidden` to n.
    pub fn new(memory: &Memory, n: usize, hidden: usize, seed: u64) -> Result<Self> {
        let layer = |outputs: usize, inputs: usize, seed| -> Result<Linear> {
            let numbers: Vec<f32> = random(outputs * inputs, seed).iter().map(|x| 0.5 * x).collect();
            let weight = Weight::Frozen(Frozen::from_f32(memory, outputs, inputs, &numbers)?);
            let (a, b) = (param(memory, "a", 2, inputs, seed + 1), param(memory, "b", outputs, 2, seed + 2));
            let lora = Lora { a: Values::Trained(a), b, scale: 0.3, magnitude: None, dropout: 0.0, tag: seed };
            Ok(Linear { weight, bias: None, lora: Some(lora) })
        };
        let [gate, up, down] = [10, 20, 30].map(|at| 100 * seed + at);
        Ok(Self { gate: layer(hidden, n, gate)?, up: layer(hidden, n, up)?, down: layer(n, hidden, down)? })
    }

    /// Its part of a mixture.
    pub fn run<'m>(&'m self, tape: &mut Tape<'m>, x: &Var, weights: &Var, closes: &[Site]) -> Result<Var> {
        let gate = linear(tape, x, &self.gate, Site::MlpIn)?;
        let up = linear(tape, x, &self.up, Site::MlpIn)?;
        let up = weigh_rows(tape, up, weights, Site::ActFn)?;
        let h = gated(tape, Activation::Silu, gate, up)?;
        tape.closes(closes);
        linear(tape, &h, &self.down, Site::MlpOut)
    }

    pub fn params(&self) -> impl Iterator<Item = &Param> {
        [&self.gate, &self.up, &self.down].into_iter().filter_map(|l| l.lora.as_ref()).flat_map(Lora::params)
    }
}

/// Σ over each row's experts of share·expert(row): `next` gives A and B of gate, up and down, expert by expert.
pub fn oracle(
    experts: &[Expert],
    top_k: usize,
    shares: Shares,
    x: &[f64],
    logits: &[f64],
    next: &mut dyn FnMut() -> Vec<f64>,
) -> Vec<f64> {
    let mut layer = |layer: &Linear| {
        let pair = layer.lora.as_ref().map(|l| (next(), next(), l.a.value().rows(), f64::from(l.scale)));
        (weight(&layer.weight, &mut Vec::new), layer.weight.cols(), pair)
    };
    let layers: Vec<_> = experts.iter().map(|e| [&e.gate, &e.up, &e.down].map(&mut layer)).collect();
    let through = |x: &[f64], at: usize, which: usize| {
        let (w, inputs, pair) = &layers[at][which];
        let pair = pair.as_ref();
        let pair = pair.map(|(a, b, rank, scale)| oracle::Lora { a, b, rank: *rank, scale: *scale, mask: None });
        oracle::linear(x, *inputs, w, None, pair)
    };
    let row = |(x, chosen): (&[f64], &Vec<(usize, f64)>)| {
        let sum = match shares {
            Shares::OfAll => 1.0,
            Shares::OfChosen => chosen.iter().map(|(_, p)| p).sum(),
        };
        let mut y = vec![0.0; x.len()];
        for &(at, p) in chosen {
            let h = oracle::gated(oracle::silu, &through(x, at, 0), &through(x, at, 1));
            y.iter_mut().zip(through(&h, at, 2)).for_each(|(y, o)| *y += p / sum * o);
        }
        y
    };
    let rows = x.chunks_exact(x.len() * experts.len() / logits.len());
    rows.zip(&oracle::route(logits, experts.len(), top_k)).flat_map(row).collect()
}
