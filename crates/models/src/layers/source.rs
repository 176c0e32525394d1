//! Where the tensors of a new model come from: stored weights, or random numbers.

use loract_autograd::ops::Linear;
use loract_autograd::{Bytes, DType, Frozen, Memory, Param, Rng, Values, Weight, to_bf16_bytes};

use super::parts::Named;
use crate::weights::{Checked, Weights};

/// Gives tensors by name.
pub(crate) trait Tensors {
    /// A matrix of rows×cols numbers, stored in this shape; `None` if it could not be had (the source reports why at the end).
    fn shaped(&mut self, name: &str, shape: &[usize], rows: usize, cols: usize) -> Option<Weight>;
    /// A norm's weight, a bias or a row by itself; a new one is `start` everywhere.
    fn vector(&mut self, name: &str, shape: &[usize], start: f32) -> Option<Values>;

    /// A rows×cols matrix.
    fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> Option<Weight> {
        self.shaped(name, &[rows, cols], rows, cols)
    }
}

/// What `make` makes, or nothing where there shall be nothing; `None` if it could not.
pub(crate) fn unless<T>(absent: bool, make: impl FnOnce() -> Option<T>) -> Option<Option<T>> {
    if absent { Some(None) } else { make().map(Some) }
}

/// The linear layer `name` behind `prefix`, rows×cols.
pub(crate) fn linear(
    source: &mut dyn Tensors,
    prefix: &str,
    name: &str,
    [rows, cols]: [usize; 2],
    biased: bool,
) -> Option<Named<Linear>> {
    let full = format!("{prefix}{name}");
    let weight = source.matrix(&format!("{full}.weight"), rows, cols);
    let bias = unless(!biased, || source.vector(&format!("{full}.bias"), &[rows], 0.0));
    Some(Named { name: name.to_owned(), part: Linear { weight: weight?, bias: bias?, lora: None } })
}

/// Stored tensors, frozen.
pub(crate) struct FromFile<'a> {
    checked: Checked,
    memory: &'a Memory,
}

impl<'a> FromFile<'a> {
    pub(crate) fn new(weights: Weights, memory: &'a Memory) -> Self {
        Self { checked: Checked::new(weights, memory), memory }
    }

    /// As [`Checked::finish`].
    pub(crate) fn finish(self, ignored: &[&str]) -> Result<(), crate::error::Error> {
        self.checked.finish(ignored)
    }
}

impl Tensors for FromFile<'_> {
    fn shaped(&mut self, name: &str, shape: &[usize], rows: usize, cols: usize) -> Option<Weight> {
        self.checked.shaped(name, shape, [rows, cols]).map(Weight::Frozen)
    }
    fn vector(&mut self, name: &str, shape: &[usize], _: f32) -> Option<Values> {
        self.checked.vector(name, shape).map(|numbers| Values::frozen(self.memory, numbers))
    }
}

/// Random tensors: matrices normal with deviation 0.02 (GPT-2's, Llama's and ViT's start), norms 1, biases 0. Trained in f32, or
/// frozen in bf16.
pub(crate) struct FromSeed<'a> {
    memory: &'a Memory,
    rng: Rng,
    frozen: bool,
}

impl<'a> FromSeed<'a> {
    pub(crate) fn trained(memory: &'a Memory, seed: u64) -> Self {
        Self { memory, rng: Rng::new(&[seed, 0x1717]), frozen: false }
    }

    pub(crate) fn frozen(memory: &'a Memory, seed: u64) -> Self {
        Self { frozen: true, ..Self::trained(memory, seed) }
    }
}

impl Tensors for FromSeed<'_> {
    fn shaped(&mut self, name: &str, _: &[usize], rows: usize, cols: usize) -> Option<Weight> {
        let numbers: Vec<f32> = (0..rows * cols).map(|_| 0.02 * self.rng.normal()).collect();
        if self.frozen {
            let bytes = Bytes::owned(to_bf16_bytes(&numbers));
            return Frozen::new(self.memory, DType::Bf16, rows, cols, bytes).ok().map(Weight::Frozen);
        }
        Some(Weight::Trained(Param::new(self.memory, name, rows, cols, numbers)))
    }
    fn vector(&mut self, name: &str, shape: &[usize], start: f32) -> Option<Values> {
        let len = shape.iter().product();
        let numbers = vec![start; len];
        Some(match self.frozen {
            true => Values::frozen(self.memory, numbers),
            false => Values::Trained(Param::new(self.memory, name, 1, len, numbers)),
        })
    }
}
