//! What runs on one kind of model and data have of their own. The rest of a run is the same for all.

use std::fmt::Debug;

use loract_autograd::Memory;
use loract_models::{Companions, Model, Weights};

use crate::checkpoint::{Checkpoint, Inputs};
use crate::config::RunConfig;
use crate::data::{Filling, Order};
use crate::error::Error;
use crate::evaluation::Evaluation;

/// A kind of model with its data, opened.
pub(super) trait Task: Debug + Sized + 'static {
    /// What is trained.
    type Model: Model + Debug;
    /// The model as it lies on disk.
    type Source;

    /// How users speak of it.
    const WORDS: Words;

    /// Opens the model; none of its numbers are read.
    fn source(config: &RunConfig) -> Result<Self::Source, Error>;

    /// What the model is called, and its weights.
    fn base(source: &Self::Source) -> (&str, &Weights);

    /// The files that belong to the model beside its weights.
    fn companions(&self, source: &Self::Source) -> Result<Companions, Error>;

    /// Opens the data, and fills in what of `config` depends on it. `from` is where the run goes on. With facts worth a line
    /// each.
    fn open(
        config: &mut RunConfig,
        source: &Self::Source,
        from: Option<&Checkpoint>,
    ) -> Result<(Self, Vec<String>), Error>;

    /// The model with its stored weights, nothing of it trained.
    fn load(&self, memory: &Memory, source: Self::Source) -> Result<Self::Model, Error>;

    /// Model and data in short.
    fn inputs(&self, weights: &Weights) -> Result<Inputs, Error>;

    /// Rows of data.
    fn rows(&self) -> usize;

    /// Steps until every row has come once.
    fn steps_an_epoch(&self, config: &RunConfig) -> u64;

    /// The micro-batches of the next step.
    fn batches(&mut self, config: &RunConfig, order: &mut Order) -> Result<Vec<Batch<Self>>, Error>;

    /// Micro-batches of the shapes of those of the next step, to plan with.
    fn shapes(&self, config: &RunConfig, order: &mut Order) -> Vec<Batch<Self>>;

    /// A micro-batch of the shape of the largest that comes.
    fn largest(&self, filling: Filling) -> Batch<Self>;

    /// A micro-batch of the shape of the smallest that a step can be taken over.
    fn smallest(&self) -> Batch<Self>;

    /// Bytes that a step over micro-batches of `rows` rows holds in no tensor.
    fn beside_tensors(&self, _config: &RunConfig, _rows: usize) -> usize {
        0
    }

    /// Evaluates, if there is data for it.
    fn evaluate(&self, model: &Self::Model, memory: &Memory) -> Result<Option<Evaluation>, Error>;

    /// The sizes of the model, in a few words.
    fn sizes(&self, model: &Self::Model) -> String;

    /// The data, in a line.
    fn told(&self) -> String;

    /// What the user may not expect of the data, a line each.
    fn warnings(&self, config: &RunConfig, model: &Self::Model) -> Vec<String>;

    /// The code that opens the model called `base` and an adapter in Python.
    fn python_with_adapter(&self, base: &str) -> String;
}

/// What a step of a task runs on.
pub(super) type Batch<T> = <<T as Task>::Model as Model>::Batch;

/// How users speak of a kind of model and data.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words {
    /// What makes a step large: "the longest rows".
    pub(super) largest: &'static str,
    /// What a batch of one still takes: "one row".
    pub(super) one: &'static str,
    /// What makes that smaller: "a smaller --seq-len".
    pub(super) smaller: &'static str,
    /// The class of Transformers that opens the model.
    pub(super) auto_class: &'static str,
    /// What the Hugging Face hub calls its task (`pipeline_tag`), if the card says it.
    pub(super) tag: Option<&'static str>,
    /// Our command that uses the model, and what it needs beside it.
    pub(super) command: (&'static str, &'static str),
}
