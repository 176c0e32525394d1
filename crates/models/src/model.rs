//! A model as trainers, adapters and writers see it, whatever it computes.
//!
//! A family gives what is asked for first; the rest is provided, the same for all: LoRA pairs (`attach.rs`), whole
//! weights (`trained.rs`), files (`export.rs`).

use loract_autograd::ops::{Linear, LossOutput};
use loract_autograd::{Memory, Param, Tape};
use serde_json::{Map, Value};

use crate::attach::{self, LoraConfig};
use crate::companions;
use crate::error::Error;
use crate::export;
use crate::files::ToWrite;
use crate::tensor_ref::{TensorMut, TensorRef};
use crate::trained;
use crate::weights::Weights;
use crate::weights::store::StoredAs;

/// A micro-batch.
pub trait Batch {
    /// How many targets the loss is summed over.
    fn trained(&self) -> usize;
    /// m: tokens that run, trained or not.
    fn rows(&self) -> usize;
}

/// A model that can be trained, adapted and written.
///
/// Tensors and layers go by their module names, which are PEFT's; a checkpoint file may have others ([`Model::published`]).
pub trait Model: Sized {
    /// What a step runs on.
    type Batch: Batch;

    /// PEFT's `task_type`; `None` where PEFT has none.
    const TASK: Option<&'static str>;

    /// The sum of the negative log-likelihoods of the batch's targets.
    ///
    /// # Errors
    /// What is wrong with the batch; those of the ops.
    fn loss<'m>(&'m self, tape: &mut Tape<'m>, batch: &Self::Batch) -> Result<LossOutput, Error>;

    /// The layers that can have a LoRA pair, with their names, in the order of the model.
    fn linears(&self) -> Vec<(String, &Linear)>;

    /// As [`Model::linears`], to change.
    fn linears_mut(&mut self) -> Vec<(String, &mut Linear)>;

    /// Every base tensor with its name, in the order of the model; LoRA pairs are left out.
    fn tensors(&self) -> Vec<(String, TensorRef<'_>)>;

    /// As [`Model::tensors`], to change.
    fn tensors_mut(&mut self) -> Vec<(String, TensorMut<'_>)>;

    /// Tensors that take no part and go where the model goes: of a head that its files have for another task, say.
    fn carried(&self) -> Vec<(String, TensorRef<'_>)> {
        Vec::new()
    }

    /// Every trained parameter, in the order of the model.
    fn params(&self) -> Vec<&Param>;

    /// As [`Model::params`], to update.
    fn params_mut(&mut self) -> Vec<&mut Param>;

    /// The module that makes the logits, which head tuning trains.
    fn head(&self) -> &'static str;

    /// The name of a base tensor in a checkpoint file.
    fn published(&self, tensor: &str) -> String {
        tensor.to_owned()
    }

    /// `config.json` of the model as it is now, with weights so stored, from that with which it was opened.
    fn config_json(&self, opened: &Map<String, Value>, stored: StoredAs) -> Map<String, Value> {
        companions::config_of(opened, stored)
    }

    /// Files that lie beside those of an adapter, for what these have no place for.
    fn beside_adapter(&self) -> Vec<ToWrite<'static>> {
        Vec::new()
    }

    /// Makes ready for `modules` to be trained: parts what shares its numbers with another module, say.
    ///
    /// # Errors
    /// Those of the weights.
    fn before_training(&mut self, _memory: &Memory, _modules: &[String]) -> Result<(), Error> {
        Ok(())
    }

    /// Gives each target layer a new pair: A uniform in ±1/√in (PEFT's `kaiming_uniform_(a=√5)`), B zero, so the model
    /// is unchanged at first. The same seed gives the same A. Returns the settings with targets and modules that are
    /// names.
    ///
    /// # Errors
    /// [`Error::LoraRank`] for rank 0; [`Error::NoSuchTarget`], [`Error::NoSuchModule`] if one matches nothing;
    /// [`Error::ModuleIsTarget`].
    fn attach_lora(&mut self, memory: &Memory, config: &LoraConfig, seed: u64) -> Result<LoraConfig, Error> {
        attach::attach_new(self, memory, config, seed)
    }

    /// Leaves the A of every pair as it is from now on.
    fn freeze_lora_a(&mut self) {
        for lora in self.linears_mut().into_iter().filter_map(|(_, linear)| linear.lora.as_mut()) {
            lora.a.freeze();
        }
    }

    /// Sets the dropout of every pair.
    fn set_lora_dropout(&mut self, probability: f32) {
        for lora in self.linears_mut().into_iter().filter_map(|(_, linear)| linear.lora.as_mut()) {
            lora.dropout = probability;
        }
    }

    /// Makes every weight trained: full fine-tuning, in f32.
    fn train_all(&mut self, memory: &Memory) {
        self.tensors_mut().into_iter().for_each(|(name, tensor)| tensor.train(memory, name));
    }

    /// Makes the head alone trained, in f32. One that shares its numbers with another module gets its own.
    ///
    /// # Errors
    /// [`Error::NoSuchModule`] of a model without a head.
    fn train_head(&mut self, memory: &Memory) -> Result<(), Error> {
        let head = self.head().to_owned();
        self.train_modules(memory, &[head])
    }

    /// Makes the weights and biases of `modules` trained, in f32. The head and the embedding of a tied model part, if one of
    /// them is named, as in PEFT.
    ///
    /// # Errors
    /// [`Error::NoSuchModule`] if a name is not that of a module.
    fn train_modules(&mut self, memory: &Memory, modules: &[String]) -> Result<(), Error> {
        trained::train_modules(self, memory, modules)
    }

    /// The whole names of the modules that `targets` name: by their last parts, or by pattern.
    ///
    /// # Errors
    /// [`Error::NoSuchModule`] if one names none.
    fn resolve_modules(&self, targets: &[String]) -> Result<Vec<String>, Error> {
        trained::resolve_modules(self, targets)
    }

    /// Every trained base tensor takes the numbers of its published name from `weights`.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::WrongShape`].
    fn take_trained(&mut self, weights: &mut Weights) -> Result<(), Error> {
        trained::take(self, weights)
    }

    /// The model as it computes: every weight, with its LoRA branch added if it has one, in files of `most_bytes` bytes of numbers at most
    /// (or of one tensor, if that is larger). Several come with an index, as Transformers writes it.
    fn to_files(&self, stored: StoredAs, most_bytes: usize) -> Vec<ToWrite<'_>> {
        export::in_files(export::merged_tensors(self, stored), most_bytes)
    }
}
