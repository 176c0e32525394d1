//! Whether a set is the one of before, wherever it lies now.

use loract_models::vision::ImageProcessor;
use serde_json::Value;

use super::{ImageSet, Source};
use crate::error::Error;

/// Pictures of a file of tensors that are looked at, spread over it.
const LOOKED_AT: usize = 16;

impl ImageSet {
    /// What it holds, in short: of files their names and labels (one that was broken may be put right); of IDX and Parquet every
    /// byte; of tensors their shape, labels, and some of the pictures.
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
                    hasher.update(format!("{}\n", files.short_name(place)).as_bytes());
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

    /// The same, and how `processor` makes numbers of the pictures; tensors are taken as they are.
    ///
    /// # Errors
    /// Those of [`ImageSet::fingerprint`].
    pub(crate) fn fingerprint_with(&self, processor: &ImageProcessor) -> Result<String, Error> {
        let set = self.fingerprint()?;
        if let Source::Tensors(_) = self.source {
            return Ok(set);
        }
        let prepared = crc32fast::hash(Value::Object(processor.to_json()).to_string().as_bytes());
        Ok(format!("{set}, prepared as preprocessor_config.json says ({prepared:08x})"))
    }
}
