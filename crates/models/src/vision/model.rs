//! A classifier as trainers, adapters and writers see it.

use loract_autograd::ops::{Linear, LossOutput};
use loract_autograd::{Param, Tape};
use serde_json::{Map, Value};

use super::build::{HEAD, layer_name, stage_name};
use super::labels::labels_file;
use super::source::published_name;
use super::{Classifier, ImageBatch, Merging};
use crate::error::Error;
use crate::files::ToWrite;
use crate::layers::parts::{Part, PartMut};
use crate::layers::tensors::{list, list_mut};
use crate::model::{Batch, Model};
use crate::tensor_ref::{TensorMut, TensorRef};
use crate::weights::store::StoredAs;

impl Batch for ImageBatch {
    fn trained(&self) -> usize {
        self.labels().len()
    }
    fn rows(&self) -> usize {
        self.tokens()
    }
}

impl Model for Classifier {
    type Batch = ImageBatch;
    const TASK: Option<&'static str> = None;

    fn loss<'m>(&'m self, tape: &mut Tape<'m>, batch: &ImageBatch) -> Result<LossOutput, Error> {
        Classifier::loss(self, tape, batch)
    }

    fn linears(&self) -> Vec<(String, &Linear)> {
        let linears = self.parts().into_iter();
        linears.filter_map(|(prefix, part)| part.linear().map(|(name, linear)| (prefix + name, linear))).collect()
    }

    fn linears_mut(&mut self) -> Vec<(String, &mut Linear)> {
        let linears = self.parts_mut().into_iter();
        linears.filter_map(|(prefix, part)| part.linear().map(|(name, linear)| (prefix + name, linear))).collect()
    }

    fn tensors(&self) -> Vec<(String, TensorRef<'_>)> {
        let mut all = Vec::new();
        self.parts().into_iter().for_each(|(prefix, part)| list(part, &prefix, false, &mut all));
        all
    }

    fn tensors_mut(&mut self) -> Vec<(String, TensorMut<'_>)> {
        let mut all = Vec::new();
        self.parts_mut().into_iter().for_each(|(prefix, part)| list_mut(part, &prefix, false, &mut all));
        all
    }

    fn carried(&self) -> Vec<(String, TensorRef<'_>)> {
        let tensors = self.carried.iter();
        tensors.map(|one| (one.name.clone(), TensorRef::ShapedMatrix(&one.numbers, &one.shape))).collect()
    }

    fn params(&self) -> Vec<&Param> {
        let mut all = Vec::new();
        self.parts().into_iter().for_each(|(_, part)| part.params(&mut all));
        all
    }

    fn params_mut(&mut self) -> Vec<&mut Param> {
        let mut all = Vec::new();
        self.parts_mut().into_iter().for_each(|(_, part)| part.params(&mut all));
        all
    }

    fn head(&self) -> &'static str {
        HEAD
    }

    fn config_json(&self, _: &Map<String, Value>, stored: StoredAs) -> Map<String, Value> {
        self.config.to_json(stored)
    }

    fn beside_adapter(&self) -> Vec<ToWrite<'static>> {
        vec![labels_file(&self.config)]
    }

    fn published(&self, tensor: &str) -> String {
        published_name(self.config.model_type.family(), tensor)
    }
}

impl Classifier {
    /// All parts, each with what its name begins with.
    fn parts(&self) -> Vec<(String, Part<'_>)> {
        let Self { config, embeddings, stages, norm, head, .. } = self;
        let base = format!("{}.", config.model_type.family().base);
        let mut all = Vec::new();
        let mut add = |prefix: &str, part| all.push((prefix.to_owned(), part));
        embeddings.tokens.iter().for_each(|token| add(&base, Part::Row(token)));
        embeddings.positions.iter().for_each(|table| add(&base, Part::Table(table)));
        add(&base, Part::Projection(&embeddings.projection));
        embeddings.norm.iter().for_each(|norm| add(&base, Part::Norm(norm.norm())));
        for (index, stage) in stages.iter().enumerate() {
            for (number, layer) in stage.layers.iter().enumerate() {
                let prefix = layer_name(config, index, number);
                layer.parts().into_iter().for_each(|part| add(&prefix, part));
            }
            if let Some(Merging { norm, reduction }) = &stage.merging {
                let prefix = stage_name(config.model_type.family(), index);
                add(&prefix, Part::Norm(norm));
                add(&prefix, Part::Linear(reduction));
            }
        }
        norm.iter().for_each(|norm| add(&base, Part::Norm(norm)));
        add("", Part::Unpaired(head));
        all
    }

    /// As [`Classifier::parts`], to change.
    fn parts_mut(&mut self) -> Vec<(String, PartMut<'_>)> {
        let Self { config, embeddings, stages, norm, head, .. } = self;
        let base = format!("{}.", config.model_type.family().base);
        let mut all = Vec::new();
        let mut add = |prefix: &str, part| all.push((prefix.to_owned(), part));
        embeddings.tokens.iter_mut().for_each(|token| add(&base, PartMut::Row(token)));
        embeddings.positions.iter_mut().for_each(|table| add(&base, PartMut::Table(table)));
        add(&base, PartMut::Projection(&mut embeddings.projection));
        embeddings.norm.iter_mut().for_each(|norm| add(&base, PartMut::Norm(norm.norm_mut())));
        for (index, stage) in stages.iter_mut().enumerate() {
            for (number, layer) in stage.layers.iter_mut().enumerate() {
                let prefix = layer_name(config, index, number);
                layer.parts_mut().into_iter().for_each(|part| add(&prefix, part));
            }
            if let Some(Merging { norm, reduction }) = &mut stage.merging {
                let prefix = stage_name(config.model_type.family(), index);
                add(&prefix, PartMut::Norm(norm));
                add(&prefix, PartMut::Linear(reduction));
            }
        }
        norm.iter_mut().for_each(|norm| add(&base, PartMut::Norm(norm)));
        add("", PartMut::Unpaired(head));
        all
    }
}
