//! Writing tensors as a safetensors file, one at a time, so that it takes the memory of one tensor more, not of them all.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use ::safetensors::{Dtype, SafeTensorError, View, serialize_to_file};
use half::{bf16, f16};
use loract_autograd::ops::{Linear, merged};
use loract_autograd::{Frozen, Tensor, Weight, to_bf16_bytes};

use crate::tensor_ref::TensorRef;

/// A tensor to be written.
#[derive(Debug)]
pub struct ToStore<'a> {
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// Its numbers.
    pub numbers: Numbers<'a>,
    /// How they are written.
    pub stored: StoredAs,
}

/// Where the numbers of a tensor are.
#[derive(Debug, Clone, Copy)]
pub enum Numbers<'a> {
    /// In memory as f32.
    Tensor(&'a Tensor),
    /// In a stored form; widened when they are written.
    Frozen(&'a Frozen),
    /// In memory as f32, of no tensor.
    Floats(&'a [f32]),
    /// In memory as bf16, written so.
    Halves(&'a [u16]),
    /// The weight of a layer with its LoRA branch added; computed when they are written.
    Merged(&'a Linear),
}

impl Numbers<'_> {
    /// All of them, widened or computed.
    pub(crate) fn to_f32(self) -> Vec<f32> {
        match self {
            Numbers::Tensor(tensor) => tensor.to_vec(),
            Numbers::Frozen(frozen) => frozen.to_f32(),
            Numbers::Floats(floats) => floats.to_vec(),
            Numbers::Halves(halves) => halves.iter().map(|&bits| bf16::from_bits(bits).to_f32()).collect(),
            Numbers::Merged(layer) => merged(layer),
        }
    }
}

/// The type in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredAs {
    /// 32-bit float.
    F32,
    /// bfloat16, rounded to nearest even.
    Bf16,
    /// IEEE half precision, rounded to nearest even; what is beyond ±65,504 becomes infinite.
    F16,
}

impl StoredAs {
    /// The name that `config.json` has for it.
    pub fn torch_name(self) -> &'static str {
        match self {
            StoredAs::F32 => "float32",
            StoredAs::Bf16 => "bfloat16",
            StoredAs::F16 => "float16",
        }
    }
}

impl<'a> ToStore<'a> {
    /// A tensor of a model.
    pub fn of_model(tensor: TensorRef<'a>, stored: StoredAs) -> Self {
        let numbers = match tensor {
            TensorRef::Matrix(Weight::Frozen(frozen)) | TensorRef::ShapedMatrix(Weight::Frozen(frozen), _) => {
                Numbers::Frozen(frozen)
            }
            TensorRef::Matrix(Weight::Trained(param)) | TensorRef::ShapedMatrix(Weight::Trained(param), _) => {
                Numbers::Tensor(param.value())
            }
            TensorRef::Vector(values) | TensorRef::Heads(values, _) | TensorRef::ShapedVector(values, _) => {
                Numbers::Tensor(values.value())
            }
        };
        Self { shape: tensor.shape(), numbers, stored }
    }

    /// Bytes of the numbers in a file.
    pub fn size_bytes(&self) -> usize {
        let bytes = match self.dtype() {
            StoredAs::F32 => 4,
            StoredAs::Bf16 | StoredAs::F16 => 2,
        };
        bytes * self.shape.iter().product::<usize>()
    }

    fn dtype(&self) -> StoredAs {
        match self.numbers {
            Numbers::Halves(_) => StoredAs::Bf16,
            _ => self.stored,
        }
    }
}

impl View for &ToStore<'_> {
    fn dtype(&self) -> Dtype {
        match ToStore::dtype(self) {
            StoredAs::F32 => Dtype::F32,
            StoredAs::Bf16 => Dtype::BF16,
            StoredAs::F16 => Dtype::F16,
        }
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        if let Numbers::Halves(halves) = self.numbers {
            return Cow::Owned(halves.iter().flat_map(|x| x.to_le_bytes()).collect());
        }
        let numbers = self.numbers.to_f32();
        Cow::Owned(match self.stored {
            StoredAs::F32 => numbers.iter().flat_map(|x| x.to_le_bytes()).collect(),
            StoredAs::Bf16 => to_bf16_bytes(&numbers),
            StoredAs::F16 => numbers.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect(),
        })
    }
    fn data_len(&self) -> usize {
        self.size_bytes()
    }
}

/// Writes a file of `tensors` by name, marked as PyTorch's like those of Transformers and PEFT.
///
/// # Errors
/// What writing says.
pub fn write(path: &Path, tensors: &[(String, ToStore<'_>)]) -> io::Result<()> {
    // The crate leaves a file that nobody else may read; it shall be as readable as others.
    let usual = File::create(path)?.metadata()?.permissions();
    let metadata = Some([("format".to_owned(), "pt".to_owned())].into());
    let named = tensors.iter().map(|(name, tensor)| (name, tensor));
    serialize_to_file(named, metadata, path).map_err(|error| match error {
        SafeTensorError::IoError(reason) => reason,
        other => io::Error::other(other.to_string()),
    })?;
    fs::set_permissions(path, usual)
}
