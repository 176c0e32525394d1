//! Every base tensor of a decoder under its name in the checkpoint.

use loract_autograd::{Memory, Weight};

use super::{Decoder, layer_name};
use crate::error::Error;
use crate::layers::parts::{Part, PartMut};
use crate::layers::tensors::{bias_of, list, list_mut, weight_of};
use crate::tensor_ref::{TensorMut, TensorRef};

/// The module that turns tokens into vectors.
pub(super) const EMBEDDING: &str = "model.embed_tokens";
/// The module that turns vectors into logits; of a tied model it is the embedding.
pub(super) const HEAD: &str = "lm_head";

impl Decoder {
    /// Every base tensor with its name, in the order of the checkpoint; LoRA pairs are left out.
    pub fn tensors(&self) -> Vec<(String, TensorRef<'_>)> {
        let mut all = vec![(weight_of(EMBEDDING), TensorRef::Matrix(&self.embed_tokens))];
        let own_heads = self.config.has_own_head_norms();
        for (i, layer) in self.layers.iter().enumerate() {
            layer.parts().into_iter().for_each(|part| list(part, &layer_name(i, ""), own_heads, &mut all));
        }
        list(Part::Norm(&self.norm), "", false, &mut all);
        all.extend(self.lm_head.as_ref().map(|head| (weight_of(HEAD), TensorRef::Matrix(head))));
        all.extend(self.head_bias.as_ref().map(|bias| (bias_of(HEAD), TensorRef::Vector(bias))));
        all
    }

    /// As [`Decoder::tensors`], to change.
    pub fn tensors_mut(&mut self) -> Vec<(String, TensorMut<'_>)> {
        let mut all = vec![(weight_of(EMBEDDING), TensorMut::Matrix(&mut self.embed_tokens))];
        let own_heads = self.config.has_own_head_norms();
        for (i, layer) in self.layers.iter_mut().enumerate() {
            layer.parts_mut().into_iter().for_each(|part| list_mut(part, &layer_name(i, ""), own_heads, &mut all));
        }
        list_mut(PartMut::Norm(&mut self.norm), "", false, &mut all);
        all.extend(self.lm_head.as_mut().map(|head| (weight_of(HEAD), TensorMut::Matrix(head))));
        all.extend(self.head_bias.as_mut().map(|bias| (bias_of(HEAD), TensorMut::Vector(bias))));
        all
    }

    /// Gives a tied model a head of its own, with the numbers of the embedding.
    pub(super) fn untie(&mut self, memory: &Memory) -> Result<(), Error> {
        if self.lm_head.is_none()
            && let Weight::Frozen(table) = &self.embed_tokens
        {
            self.lm_head = Some(Weight::Frozen(table.shared(memory)?));
            self.config.tied = false;
        }
        Ok(())
    }
}
