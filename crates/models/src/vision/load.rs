//! Making a classifier: from stored weights, strictly; or with random weights.

use loract_autograd::{Frozen, Memory, Rng, Values, Weight};

use super::build::{HEAD, build};
use super::config::VisionConfig;
use super::family::VisionFamily;
use super::resize::resized;
use super::{Carried, Classifier};
use crate::error::Error;
use crate::layers::source::{FromFile, FromSeed, Tensors};
use crate::weights::Weights;

/// Where a classifier's head comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClassifierHead {
    /// The file.
    Stored,
    /// It is made: normal numbers named by this seed, with the deviation that the configuration says, and a bias of zeros.
    New {
        /// Names the numbers.
        seed: u64,
    },
}

/// A file whose head may be made, and whose table of positions may be of another size.
struct FromVision<'a> {
    file: FromFile<'a>,
    memory: &'a Memory,
    config: &'a VisionConfig,
    head: ClassifierHead,
}

impl Tensors for FromVision<'_> {
    fn shaped(&mut self, name: &str, shape: &[usize], rows: usize, cols: usize) -> Option<Weight> {
        if let (Some(".weight"), ClassifierHead::New { seed }) = (name.strip_prefix(HEAD), self.head) {
            let mut rng = Rng::new(&[seed, 0x4ead]);
            let numbers: Vec<f32> = (0..rows * cols).map(|_| self.config.initializer_range * rng.normal()).collect();
            return Frozen::from_f32(self.memory, rows, cols, &numbers).ok().map(Weight::Frozen);
        }
        let (from, to) = (self.config.grid_of(self.config.table_size), self.config.grid());
        let names = &self.config.model_type.family().names;
        if from == to || !name.ends_with(names.positions) {
            return self.file.shaped(name, shape, rows, cols);
        }
        let kept = names.tokens.len();
        let stored_rows = kept + from[0] * from[1];
        let mut stored_shape = shape.to_vec();
        if let Some(rows) = stored_shape.iter_mut().rev().nth(1) {
            *rows = stored_rows;
        }
        let table = self.file.shaped(name, &stored_shape, stored_rows, cols)?;
        let Weight::Frozen(table) = table else { return Some(table) };
        let numbers = if self.memory.is_hollow() {
            vec![0.0; rows * cols]
        } else {
            resized(&table.to_f32(), kept, from, to, cols)
        };
        drop(table);
        Frozen::from_f32(self.memory, rows, cols, &numbers).ok().map(Weight::Frozen)
    }

    fn vector(&mut self, name: &str, shape: &[usize], start: f32) -> Option<Values> {
        match (name.strip_prefix(HEAD), self.head) {
            (Some(".bias"), ClassifierHead::New { .. }) => {
                Some(Values::frozen(self.memory, vec![0.0; shape.iter().product()]))
            }
            _ => self.file.vector(name, shape, start),
        }
    }
}

impl Classifier {
    /// A classifier whose weights are all frozen, in their stored form; its table of positions resized if the images of `config` are
    /// of another size. `weights` have the names of modules ([`super::VisionSource`]).
    ///
    /// # Errors
    /// [`Error::Weights`] with every tensor that is missing, of a wrong shape, or unknown.
    pub fn load(
        memory: &Memory,
        config: VisionConfig,
        mut weights: Weights,
        head: ClassifierHead,
    ) -> Result<Self, Error> {
        let path = weights.path().to_path_buf();
        let family = config.model_type.family();
        drop(weights.take_all(|name| is_left_out(family, name)));
        if head != ClassifierHead::Stored {
            drop(weights.take_all(|name| name.starts_with(HEAD)));
        }
        let carried = weights.take_all(|name| is_carried(family, name));
        let carried = carried.into_iter().map(|(name, stored)| Carried::new(memory, name, stored));
        let carried = carried.collect::<Result<Vec<_>, Error>>()?;
        let mut source = FromVision { file: FromFile::new(weights, memory), memory, config: &config, head };
        let classifier = build(config.clone(), &mut source);
        source.file.finish(&[])?;
        let missing = Error::Weights { path, missing: Vec::new(), wrong: Vec::new(), unknown: Vec::new() };
        classifier.map(|classifier| Self { carried, ..classifier }).ok_or(missing)
    }

    /// A classifier with random weights, all trained.
    pub fn random(memory: &Memory, config: VisionConfig, seed: u64) -> Option<Self> {
        build(config, &mut FromSeed::trained(memory, seed))
    }

    /// A classifier with random weights, all frozen and stored in bf16: the shapes of a model, to measure with.
    pub fn random_frozen(memory: &Memory, config: VisionConfig, seed: u64) -> Option<Self> {
        build(config, &mut FromSeed::frozen(memory, seed))
    }
}

fn is_left_out(family: &VisionFamily, name: &str) -> bool {
    family.left_out.iter().any(|start| name.starts_with(start))
}

fn is_carried(family: &VisionFamily, name: &str) -> bool {
    let inner = name.strip_prefix(family.base).and_then(|rest| rest.strip_prefix('.'));
    inner.is_some_and(|inner| family.carried.iter().any(|start| inner.starts_with(start)))
}
