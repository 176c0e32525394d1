//! A model's weights as safetensors files.

use std::borrow::Cow;
use std::collections::BTreeMap;

use loract_autograd::ops::Linear;
use serde_json::json;

use crate::files::{Content, ToWrite};
use crate::model::Model;
use crate::weights::store::{Numbers, StoredAs, ToStore};

/// File name of a model's weights, if they are in one file.
pub const MODEL_FILE: &str = "model.safetensors";
/// File name of the list of files, if they are in several.
const INDEX_FILE: &str = "model.safetensors.index.json";

/// Every weight with its name in the checkpoint, its LoRA branch added if it has one.
pub(crate) fn merged_tensors<M: Model>(model: &M, stored: StoredAs) -> Vec<(String, ToStore<'_>)> {
    let adapted = model.linears().into_iter().filter(|(_, linear)| linear.lora.is_some());
    let mut adapted: BTreeMap<String, &Linear> = adapted.collect();
    let all = model.tensors().into_iter().chain(model.carried());
    let tensors = all.map(|(name, tensor)| {
        let mut tensor = ToStore::of_model(tensor, stored);
        if let Some(layer) = name.strip_suffix(".weight").and_then(|layer| adapted.remove(layer)) {
            tensor.numbers = Numbers::Merged(layer);
        }
        (model.published(&name), tensor)
    });
    tensors.collect()
}

/// See [`Model::to_files`].
pub(crate) fn in_files(tensors: Vec<(String, ToStore<'_>)>, most_bytes: usize) -> Vec<ToWrite<'_>> {
    let total: usize = tensors.iter().map(|(_, tensor)| tensor.size_bytes()).sum();
    let mut shards: Vec<(usize, Vec<(String, ToStore<'_>)>)> = Vec::new();
    for (name, tensor) in tensors {
        let bytes = tensor.size_bytes();
        match shards.last_mut() {
            Some((held, shard)) if *held + bytes <= most_bytes => {
                *held += bytes;
                shard.push((name, tensor));
            }
            _ => shards.push((bytes, vec![(name, tensor)])),
        }
    }
    let several = shards.len() > 1;
    let count = shards.len();
    let mut places = BTreeMap::new();
    let mut files: Vec<ToWrite<'_>> = Vec::with_capacity(count + 1);
    for (i, (_, shard)) in shards.into_iter().enumerate() {
        let file = match several {
            true => Cow::Owned(format!("model-{:05}-of-{count:05}.safetensors", i + 1)),
            false => Cow::Borrowed(MODEL_FILE),
        };
        places.extend(shard.iter().map(|(name, _)| (name.clone(), file.to_string())));
        files.push(ToWrite { name: file, content: Content::Tensors(shard) });
    }
    if several {
        let index = json!({ "metadata": { "total_size": total }, "weight_map": places });
        files.push(ToWrite { name: INDEX_FILE.into(), content: Content::Bytes(format!("{index:#}\n").into_bytes()) });
    }
    files
}
