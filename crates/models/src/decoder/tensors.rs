//! Every base tensor of a decoder under its name in the checkpoint.

use loract_autograd::ops::{Linear, Norm};
use loract_autograd::{Memory, Values, Weight};

use super::{Decoder, layer_name};
use crate::error::Error;
use crate::layers::parts::{Named, Part, PartMut};
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

/// The tensors of a part of a layer whose names begin with `prefix`; `own_heads` tells that norms of heads have a row for each.
fn list<'a>(part: Part<'a>, prefix: &str, own_heads: bool, all: &mut Vec<(String, TensorRef<'a>)>) {
    let (name, weight, bias) = match part {
        Part::Norm(Named { name, part: Norm { width, weight, bias, .. } }) => {
            let heads = |values: &'a Values| match own_heads && name.starts_with("self_attn.") {
                true => TensorRef::Heads(values, *width),
                false => TensorRef::Vector(values),
            };
            (name, weight.as_ref().map(heads), bias.as_ref().map(heads))
        }
        Part::Linear(Named { name, part }) | Part::Router(Named { name, part }) => {
            (name, Some(TensorRef::Matrix(&part.weight)), part.bias.as_ref().map(TensorRef::Vector))
        }
    };
    let name = format!("{prefix}{name}");
    all.extend(weight.map(|weight| (weight_of(&name), weight)));
    all.extend(bias.map(|bias| (bias_of(&name), bias)));
}

/// As [`list`], to change.
fn list_mut<'a>(part: PartMut<'a>, prefix: &str, own_heads: bool, all: &mut Vec<(String, TensorMut<'a>)>) {
    let (name, weight, bias) = match part {
        PartMut::Norm(Named { name, part: Norm { width, weight, bias, .. } }) => {
            let own = own_heads && name.starts_with("self_attn.");
            let heads = |values: &'a mut Values| match own {
                true => TensorMut::Heads(values, *width),
                false => TensorMut::Vector(values),
            };
            (name, weight.as_mut().map(heads), bias.as_mut().map(heads))
        }
        PartMut::Linear(Named { name, part }) | PartMut::Router(Named { name, part }) => {
            let Linear { weight, bias, .. } = part;
            (name, Some(TensorMut::Matrix(weight)), bias.as_mut().map(TensorMut::Vector))
        }
    };
    let name = format!("{prefix}{name}");
    all.extend(weight.map(|weight| (weight_of(&name), weight)));
    all.extend(bias.map(|bias| (bias_of(&name), bias)));
}

fn weight_of(module: &str) -> String {
    format!("{module}.weight")
}
fn bias_of(module: &str) -> String {
    format!("{module}.bias")
}
