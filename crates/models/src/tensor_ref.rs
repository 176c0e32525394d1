//! A tensor of a model, as the model lends it to those who store it, fill it or train it.

use loract_autograd::{Memory, Param, Values, Weight};

/// A tensor of a model.
#[derive(Debug, Clone, Copy)]
pub enum TensorRef<'a> {
    /// Output features × input features.
    Matrix(&'a Weight),
    /// A norm's weight or a bias.
    Vector(&'a Values),
    /// A norm's weight with a row for each head, of so many features.
    Heads(&'a Values, usize),
    /// A matrix that is stored with these sizes, as many numbers in the same order: of a patch projection C×3×p×p.
    ShapedMatrix(&'a Weight, &'a [usize]),
    /// A vector that is stored with these sizes: of a class token 1×1×C.
    ShapedVector(&'a Values, &'a [usize]),
}

/// A tensor of a model, to change.
#[derive(Debug)]
pub enum TensorMut<'a> {
    /// As [`TensorRef::Matrix`].
    Matrix(&'a mut Weight),
    /// As [`TensorRef::Vector`].
    Vector(&'a mut Values),
    /// As [`TensorRef::Heads`].
    Heads(&'a mut Values, usize),
    /// As [`TensorRef::ShapedMatrix`].
    ShapedMatrix(&'a mut Weight, &'a [usize]),
    /// As [`TensorRef::ShapedVector`].
    ShapedVector(&'a mut Values, &'a [usize]),
}

impl<'a> TensorRef<'a> {
    /// The parameter, if trained.
    pub fn trained(self) -> Option<&'a Param> {
        match self {
            TensorRef::Matrix(weight) | TensorRef::ShapedMatrix(weight, _) => weight.trained(),
            TensorRef::Vector(values) | TensorRef::Heads(values, _) | TensorRef::ShapedVector(values, _) => {
                values.trained()
            }
        }
    }

    /// The sizes that it is stored with, outermost first.
    pub fn shape(self) -> Vec<usize> {
        match self {
            TensorRef::Matrix(weight) => vec![weight.rows(), weight.cols()],
            TensorRef::Vector(values) => vec![values.value().cols()],
            TensorRef::Heads(values, width) => vec![values.value().cols() / width, width],
            TensorRef::ShapedMatrix(_, shape) | TensorRef::ShapedVector(_, shape) => shape.to_vec(),
        }
    }
}

impl TensorMut<'_> {
    /// The same, to look at.
    pub fn as_ref(&self) -> TensorRef<'_> {
        match self {
            TensorMut::Matrix(weight) => TensorRef::Matrix(weight),
            TensorMut::Vector(values) => TensorRef::Vector(values),
            TensorMut::Heads(values, width) => TensorRef::Heads(values, *width),
            TensorMut::ShapedMatrix(weight, shape) => TensorRef::ShapedMatrix(weight, shape),
            TensorMut::ShapedVector(values, shape) => TensorRef::ShapedVector(values, shape),
        }
    }

    /// Makes it trained, in f32, as the parameter `name`.
    pub(crate) fn train(self, memory: &Memory, name: String) {
        match self {
            TensorMut::Matrix(weight) | TensorMut::ShapedMatrix(weight, _) => {
                if let Weight::Frozen(frozen) = weight {
                    let (rows, cols) = (frozen.rows(), frozen.cols());
                    let numbers = if memory.is_hollow() { Vec::new() } else { frozen.to_f32() };
                    *weight = Weight::Trained(Param::new(memory, name, rows, cols, numbers));
                }
            }
            TensorMut::Vector(values) | TensorMut::Heads(values, _) | TensorMut::ShapedVector(values, _) => {
                if let Values::Frozen(tensor) = values {
                    let (rows, cols) = (tensor.rows(), tensor.cols());
                    *values = Values::Trained(Param::new(memory, name, rows, cols, tensor.to_vec()));
                }
            }
        }
    }

    /// Fills it, if it is trained, with as many numbers as it has.
    pub(crate) fn fill(self, numbers: &[f32]) {
        let param = match self {
            TensorMut::Matrix(weight) | TensorMut::ShapedMatrix(weight, _) => weight.trained_mut(),
            TensorMut::Vector(values) | TensorMut::Heads(values, _) | TensorMut::ShapedVector(values, _) => {
                values.trained_mut()
            }
        };
        if let Some(param) = param {
            param.value_mut().write(numbers);
        }
    }
}
