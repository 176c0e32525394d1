//! Taking tensors for a model: every missing, wrong or left-over tensor is collected and reported once.

use loract_autograd::{Frozen, Memory};

use super::Weights;
use crate::error::Error;

/// A loader in progress. Ask for every tensor of the model, then [`finish`](Self::finish); what was returned is complete
/// if and only if that succeeds.
#[derive(Debug)]
pub struct Checked {
    weights: Weights,
    memory: Memory,
    missing: Vec<String>,
    wrong: Vec<String>,
}

impl Checked {
    /// Takes from `weights`; matrices are counted in the ledger of `memory`.
    pub fn new(weights: Weights, memory: &Memory) -> Self {
        Self { weights, memory: memory.clone(), missing: Vec::new(), wrong: Vec::new() }
    }

    /// Whether `name` is stored and not taken yet.
    pub fn contains(&self, name: &str) -> bool {
        self.weights.contains(name)
    }

    /// Takes a matrix of `[rows, cols]` that is stored with the sizes `shape`, as many numbers in the same order; `None` if
    /// that is noted as a mismatch.
    pub fn shaped(&mut self, name: &str, shape: &[usize], matrix: [usize; 2]) -> Option<Frozen> {
        let taken = self.weights.take_shaped(&self.memory, name, shape, matrix);
        self.note(name, taken)
    }

    /// Takes the numbers of a tensor of this shape, widened to f32; `None` if that is noted as a mismatch.
    pub fn vector(&mut self, name: &str, shape: &[usize]) -> Option<Vec<f32>> {
        let taken = self.weights.take_vector(name, shape);
        self.note(name, taken)
    }

    fn note<T>(&mut self, name: &str, taken: Result<T, Error>) -> Option<T> {
        match taken {
            Ok(tensor) => return Some(tensor),
            Err(Error::MissingTensor { tensor, .. }) => self.missing.push(tensor),
            Err(Error::WrongShape { stored, expected, .. }) => {
                self.wrong.push(format!("{name}: stored {stored}, expected {expected}"));
            }
            Err(other) => self.wrong.push(format!("{name}: {other}")),
        }
        None
    }

    /// All is well if nothing was missing or wrong and nothing is left but names in `ignored`: whole names, or "*.end"
    /// for every name that ends so.
    ///
    /// # Errors
    /// [`Error::Weights`] with every mismatch.
    pub fn finish(self, ignored: &[&str]) -> Result<(), Error> {
        let is_ignored = |name: &String| {
            ignored.iter().any(|pattern| match pattern.strip_prefix('*') {
                Some(end) => name.ends_with(end),
                None => name == pattern,
            })
        };
        let unknown: Vec<String> = self.weights.remaining().into_iter().filter(|name| !is_ignored(name)).collect();
        if self.missing.is_empty() && self.wrong.is_empty() && unknown.is_empty() {
            return Ok(());
        }
        let path = self.weights.path().to_path_buf();
        Err(Error::Weights { path, missing: self.missing, wrong: self.wrong, unknown })
    }
}
