//! Captured matrices as a safetensors file, for others to check.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use loract_autograd::Tensor;
use loract_train::Error;
use safetensors::{Dtype, SafeTensorError, View};

use crate::commands::folder::cannot_write;

/// A matrix that is turned into bytes when its turn to be written has come.
struct Stored {
    tensor: Tensor,
    shape: [usize; 2],
}

impl View for Stored {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.tensor.to_vec().iter().flat_map(|x| x.to_le_bytes()).collect())
    }
    fn data_len(&self) -> usize {
        self.tensor.size_bytes()
    }
}

/// A file to be written, opened before the work begins.
pub struct SaveFile {
    path: PathBuf,
    beside: PathBuf,
    matrices: Vec<(String, Stored)>,
}

impl SaveFile {
    /// Makes sure that the file can be written.
    pub fn at(path: &Path) -> Result<Self, Error> {
        if path.is_dir() {
            let what = format!("{} is a folder; give a file name", path.display());
            return Err(Error::Setting { key: "save", what });
        }
        let mut name = OsString::from(path);
        name.push(".partial");
        let beside = PathBuf::from(name);
        fs::write(&beside, b"").map_err(|reason| cannot_write("save", path, &reason))?;
        Ok(Self { path: path.to_path_buf(), beside, matrices: Vec::new() })
    }

    /// Keeps a tensor to be written; its memory is shared, not copied.
    pub fn add(&mut self, label: String, tensor: &Tensor) {
        self.matrices.push((label, Stored { tensor: tensor.clone(), shape: [tensor.rows(), tensor.cols()] }));
    }

    /// Writes the file, whole or not at all.
    pub fn write(mut self) -> Result<(), Error> {
        let failed = |reason| Error::Write { path: self.path.clone(), reason };
        let matrices = std::mem::take(&mut self.matrices);
        safetensors::serialize_to_file(matrices, None, &self.beside).map_err(|e| {
            failed(match e {
                SafeTensorError::IoError(reason) => reason,
                other => std::io::Error::other(other.to_string()),
            })
        })?;
        fs::rename(&self.beside, &self.path).map_err(failed)
    }
}

impl Drop for SaveFile {
    fn drop(&mut self) {
        // After a rename there is nothing left to remove.
        let _ = fs::remove_file(&self.beside);
    }
}
