//! Writer of GGUF files (version 3, little-endian), as llama.cpp reads them.
//!
//! The layout is the reader's table ([`super`]) with an alignment of 32. Tensors are widened, put in order and encoded one at
//! a time while they are written, so that it takes the memory of one tensor more, not of them all.

mod blocks;
mod entries;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use loract_autograd::DType;

use super::ALIGNMENT;
use crate::weights::RowOrder;
use crate::weights::store::Numbers;

pub use entries::{Entries, Entry};

const VERSION: u32 = 3;

/// A type of numbers that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types)]
pub enum GgufType {
    /// 32-bit float.
    F32,
    /// IEEE half precision; what is beyond ±65,504 becomes infinite.
    F16,
    /// bfloat16.
    Bf16,
    /// Blocks of 32: 8 bits a number and an f16 scale.
    Q8_0,
    /// Blocks of 32: 4 bits a number and an f16 scale.
    Q4_0,
}

impl GgufType {
    /// The type as it is read.
    pub fn dtype(self) -> DType {
        match self {
            GgufType::F32 => DType::F32,
            GgufType::F16 => DType::F16,
            GgufType::Bf16 => DType::Bf16,
            GgufType::Q8_0 => DType::Q8_0,
            GgufType::Q4_0 => DType::Q4_0,
        }
    }

    /// ggml's number of it (`enum ggml_type` in `ggml.h`).
    fn type_id(self) -> u32 {
        match self {
            GgufType::F32 => 0,
            GgufType::F16 => 1,
            GgufType::Bf16 => 30,
            GgufType::Q8_0 => 8,
            GgufType::Q4_0 => 2,
        }
    }

    /// `general.file_type` of a file whose matrices mostly have it (`enum llama_ftype` in `llama.h`).
    pub fn file_type(self) -> u32 {
        match self {
            GgufType::F32 => 0,
            GgufType::F16 => 1,
            GgufType::Bf16 => 32,
            GgufType::Q8_0 => 7,
            GgufType::Q4_0 => 2,
        }
    }

    /// Itself for a tensor of this shape; F32 for a vector, and F16 if its rows are no whole blocks, as llama.cpp's converter
    /// does.
    pub fn of_shape(self, shape: &[usize]) -> Self {
        match shape {
            [] | [_] => GgufType::F32,
            [.., cols] if self.dtype().row_bytes(*cols).is_none() => GgufType::F16,
            _ => self,
        }
    }
}

/// A tensor to be written.
#[derive(Debug)]
pub struct GgufTensor<'a> {
    /// llama.cpp's name.
    pub name: String,
    /// Sizes, slowest first (rows, columns).
    pub shape: Vec<usize>,
    /// Its numbers, rows in Hugging Face's order: those of one tensor, or of several one after the other.
    pub numbers: Vec<Numbers<'a>>,
    /// The order that its rows get.
    pub order: RowOrder,
    /// What is added to them.
    pub plus: f32,
    /// How they are written; fits the shape ([`GgufType::of_shape`]).
    pub stored: GgufType,
}

impl GgufTensor<'_> {
    /// Bytes of the numbers in a file.
    pub fn size_bytes(&self) -> usize {
        let (numbers, dtype) = (self.shape.iter().product::<usize>(), self.stored.dtype());
        numbers / dtype.block_len() * dtype.block_bytes()
    }

    fn encoded(&self) -> Vec<u8> {
        let rows = self.shape.first().copied().unwrap_or(1);
        let mut numbers: Vec<f32> = self.numbers.iter().flat_map(|numbers| numbers.to_f32()).collect();
        if self.plus != 0.0 {
            numbers.iter_mut().for_each(|x| *x += self.plus);
        }
        blocks::encode(self.stored, &self.order.to_stored(rows, numbers))
    }

    /// Its description in the header; `offset` is where it begins in the data.
    fn describe(&self, out: &mut Vec<u8>, offset: u64) {
        entries::put_text(out, &self.name);
        out.extend((self.shape.len() as u32).to_le_bytes());
        for &size in self.shape.iter().rev() {
            out.extend((size as u64).to_le_bytes());
        }
        out.extend(self.stored.type_id().to_le_bytes());
        out.extend(offset.to_le_bytes());
    }
}

/// A GGUF file to be written.
#[derive(Debug)]
pub struct GgufFile<'a> {
    /// Its metadata.
    pub entries: Entries,
    /// Its tensors, each name once.
    pub tensors: Vec<GgufTensor<'a>>,
}

impl GgufFile<'_> {
    /// Bytes of the tensors' numbers.
    pub fn size_bytes(&self) -> usize {
        self.tensors.iter().map(GgufTensor::size_bytes).sum()
    }

    fn header(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(VERSION.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        self.entries.put(&mut out);
        let mut offset = 0;
        for tensor in &self.tensors {
            tensor.describe(&mut out, offset);
            offset += (tensor.size_bytes() as u64).next_multiple_of(ALIGNMENT);
        }
        out
    }

    /// Writes it at `path`.
    ///
    /// # Errors
    /// What writing says.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut out = BufWriter::new(File::create(path)?);
        put_aligned(&mut out, &self.header())?;
        self.tensors.iter().try_for_each(|tensor| put_aligned(&mut out, &tensor.encoded()))?;
        out.flush()
    }
}

/// Bytes, and zeros up to where the next may begin.
fn put_aligned(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let align = ALIGNMENT as usize;
    out.write_all(bytes)?;
    out.write_all(&[0; ALIGNMENT as usize][..bytes.len().next_multiple_of(align) - bytes.len()])
}
