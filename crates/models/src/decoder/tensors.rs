//! Every base tensor of a decoder under its name in the checkpoint, and which of them are trained.

use loract_autograd::ops::{Linear, Norm};
use loract_autograd::{Memory, Param, Values, Weight};

use super::{Decoder, layer_name};
use crate::attach::{last_parts, names};
use crate::error::Error;
use crate::layers::parts::{Named, Part, PartMut};
use crate::tensor_ref::TensorRef;
use crate::weights::Weights;

/// The module that turns tokens into vectors.
const EMBEDDING: &str = "model.embed_tokens";
/// The module that turns vectors into logits; of a tied model it is the embedding.
const HEAD: &str = "lm_head";

/// A tensor of a decoder, to change.
pub(super) enum TensorMut<'a> {
    Matrix(&'a mut Weight),
    Vector(&'a mut Values),
}

impl TensorMut<'_> {
    /// Makes it trained, in f32.
    fn train(self, memory: &Memory, name: String) {
        match self {
            TensorMut::Matrix(weight) => {
                if let Weight::Frozen(frozen) = weight {
                    let (rows, cols) = (frozen.rows(), frozen.cols());
                    let numbers = if memory.is_hollow() { Vec::new() } else { frozen.to_f32() };
                    *weight = Weight::Trained(Param::new(memory, name, rows, cols, numbers));
                }
            }
            TensorMut::Vector(vector) => {
                if let Values::Frozen(tensor) = vector {
                    *vector = Values::Trained(Param::new(memory, name, 1, tensor.cols(), tensor.to_vec()));
                }
            }
        }
    }
}

impl Decoder {
    /// Every base tensor with its name, in the order of the checkpoint; LoRA pairs are left out.
    pub fn tensors(&self) -> Vec<(String, TensorRef<'_>)> {
        let mut all = vec![(weight_of(EMBEDDING), TensorRef::Matrix(&self.embed_tokens))];
        for (i, layer) in self.layers.iter().enumerate() {
            layer
                .parts()
                .into_iter()
                .for_each(|part| list(part, &layer_name(i, ""), self.config.has_own_head_norms(), &mut all));
        }
        list(Part::Norm(&self.norm), "", false, &mut all);
        all.extend(self.lm_head.as_ref().map(|head| (weight_of(HEAD), TensorRef::Matrix(head))));
        all.extend(self.head_bias.as_ref().map(|bias| (bias_of(HEAD), TensorRef::Vector(bias))));
        all
    }

    /// As [`Decoder::tensors`], to change.
    fn tensors_mut(&mut self) -> Vec<(String, TensorMut<'_>)> {
        let mut all = vec![(weight_of(EMBEDDING), TensorMut::Matrix(&mut self.embed_tokens))];
        for (i, layer) in self.layers.iter_mut().enumerate() {
            layer.parts_mut().into_iter().for_each(|part| list_mut(part, &layer_name(i, ""), &mut all));
        }
        list_mut(PartMut::Norm(&mut self.norm), "", &mut all);
        all.extend(self.lm_head.as_mut().map(|head| (weight_of(HEAD), TensorMut::Matrix(head))));
        all.extend(self.head_bias.as_mut().map(|bias| (bias_of(HEAD), TensorMut::Vector(bias))));
        all
    }

    /// Makes every weight trained: full fine-tuning, in f32.
    pub fn train_all(&mut self, memory: &Memory) {
        self.tensors_mut().into_iter().for_each(|(name, tensor)| tensor.train(memory, name));
    }

    /// Makes the head alone trained, in f32. One that is the embedding becomes one of its own.
    ///
    /// # Errors
    /// None in practice: every decoder has a head.
    pub fn train_head(&mut self, memory: &Memory) -> Result<(), Error> {
        self.train_modules(memory, &[HEAD.to_owned()])
    }

    /// Makes the weights and biases of `modules` trained, in f32. The head and the embedding of a tied model part, if one of
    /// them is named, as in PEFT.
    ///
    /// # Errors
    /// [`Error::NoSuchModule`] if a name is not that of a module.
    pub fn train_modules(&mut self, memory: &Memory, modules: &[String]) -> Result<(), Error> {
        self.resolve_modules(modules)?;
        if modules.iter().any(|module| module == HEAD || module == EMBEDDING) {
            self.untie(memory)?;
        }
        let of_modules = |name: &str| module_of(name).is_some_and(|module| modules.iter().any(|m| m == module));
        for (name, tensor) in self.tensors_mut().into_iter().filter(|(name, _)| of_modules(name)) {
            tensor.train(memory, name);
        }
        Ok(())
    }

    /// The whole names of the modules that `targets` name: by their last parts, or by pattern.
    ///
    /// # Errors
    /// [`Error::NoSuchModule`] if one names none.
    pub fn resolve_modules(&self, targets: &[String]) -> Result<Vec<String>, Error> {
        let mut modules: Vec<String> =
            self.tensors().iter().filter_map(|(name, _)| module_of(name).map(str::to_owned)).collect();
        modules.dedup();
        if self.lm_head.is_none() {
            modules.push(HEAD.to_owned());
        }
        let mut found = Vec::new();
        for target in targets {
            let before = found.len();
            found.extend(modules.iter().filter(|module| names(target, module)).cloned());
            if found.len() == before {
                return Err(Error::NoSuchModule { module: target.clone(), known: last_parts(&modules).join(", ") });
            }
        }
        found.sort();
        found.dedup();
        Ok(found)
    }

    /// Every trained base tensor takes the numbers of its name from `weights`.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::WrongShape`].
    pub fn take_trained(&mut self, weights: &mut Weights) -> Result<(), Error> {
        self.fill_trained(|name, tensor| weights.take_numbers(name, tensor))
    }

    /// Every trained base tensor takes the numbers that `numbers` gives for its name.
    pub(crate) fn fill_trained(
        &mut self,
        mut numbers: impl FnMut(&str, TensorRef<'_>) -> Result<Vec<f32>, Error>,
    ) -> Result<(), Error> {
        for (name, tensor) in self.tensors_mut() {
            let (given, param) = match tensor {
                TensorMut::Matrix(w @ Weight::Trained(_)) => (numbers(&name, TensorRef::Matrix(w)), w.trained_mut()),
                TensorMut::Vector(v @ Values::Trained(_)) => (numbers(&name, TensorRef::Vector(v)), v.trained_mut()),
                _ => continue,
            };
            if let Some(param) = param {
                param.value_mut().write(&given?);
            }
        }
        Ok(())
    }

    /// Gives a tied model a head of its own, with the numbers of the embedding.
    fn untie(&mut self, memory: &Memory) -> Result<(), Error> {
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
fn list_mut<'a>(part: PartMut<'a>, prefix: &str, all: &mut Vec<(String, TensorMut<'a>)>) {
    let (name, weight, bias) = match part {
        PartMut::Norm(Named { name, part: Norm { weight, bias, .. } }) => {
            (name, weight.as_mut().map(TensorMut::Vector), bias.as_mut())
        }
        PartMut::Linear(Named { name, part }) | PartMut::Router(Named { name, part }) => {
            let Linear { weight, bias, .. } = part;
            (name, Some(TensorMut::Matrix(weight)), bias.as_mut())
        }
    };
    let name = format!("{prefix}{name}");
    all.extend(weight.map(|weight| (weight_of(&name), weight)));
    all.extend(bias.map(|bias| (bias_of(&name), TensorMut::Vector(bias))));
}

fn weight_of(module: &str) -> String {
    format!("{module}.weight")
}
fn bias_of(module: &str) -> String {
    format!("{module}.bias")
}

/// The module that a tensor belongs to.
fn module_of(tensor: &str) -> Option<&str> {
    tensor.strip_suffix(".weight").or_else(|| tensor.strip_suffix(".bias"))
}
