//! Stored tensors under their Hugging Face names, whatever file they come from.
//!
//! [`Weights`] is a map from name to place: nothing is read before it is taken, and a memory-mapped matrix is used in
//! place (no copy, except where the file has another row order). [`Checked`] takes tensors for a model and reports every
//! mismatch at once.

mod checked;
pub mod gguf;
mod map;
pub mod safetensors;
pub mod store;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use loract_autograd::{Bytes, DType, Frozen, Memory};

use crate::error::Error;
use crate::tensor_ref::TensorRef;

pub use checked::Checked;

/// Order of a stored tensor's rows against Hugging Face's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowOrder {
    /// The same.
    AsIs,
    /// Within each of `heads` heads the two rotary halves alternate: stored row 2t + j is row j·D/2 + t of D.
    ///
    /// This is what llama.cpp's converter does to q and k of Llama models (`permute` in `convert_hf_to_gguf.py`).
    RotaryPairs {
        /// Heads of this tensor; its rows are a multiple of 2·heads.
        heads: usize,
    },
}

impl RowOrder {
    /// The numbers of `rows` rows in Hugging Face's order, put in this one.
    pub(crate) fn to_stored(self, rows: usize, numbers: Vec<f32>) -> Vec<f32> {
        self.moved(rows, numbers, |row, stored| (row, stored))
    }

    /// The numbers of `rows` rows in this order, put in Hugging Face's.
    pub(crate) fn to_hugging_face(self, rows: usize, numbers: Vec<f32>) -> Vec<f32> {
        self.moved(rows, numbers, |row, stored| (stored, row))
    }

    /// The same rows, each moved as `from_to` says of its place in Hugging Face's order and in this one.
    fn moved(self, rows: usize, numbers: Vec<f32>, from_to: impl Fn(usize, usize) -> (usize, usize)) -> Vec<f32> {
        let Some(order) = self.stored_rows(rows) else { return numbers };
        let cols = numbers.len() / rows.max(1);
        let mut moved = vec![0.0; numbers.len()];
        for (row, stored) in order.into_iter().enumerate() {
            let (from, to) = from_to(row, stored);
            moved[to * cols..][..cols].copy_from_slice(&numbers[from * cols..][..cols]);
        }
        moved
    }

    /// For each row in Hugging Face's order, the stored row; `None` if they are the same.
    fn stored_rows(self, rows: usize) -> Option<Vec<usize>> {
        let Self::RotaryPairs { heads } = self else { return None };
        let dim = (rows / heads.max(1)).max(2);
        Some((0..rows).map(|row| row - row % dim + 2 * (row % dim % (dim / 2)) + row % dim / (dim / 2)).collect())
    }
}

/// A tensor in a file.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Stored type.
    pub dtype: DType,
    /// Sizes, slowest first (rows, columns).
    pub shape: Vec<usize>,
    /// Exactly the bytes that type and shape ask for.
    pub bytes: Bytes,
    /// Order of the rows.
    pub order: RowOrder,
    /// What was added to the numbers when they were stored; a vector is taken without it. Of a matrix 0.
    pub plus: f32,
    /// The file, for messages.
    pub file: Arc<Path>,
}

impl Stored {
    /// The `rows` rows from `start` on (numbers of a vector); `None` if there are no such rows.
    pub(crate) fn rows(&self, start: usize, rows: usize) -> Option<Self> {
        let (_, inner) = self.shape.split_first()?;
        self.part(start, [&[rows], inner].concat())
    }

    /// What is at `index` of the first size, of one size less.
    pub(crate) fn at(&self, index: usize) -> Option<Self> {
        let (_, inner) = self.shape.split_first()?;
        self.part(index, inner.to_vec())
    }

    /// The part of this shape that begins at `start` of the first size.
    fn part(&self, start: usize, shape: Vec<usize>) -> Option<Self> {
        let bytes = |shape: &[usize]| {
            let numbers = shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size))?;
            self.dtype.row_bytes(numbers)
        };
        let start = start.checked_mul(bytes(&self.shape[1..])?)?;
        let part = self.bytes.part(start..start.checked_add(bytes(&shape)?)?)?;
        Some(Self { shape, bytes: part, ..self.clone() })
    }

    fn frozen(self, memory: &Memory, rows: usize, cols: usize) -> Result<Frozen, Error> {
        let order = self.order.stored_rows(rows);
        let frozen = Frozen::new(memory, self.dtype, rows, cols, self.bytes)?;
        match order {
            Some(order) => Ok(frozen.permuted(memory, &order)?),
            None => Ok(frozen),
        }
    }
}

/// All tensors of a model, by Hugging Face name. A clone refers to the same bytes.
#[derive(Debug, Clone)]
pub struct Weights {
    path: PathBuf,
    tensors: BTreeMap<String, Stored>,
}

impl Weights {
    /// No tensors yet; `path` is the file or folder that messages name.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), tensors: BTreeMap::new() }
    }

    /// # Errors
    /// [`Error::StoredTwice`] if there is one of that name.
    pub fn insert(&mut self, name: String, stored: Stored) -> Result<(), Error> {
        if let Some(other) = self.tensors.get(&name) {
            let (first, second) = (other.file.to_path_buf(), stored.file.to_path_buf());
            return Err(Error::StoredTwice { tensor: name, first, second });
        }
        self.tensors.insert(name, stored);
        Ok(())
    }

    /// Each tensor under the names, and in the parts, that `names` gives for it.
    ///
    /// # Errors
    /// [`Error::StoredTwice`] if two become one.
    pub(crate) fn renamed(self, mut names: impl FnMut(String, Stored) -> Vec<(String, Stored)>) -> Result<Self, Error> {
        let mut renamed = Self::new(self.path);
        for (name, stored) in self.tensors {
            for (name, stored) in names(name, stored) {
                renamed.insert(name, stored)?;
            }
        }
        Ok(renamed)
    }

    /// Leaves out the tensors that `taken` takes.
    pub(crate) fn take_all(&mut self, mut taken: impl FnMut(&str) -> bool) -> Vec<(String, Stored)> {
        let names: Vec<String> = self.tensors.keys().filter(|name| taken(name)).cloned().collect();
        names.into_iter().filter_map(|name| self.tensors.remove_entry(&name)).collect()
    }

    /// The file or folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// Whether `name` is stored and not taken yet.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }
    /// The description of `name`, if it is stored and not taken yet.
    pub fn get(&self, name: &str) -> Option<&Stored> {
        self.tensors.get(name)
    }
    /// Names not taken yet, in alphabetic order.
    pub fn remaining(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }

    /// Takes `name`, which must have `shape`.
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Stored, Error> {
        let missing = || Error::MissingTensor { path: self.path.clone(), tensor: name.to_owned() };
        let stored = self.tensors.remove(name).ok_or_else(missing)?;
        if stored.shape != shape {
            return Err(Error::WrongShape {
                path: stored.file.to_path_buf(),
                tensor: name.to_owned(),
                stored: sizes(&stored.shape),
                expected: sizes(shape),
            });
        }
        Ok(stored)
    }

    /// Takes the rows×cols matrix `name`, in its stored type and Hugging Face's row order.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::WrongShape`] (the tensor is taken all the same).
    pub fn take_matrix(&mut self, memory: &Memory, name: &str, rows: usize, cols: usize) -> Result<Frozen, Error> {
        self.take_shaped(memory, name, &[rows, cols], [rows, cols])
    }

    /// Takes `name`, which must be stored with the sizes `shape`, as a matrix of `[rows, cols]` of as many numbers in the
    /// same order.
    ///
    /// # Errors
    /// As [`Self::take_matrix`]; those of [`Frozen::new`] if there are not as many.
    pub fn take_shaped(
        &mut self,
        memory: &Memory,
        name: &str,
        shape: &[usize],
        [rows, cols]: [usize; 2],
    ) -> Result<Frozen, Error> {
        self.take(name, shape)?.frozen(memory, rows, cols)
    }

    /// Takes the numbers of `name`, which must have the shape of `tensor`, widened to f32.
    ///
    /// # Errors
    /// As [`Self::take_matrix`].
    pub fn take_numbers(&mut self, name: &str, tensor: TensorRef<'_>) -> Result<Vec<f32>, Error> {
        match tensor {
            // The numbers leave the frozen form at once, so its bytes are counted nowhere.
            TensorRef::Matrix(w) | TensorRef::ShapedMatrix(w, _) => {
                Ok(self.take_shaped(&Memory::new(), name, &tensor.shape(), [w.rows(), w.cols()])?.to_f32())
            }
            TensorRef::Vector(_) | TensorRef::Heads(..) | TensorRef::ShapedVector(..) => {
                self.take_vector(name, &tensor.shape())
            }
        }
    }

    /// Takes the numbers of `name`, which must have this shape, widened to f32.
    ///
    /// # Errors
    /// As [`Self::take_matrix`].
    pub fn take_vector(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        let len = shape.iter().product();
        let mut stored = self.take(name, shape)?;
        let plus = stored.plus;
        let order = std::mem::replace(&mut stored.order, RowOrder::AsIs).stored_rows(len);
        // The numbers leave the frozen form at once, so its bytes are counted nowhere.
        let mut numbers = stored.frozen(&Memory::new(), 1, len)?.to_f32();
        if plus != 0.0 {
            numbers.iter_mut().for_each(|x| *x -= plus);
        }
        Ok(match order {
            Some(order) => order.into_iter().map(|row| numbers[row]).collect(),
            None => numbers,
        })
    }
}

/// "3x4".
fn sizes(shape: &[usize]) -> String {
    if shape.is_empty() {
        return "a single number".to_owned();
    }
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotary_pairs_are_inverted() {
        // Two heads of 6: llama.cpp stores rows 0 3 1 4 2 5 of each.
        let stored = [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11];
        let order = RowOrder::RotaryPairs { heads: 2 }.stored_rows(12).unwrap_or_default();
        let back: Vec<usize> = order.iter().map(|&row| stored[row]).collect();
        assert_eq!(back, (0..12).collect::<Vec<_>>());
        assert_eq!(RowOrder::AsIs.stored_rows(12), None);
        // Of 12 rows of 2 numbers, both directions.
        let (numbers, order) = ((0..24).map(|i| i as f32).collect::<Vec<_>>(), RowOrder::RotaryPairs { heads: 2 });
        let written = order.to_stored(12, numbers.clone());
        assert_eq!(written.chunks(2).map(|row| row[0] as usize / 2).collect::<Vec<_>>(), stored);
        assert_eq!(order.to_hugging_face(12, written), numbers);
        assert_eq!(RowOrder::AsIs.to_stored(12, numbers.clone()), numbers);
    }

    #[test]
    fn vectors_are_put_in_order_too() -> Result<(), Error> {
        let numbers = [0.0f32, 3.0, 1.0, 4.0, 2.0, 5.0];
        let mut weights = Weights::new("m");
        let stored = Stored {
            dtype: DType::F32,
            shape: vec![6],
            bytes: Bytes::owned(numbers.iter().flat_map(|x| x.to_le_bytes()).collect()),
            order: RowOrder::RotaryPairs { heads: 1 },
            plus: 1.0,
            file: Path::new("m").into(),
        };
        weights.insert("bias".to_owned(), stored)?;
        assert_eq!(weights.take_vector("bias", &[6])?, [-1.0, 0.0, 1.0, 2.0, 3.0, 4.0]);
        Ok(())
    }
}
