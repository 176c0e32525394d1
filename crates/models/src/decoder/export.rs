//! A decoder's weights as a safetensors file.

use super::Decoder;
use crate::files::{Content, ToWrite};
use crate::weights::store::{StoredAs, ToStore};

/// File name of a model's weights.
pub const MODEL_FILE: &str = "model.safetensors";

impl Decoder {
    /// Every base weight under its name as `model.safetensors`; LoRA pairs are left out.
    pub fn to_file(&self, stored: StoredAs) -> ToWrite<'_> {
        let tensors = self.tensors().into_iter().map(|(name, tensor)| (name, ToStore::of_model(tensor, stored)));
        ToWrite { name: MODEL_FILE, content: Content::Tensors(tensors.collect()) }
    }
}
