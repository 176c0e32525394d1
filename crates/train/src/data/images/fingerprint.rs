//! Whether a set is the one of before, wherever it lies now.

use super::{ImageSet, Source};
use crate::error::Error;

/// Pictures of a file of tensors that are looked at, spread over it.
const LOOKED_AT: usize = 16;

impl ImageSet {
    /// What it holds, in short: of files their names, sizes and labels; of IDX and Parquet every byte; of tensors their shape,
    /// labels, and some of the pictures.
    ///
    /// # Errors
    /// [`Error::Read`] if a file of tensors cannot be read any more.
    pub fn fingerprint(&self) -> Result<String, Error> {
        let mut hasher = crc32fast::Hasher::new();
        for class in &self.classes {
            hasher.update(format!("{class}\n").as_bytes());
        }
        for (&place, label) in self.places.iter().zip(&self.labels) {
            hasher.update(&(place as u64).to_le_bytes());
            hasher.update(&label.map_or(-1, i64::from).to_le_bytes());
        }
        match &self.source {
            Source::Files(files) => {
                for &place in &self.places {
                    hasher.update(format!("{} {}\n", files.short_name(place), files.sizes[place]).as_bytes());
                }
            }
            Source::Idx(idx) => hasher.update(&idx.bytes),
            Source::Tensors(tensors) => {
                hasher.update(format!("{} {:?}\n", tensors.count, tensors.shape).as_bytes());
                let step = tensors.count.div_ceil(LOOKED_AT);
                for place in (0..tensors.count).step_by(step) {
                    for number in tensors.pixels(place)? {
                        hasher.update(&number.to_le_bytes());
                    }
                }
            }
            #[cfg(feature = "parquet")]
            Source::Parquet(rows) => {
                for &place in &self.places {
                    hasher.update(rows.bytes(place)?);
                }
            }
        }
        Ok(format!("{} pictures ({:08x})", self.len(), hasher.finalize()))
    }
}
