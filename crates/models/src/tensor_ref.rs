//! A tensor of a model, as its decoder lends it to those who store it or fill it.

use loract_autograd::{Param, Values, Weight};

/// A tensor of a model.
#[derive(Debug, Clone, Copy)]
pub enum TensorRef<'a> {
    /// Output features × input features.
    Matrix(&'a Weight),
    /// A norm's weight or a bias.
    Vector(&'a Values),
    /// A norm's weight with a row for each head, of so many features.
    Heads(&'a Values, usize),
}

impl TensorRef<'_> {
    /// The parameter, if trained.
    pub fn trained(&self) -> Option<&Param> {
        match self {
            TensorRef::Matrix(weight) => weight.trained(),
            TensorRef::Vector(values) | TensorRef::Heads(values, _) => values.trained(),
        }
    }
}
