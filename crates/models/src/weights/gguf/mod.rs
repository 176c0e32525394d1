//! GGUF files (versions 2 and 3, little-endian), the format of llama.cpp: this is the reader, [`mod@write`] the writer. What
//! names and keys mean, [`crate::llama_cpp`] knows.
//!
//! | part | content |
//! |---|---|
//! | header | magic `GGUF`, version u32, number of tensors u64, number of metadata pairs u64 |
//! | metadata | key, type u32, value; strings are a u64 length and UTF-8 |
//! | tensor infos | name, number of dimensions u32, sizes u64 **fastest first**, type u32, offset u64 into the data |
//! | data | from the next multiple of `general.alignment` (32 unless said) |
//!
//! A file is not trusted: every length is compared with the bytes that are left before anything is allocated for it.
//! Source: `docs/gguf.md` of ggml, checked against the Python package `gguf`.

mod cursor;
mod error;
mod metadata;
mod types;
pub mod write;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use loract_autograd::Bytes;

use super::map::{Shared, map};
use super::{RowOrder, Stored, Weights};
use crate::error::Error;
use cursor::Cursor;
use write::Entry;

pub use error::GgufError;
pub use metadata::{Array, Metadata, Value};

/// Dimensions that ggml knows.
const MOST_DIMENSIONS: u32 = 4;
const ALIGNMENT: u64 = 32;

/// A tensor as the header describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Info {
    name: String,
    /// Slowest first.
    shape: Vec<usize>,
    /// ggml's number of the type.
    type_id: u32,
    /// From the start of the data.
    offset: u64,
}

/// An open GGUF file: metadata and the places of tensors.
pub struct Gguf {
    path: PathBuf,
    shared: Shared,
    metadata: Metadata,
    infos: Vec<Info>,
    data_start: u64,
    alignment: u64,
}

impl Gguf {
    /// Maps a file and reads its header.
    ///
    /// # Errors
    /// [`Error::Read`]; [`Error::Gguf`] if it is damaged or of an unknown kind.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::parse(path, map(path)?)
    }

    /// Reads the header in the bytes of a file, which messages call `path`.
    ///
    /// # Errors
    /// [`Error::Gguf`] if they are damaged or of an unknown kind.
    pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Self, Error> {
        Self::parse(path, Arc::new(bytes))
    }

    fn parse(path: &Path, shared: Shared) -> Result<Self, Error> {
        let header = Header::read((*shared).as_ref());
        let header = header.map_err(|reason| Error::Gguf { path: path.to_path_buf(), reason })?;
        let Header { metadata, infos, data_start, alignment } = header;
        Ok(Self { path: path.to_path_buf(), shared, metadata, infos, data_start, alignment })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// The metadata.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }
    /// Every key with type and value as the file has them, in its order, to be written again.
    pub fn entries(&self) -> Vec<(String, Entry)> {
        let bytes = |range: &Range<usize>| Bytes::new(self.shared.clone(), range.clone());
        let entry = |(key, range): &(String, Range<usize>)| Some((key.clone(), Entry::AsRead(bytes(range)?)));
        self.metadata.places().iter().filter_map(entry).collect()
    }
    /// Names of the tensors, in the file's words and order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.infos.iter().map(|info| info.name.as_str())
    }
    /// Sizes of the tensor that the file calls `name`, slowest first.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.infos.iter().find(|info| info.name == name).map(|info| info.shape.as_slice())
    }

    /// The bytes, the stored type and the shape of `info`.
    fn stored(&self, info: &Info, file: &Arc<Path>) -> Result<Stored, Error> {
        let name = || info.name.clone();
        let dtype = types::dtype(info.type_id).ok_or_else(|| Error::StoredType {
            path: self.path.clone(),
            tensor: name(),
            dtype: types::name(info.type_id),
            supported: types::SUPPORTED,
        })?;
        let damaged = |reason| self.damaged(reason);
        if !info.offset.is_multiple_of(self.alignment) {
            let (tensor, offset, alignment) = (name(), info.offset, self.alignment);
            return Err(damaged(GgufError::Misaligned { tensor, offset, alignment }));
        }
        let cols = info.shape.last().copied().unwrap_or(1);
        let rows = info.shape.iter().rev().skip(1).try_fold(1usize, |rows, &size| rows.checked_mul(size));
        let row_bytes = dtype.row_bytes(cols).ok_or_else(|| damaged(GgufError::Row { tensor: name(), dtype, cols }))?;
        let size = rows.and_then(|rows| rows.checked_mul(row_bytes));
        let size = size.ok_or_else(|| damaged(GgufError::Overflow { tensor: name() }))?;
        let start = self.data_start.checked_add(info.offset).and_then(|start| usize::try_from(start).ok());
        let range = start.and_then(|start| Some(start..start.checked_add(size)?));
        let bytes = range.and_then(|range| Bytes::new(self.shared.clone(), range)).ok_or_else(|| {
            let file = (*self.shared).as_ref().len();
            damaged(GgufError::Outside { tensor: name(), offset: info.offset, size, data_start: self.data_start, file })
        })?;
        Ok(Stored { dtype, shape: info.shape.clone(), bytes, order: RowOrder::AsIs, plus: 0.0, file: file.clone() })
    }

    /// Every tensor as it is stored, under the file's names, in its order.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = Result<(&str, Stored), Error>> {
        let file: Arc<Path> = self.path.as_path().into();
        self.infos.iter().map(move |info| Ok((info.name.as_str(), self.stored(info, &file)?)))
    }

    /// The numbers of the vector that the file calls `name`, if it has it.
    pub(crate) fn vector(&self, name: &str) -> Result<Option<Vec<f32>>, Error> {
        let Some(info) = self.infos.iter().find(|info| info.name == name) else { return Ok(None) };
        let len = info.shape.first().copied().unwrap_or(0);
        let mut one = Weights::new(&self.path);
        one.insert(info.name.clone(), self.stored(info, &self.path.as_path().into())?)?;
        Ok(Some(one.take_vector(name, &[len])?))
    }

    /// The error that this is wrong with the file.
    pub(crate) fn damaged(&self, reason: GgufError) -> Error {
        Error::Gguf { path: self.path.clone(), reason }
    }
}

struct Header {
    metadata: Metadata,
    infos: Vec<Info>,
    data_start: u64,
    alignment: u64,
}

impl Header {
    fn read(bytes: &[u8]) -> Result<Self, GgufError> {
        let mut cursor = Cursor::new(bytes);
        if cursor.take(4, "the magic number")? != b"GGUF" {
            return Err(GgufError::NotGguf);
        }
        match cursor.u32("the version")? {
            2 | 3 => {}
            version if matches!(version.swap_bytes(), 1..=3) => return Err(GgufError::BigEndian),
            version => return Err(GgufError::Version { version }),
        }
        let tensors = cursor.u64("the number of tensors")?;
        let pairs = cursor.u64("the number of metadata pairs")?;
        let metadata = Metadata::read(&mut cursor, pairs)?;
        let alignment = metadata.unsigned("general.alignment")?.unwrap_or(ALIGNMENT);
        if !alignment.is_power_of_two() {
            return Err(GgufError::Alignment { alignment });
        }
        if let Some(parts @ 2..) = metadata.unsigned("split.count")? {
            return Err(GgufError::Split { parts });
        }
        // No allocation from the count: a lying one ends at the end of the file.
        let mut infos = Vec::new();
        for _ in 0..tensors {
            infos.push(Info::read(&mut cursor)?);
        }
        let data_start = cursor.at().checked_next_multiple_of(alignment).unwrap_or(u64::MAX);
        Ok(Self { metadata, infos, data_start, alignment })
    }
}

impl Info {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, GgufError> {
        let name = cursor.text("the name of a tensor")?;
        let what = format!("the description of tensor {name}");
        let dimensions = cursor.u32(&what)?;
        if dimensions == 0 || dimensions > MOST_DIMENSIONS {
            return Err(GgufError::Dimensions { tensor: name, dimensions });
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            let size = usize::try_from(cursor.u64(&what)?);
            match size {
                // However many rows of nothing would fit into any file.
                Ok(0) => return Err(GgufError::Empty { tensor: name }),
                Ok(size) => shape.push(size),
                Err(_) => return Err(GgufError::Overflow { tensor: name }),
            }
        }
        shape.reverse();
        Ok(Self { name, shape, type_id: cursor.u32(&what)?, offset: cursor.u64(&what)? })
    }
}
