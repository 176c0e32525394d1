//! Weights in safetensors files: one `model.safetensors`, or shards named by `model.safetensors.index.json`.
//!
//! The header is checked by the `safetensors` crate (offsets inside the file, no gaps, no overlaps). Plain types only:
//! F32, F16, BF16.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use ::safetensors::{Dtype, SafeTensors};
use loract_autograd::{Bytes, DType};

use super::map::{Shared, map};
use super::{RowOrder, Stored, Weights};
use crate::error::Error;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Tables of integers that older versions of Transformers stored with the weights, though they follow from the configuration.
const COMPUTED: [&str; 2] = [".position_ids", ".relative_position_index"];

/// The weights of a folder.
///
/// # Errors
/// If there are none, only pickled ones, or if a file is incomplete, damaged or of a type that is not read.
pub fn open_folder(folder: &Path) -> Result<Weights, Error> {
    let mut weights = Weights::new(folder);
    let (single, index) = (folder.join(SINGLE), folder.join(INDEX));
    if single.is_file() {
        add(&mut weights, &single, map(&single)?)?;
    } else if index.is_file() {
        add_shards(&mut weights, folder, &index)?;
    } else {
        for pickled in ["pytorch_model.bin", "pytorch_model.bin.index.json"] {
            let path = folder.join(pickled);
            if path.is_file() {
                return Err(Error::PickledWeights { path });
            }
        }
        return Err(Error::NoWeights { folder: folder.to_path_buf() });
    }
    Ok(weights)
}

/// The weights in the bytes of one file, which messages call `path`.
///
/// # Errors
/// If the bytes are incomplete, damaged or of a type that is not read.
pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Weights, Error> {
    let mut weights = Weights::new(path);
    add(&mut weights, path, Arc::new(bytes))?;
    Ok(weights)
}

/// Adds the tensors of one file.
fn add(weights: &mut Weights, path: &Path, shared: Shared) -> Result<(), Error> {
    let damaged = |reason| Error::Safetensors { path: path.to_path_buf(), reason };
    let bytes: &[u8] = (*shared).as_ref();
    let (header, metadata) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
    let file: Arc<Path> = path.into();
    // A sorted order, so that the first error does not depend on a hash.
    for (name, info) in BTreeMap::from_iter(metadata.tensors()) {
        let dtype = match info.dtype {
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::Bf16,
            _ if COMPUTED.iter().any(|end| name.ends_with(end)) => continue,
            other => {
                let dtype = other.to_string();
                let path = path.to_path_buf();
                return Err(Error::StoredType { path, tensor: name, dtype, supported: "F32, F16, BF16" });
            }
        };
        let (start, end) = info.data_offsets;
        let at = 8 + header;
        let part = Bytes::new(shared.clone(), at + start..at + end);
        let part = part.ok_or_else(|| damaged(::safetensors::SafeTensorError::InvalidOffset(name.clone())))?;
        let stored = Stored {
            dtype,
            shape: info.shape.clone(),
            bytes: part,
            order: RowOrder::AsIs,
            plus: 0.0,
            file: file.clone(),
        };
        weights.insert(name, stored)?;
    }
    Ok(())
}

fn add_shards(weights: &mut Weights, folder: &Path, index: &Path) -> Result<(), Error> {
    let text = std::fs::read(index).map_err(|reason| Error::Read { path: index.to_path_buf(), reason })?;
    let json = |reason| Error::Json { path: index.to_path_buf(), reason };
    let parsed: serde_json::Value = serde_json::from_slice(&text).map_err(json)?;
    let tensors = parsed.get("weight_map").cloned().unwrap_or_default();
    let tensors: BTreeMap<String, String> = serde_json::from_value(tensors).map_err(json)?;

    let mut shards: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (tensor, shard) in &tensors {
        shards.entry(shard).or_default().push(tensor);
    }
    for (name, tensors) in shards {
        let shard = folder.join(name);
        if !shard.is_file() {
            return Err(Error::MissingShard { index: index.to_path_buf(), shard });
        }
        add(weights, &shard, map(&shard)?)?;
        let missing = |tensor: &&str| weights.get(tensor).is_none_or(|stored| *stored.file != *shard);
        if let Some(tensor) = tensors.into_iter().find(missing) {
            let (index, tensor) = (index.to_path_buf(), tensor.to_owned());
            return Err(Error::NotInShard { index, shard, tensor });
        }
    }
    Ok(())
}
