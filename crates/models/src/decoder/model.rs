//! A decoder as trainers, adapters and writers see it.

use loract_autograd::ops::{Linear, LossOutput};
use loract_autograd::{Memory, Param, Tape};
use serde_json::{Map, Value};

use super::tensors::{EMBEDDING, HEAD};
use super::{Decoder, TokenBatch};
use crate::companions::config_of;
use crate::error::Error;
use crate::model::{Batch, Model};
use crate::tensor_ref::{TensorMut, TensorRef};
use crate::weights::store::StoredAs;

impl Batch for TokenBatch {
    fn trained(&self) -> usize {
        self.trained_tokens()
    }
    fn rows(&self) -> usize {
        self.tokens()
    }
}

impl Model for Decoder {
    type Batch = TokenBatch;
    const TASK: Option<&'static str> = Some("CAUSAL_LM");

    fn loss<'m>(&'m self, tape: &mut Tape<'m>, batch: &TokenBatch) -> Result<LossOutput, Error> {
        Decoder::loss(self, tape, batch)
    }
    fn linears(&self) -> Vec<(String, &Linear)> {
        Decoder::linears(self).collect()
    }
    fn linears_mut(&mut self) -> Vec<(String, &mut Linear)> {
        Decoder::linears_mut(self).collect()
    }
    fn tensors(&self) -> Vec<(String, TensorRef<'_>)> {
        Decoder::tensors(self)
    }
    fn tensors_mut(&mut self) -> Vec<(String, TensorMut<'_>)> {
        Decoder::tensors_mut(self)
    }
    fn params(&self) -> Vec<&Param> {
        Decoder::params(self)
    }
    fn params_mut(&mut self) -> Vec<&mut Param> {
        Decoder::params_mut(self)
    }
    fn head(&self) -> &'static str {
        HEAD
    }
    fn config_json(&self, opened: &Map<String, Value>, stored: StoredAs) -> Map<String, Value> {
        let mut config = config_of(opened, stored);
        config.insert("tie_word_embeddings".to_owned(), Value::Bool(self.config.tied));
        config
    }
    fn before_training(&mut self, memory: &Memory, modules: &[String]) -> Result<(), Error> {
        match modules.iter().any(|module| module == HEAD || module == EMBEDDING) {
            true => self.untie(memory),
            false => Ok(()),
        }
    }
}
