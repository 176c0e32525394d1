//! Ways to damage a copy of a golden model.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::{Anyhow, Place};

/// The single weights file of a place's model.
pub const WEIGHTS: &str = "model/model.safetensors";

/// A safetensors file taken apart: dtype, shape and bytes by name.
pub struct Tensors(BTreeMap<String, (String, Vec<usize>, Vec<u8>)>);

impl Tensors {
    pub fn read(bytes: &[u8]) -> Anyhow<Self> {
        let (length, rest) = bytes.split_first_chunk::<8>().ok_or("no header length")?;
        let (header, data) = rest.split_at(usize::try_from(u64::from_le_bytes(*length))?);
        let header: BTreeMap<String, Value> = serde_json::from_slice(header)?;
        let mut tensors = BTreeMap::new();
        for (name, info) in header.into_iter().filter(|(name, _)| name != "__metadata__") {
            let [start, end] = serde_json::from_value::<[usize; 2]>(info["data_offsets"].clone())?;
            let shape = serde_json::from_value(info["shape"].clone())?;
            let dtype = info["dtype"].as_str().ok_or("no dtype")?.to_owned();
            tensors.insert(name, (dtype, shape, data[start..end].to_vec()));
        }
        Ok(Self(tensors))
    }

    pub fn to_bytes(&self) -> Anyhow<Vec<u8>> {
        let (mut header, mut data) = (BTreeMap::new(), Vec::new());
        for (name, (dtype, shape, bytes)) in &self.0 {
            let offsets = [data.len(), data.len() + bytes.len()];
            header.insert(name, json!({"dtype": dtype, "shape": shape, "data_offsets": offsets}));
            data.extend_from_slice(bytes);
        }
        let mut header = serde_json::to_vec(&header)?;
        header.resize(header.len().next_multiple_of(8), b' ');
        Ok([&(header.len() as u64).to_le_bytes()[..], &header, &data].concat())
    }

    /// Every number of a tensor stored as F32.
    pub fn numbers(&self, name: &str) -> Anyhow<Vec<f32>> {
        let (dtype, _, bytes) = self.0.get(name).ok_or_else(|| format!("no {name}"))?;
        assert_eq!(dtype, "F32", "{name}");
        Ok(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    }

    /// Every number of the file, in the order of names.
    pub fn all(&self) -> Anyhow<Vec<f32>> {
        Ok(self.0.keys().map(|name| self.numbers(name)).collect::<Anyhow<Vec<_>>>()?.concat())
    }

    /// Without a tensor.
    pub fn drop_tensor(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// Swaps the sizes of a tensor.
    pub fn turn(&mut self, name: &str) {
        if let Some((_, shape, _)) = self.0.get_mut(name) {
            shape.reverse();
        }
    }

    pub fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}

/// Changes a safetensors file.
fn change(place: &Place, file: &str, edit: impl FnOnce(&mut Tensors) -> Option<()>) -> Anyhow {
    let mut tensors = Tensors::read(&place.read(file)?)?;
    edit(&mut tensors).ok_or("the tensor to damage is not there")?;
    place.write(file, tensors.to_bytes()?)
}

/// Removes a tensor.
pub fn remove(place: &Place, file: &str, name: &str) -> Anyhow {
    change(place, file, |tensors| tensors.0.remove(name).map(|_| ()))
}

/// Adds a tensor of one number.
pub fn add(place: &Place, file: &str, name: &str) -> Anyhow {
    let one = ("F32".to_owned(), vec![1], 1f32.to_le_bytes().to_vec());
    change(place, file, |tensors| tensors.0.insert(name.to_owned(), one).map_or(Some(()), |_| None))
}

/// Stores a tensor under another type of as many bytes.
pub fn retype(place: &Place, file: &str, name: &str, dtype: &str) -> Anyhow {
    change(place, file, |tensors| tensors.0.get_mut(name).map(|(stored, _, _)| *stored = dtype.to_owned()))
}

/// Swaps the two sizes of a matrix.
pub fn transpose(place: &Place, file: &str, name: &str) -> Anyhow {
    change(place, file, |tensors| tensors.0.get_mut(name).map(|(_, shape, _)| shape.reverse()))
}

/// Sets one number of an F32 tensor.
pub fn set(place: &Place, file: &str, name: &str, index: usize, to: f32) -> Anyhow {
    change(place, file, |tensors| {
        let (_, _, bytes) = tensors.0.get_mut(name)?;
        bytes.get_mut(4 * index..4 * index + 4).map(|number| number.copy_from_slice(&to.to_le_bytes()))
    })
}

/// Sets every number of an F32 tensor.
pub fn fill(place: &Place, file: &str, name: &str, with: f32) -> Anyhow {
    change(place, file, |tensors| {
        let (_, _, bytes) = tensors.0.get_mut(name)?;
        bytes.chunks_exact_mut(4).for_each(|number| number.copy_from_slice(&with.to_le_bytes()));
        Some(())
    })
}

/// Keeps the first `keep` of a thousand parts of a file.
pub fn truncate(place: &Place, file: &str, keep: usize) -> Anyhow {
    let bytes = place.read(file)?;
    place.write(file, &bytes[..bytes.len() * keep / 1000])
}

/// Sets a key of a JSON file; `null` removes it.
pub fn set_key(place: &Place, file: &str, key: &str, value: Value) -> Anyhow {
    let mut object = place.json(file)?;
    let map = object.as_object_mut().ok_or("an object")?;
    if value.is_null() {
        map.remove(key)
    } else {
        map.insert(key.to_owned(), value)
    };
    place.write(file, object.to_string())
}
