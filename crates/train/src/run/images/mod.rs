//! Image classifiers on labelled pictures. `ahead.rs` has them decoded while a step computes; `first.rs` is for those who want what a
//! run begins with and no run; `told.rs` has the words for users.

mod ahead;
mod first;
mod told;

pub use first::{FirstImages, ImagesLook, classifier_before_data, first_images, look_at_images, plan_images};

use std::path::Path;
use std::sync::Arc;

use loract_autograd::{Memory, Rng};
use loract_models::vision::{ImageProcessor, View};
use loract_models::{Classifier, ClassifierHead, Companions, ImageBatch, VisionConfig, VisionSource, Weights};

use super::task::{Task, Words};
use crate::checkpoint::{Checkpoint, Inputs};
use crate::classes::Classes;
use crate::config::RunConfig;
use crate::data::images::{ImageSet, Loader};
use crate::data::{Filling, Order};
use crate::error::Error;
use crate::evaluate_images::evaluate_images;
use crate::evaluation::Evaluation;
use crate::tuning::FineTuneType;
use ahead::Ahead;

/// Pictures to train on, and to evaluate on.
#[derive(Debug)]
pub(super) struct Images {
    data: Arc<ImageSet>,
    /// The class of each picture, numbered as the model's.
    labels: Vec<u32>,
    eval_data: Option<Arc<ImageSet>>,
    /// With the classes and the size of images of this run.
    config: VisionConfig,
    head: ClassifierHead,
    /// The class of Transformers, where `Auto` would take another.
    class: Option<String>,
    processor: ImageProcessor,
    ahead: Option<Ahead>,
}

impl Images {
    fn planned(&self, images: usize) -> ImageBatch {
        ImageBatch::planned(&self.config, images)
    }

    /// The first pictures, as they are.
    fn first(&self, most: usize) -> Result<ImageBatch, Error> {
        let (count, pixels) = (most.min(self.rows()), self.data.first_pixels(most, &self.processor)?);
        Ok(ImageBatch::new(&self.config, pixels, self.labels[..count].to_vec())?)
    }
}

/// Checks `config` against the model, and fills in what goes without saying.
fn settle(config: &mut RunConfig, source: &VisionSource) -> Result<(), Error> {
    config.check_for_images()?;
    config.check_image_ranks(&source.config)
}

impl Task for Images {
    type Model = Classifier;
    type Source = VisionSource;

    const WORDS: Words = Words {
        largest: "full micro-batches",
        one: "one image",
        smaller: "a smaller --image-size",
        auto_class: "AutoModelForImageClassification",
        tag: Some("image-classification"),
        command: ("loract eval", " --data PATH"),
    };

    fn source(config: &RunConfig) -> Result<VisionSource, Error> {
        let source = VisionSource::open(&config.model)?;
        Ok(match config.images.image_size {
            Some(size) => source.with_image_size(size)?,
            None => source.as_adapted(config.adapter.as_deref())?,
        })
    }

    fn base(source: &VisionSource) -> (&str, &Weights) {
        (&source.name, &source.weights)
    }

    fn companions(&self, source: &VisionSource) -> Result<Companions, Error> {
        Ok(Companions::of_images(source)?)
    }

    fn open(
        config: &mut RunConfig,
        source: &VisionSource,
        from: Option<&Checkpoint>,
    ) -> Result<(Self, Vec<String>), Error> {
        settle(config, source)?;
        let data = ImageSet::open(&config.data, &config.images.options(None))?;
        data.fits(&source.processor)?;
        let labels = data.all_labels()?;
        if let Some(augment) = config.images.augment() {
            // Whether there is anything to crop and flip is told before anything is written.
            data.pixels(0, &source.processor, View::Random { augment, draws: Rng::new(&[config.seed]) })?;
        }
        let adapter = config.fine_tune_type == FineTuneType::Lora;
        let from = from.map(Checkpoint::folder).or(config.adapter.as_deref()).filter(|_| adapter);
        let classes = Classes::of(source, from, &data, config.seed)?;
        let eval_data = config.eval_data.as_ref().map(|path| open_to_evaluate(path, config, source, &classes));
        let mut notes: Vec<String> = told::new_head(&classes, source, from).into_iter().collect();
        let eval_data = eval_data.transpose()?;
        notes.extend(std::iter::once(&data).chain(&eval_data).flat_map(ImageSet::notes));
        let task = Self {
            labels: classes.renumbered(labels),
            data: Arc::new(data),
            eval_data: eval_data.map(Arc::new),
            config: source.config.clone().with_labels(classes.labels),
            head: classes.head,
            class: told::class_to_name(source),
            processor: source.processor.clone(),
            ahead: None,
        };
        Ok((task, notes))
    }

    fn load(&self, memory: &Memory, source: VisionSource) -> Result<Classifier, Error> {
        Ok(Classifier::load(memory, self.config.clone(), source.weights, self.head)?)
    }

    fn inputs(&self, weights: &Weights) -> Result<Inputs, Error> {
        let eval_data = self.eval_data.as_ref().map(|data| data.fingerprint_with(&self.processor)).transpose()?;
        Ok(Inputs::of(weights, self.data.fingerprint_with(&self.processor)?, eval_data))
    }

    fn rows(&self) -> usize {
        self.data.len()
    }

    fn steps_an_epoch(&self, config: &RunConfig) -> u64 {
        self.rows().div_ceil(config.batch_size).div_ceil(config.grad_accum) as u64
    }

    fn batches(&mut self, config: &RunConfig, order: &mut Order) -> Result<Vec<ImageBatch>, Error> {
        let loader = || Loader::new(Arc::clone(&self.data), self.processor.clone());
        let ahead = self.ahead.get_or_insert_with(|| Ahead::new(loader(), order.taken(), config));
        ahead.ask(config, order.clone());
        let mut batches = Vec::with_capacity(config.grad_accum);
        for _ in 0..config.grad_accum {
            let labels = order.take(config.batch_size).into_iter().map(|row| self.labels[row]).collect();
            batches.push(ImageBatch::new(&self.config, ahead.take()?, labels)?);
        }
        ahead.ask(config, order.clone());
        Ok(batches)
    }

    fn shapes(&self, config: &RunConfig, _: &mut Order) -> Vec<ImageBatch> {
        (0..config.grad_accum).map(|_| self.planned(config.batch_size)).collect()
    }

    fn largest(&self, filling: Filling) -> ImageBatch {
        let (Filling::Rows(images) | Filling::Tokens(images)) = filling;
        self.planned(images)
    }

    fn smallest(&self) -> ImageBatch {
        self.planned(1)
    }

    fn beside_tensors(&self, config: &RunConfig, images: usize) -> usize {
        config.pixel_bytes(self.config.pixels(), images)
    }

    fn evaluate(&self, model: &Classifier, memory: &Memory) -> Result<Option<Evaluation>, Error> {
        let data = self.eval_data.as_ref();
        let found = data.map(|data| evaluate_images(model, memory, data, &self.processor)).transpose()?;
        Ok(found.map(Evaluation::Images))
    }

    fn sizes(&self, model: &Classifier) -> String {
        let c = model.config();
        let [height, width] = c.image_size;
        format!(
            "{}, {} layers, width {}, {} rows an image of {height}x{width}, {} classes",
            c.model_type.name(),
            c.layers(),
            c.stages.last().map_or(0, |stage| stage.hidden_size),
            c.tokens(),
            c.labels.len()
        )
    }

    fn told(&self) -> String {
        format!("{} ({} images of {} classes)", self.data.path().display(), self.rows(), self.data.classes().len())
    }

    fn warnings(&self, _: &RunConfig, _: &Classifier) -> Vec<String> {
        Vec::new()
    }

    fn python_with_adapter(&self, base: &str) -> String {
        let class = self.class.as_deref().unwrap_or(Self::WORDS.auto_class);
        told::python(class, base, self.config.labels.len())
    }
}

/// Pictures of the classes that are trained.
fn open_to_evaluate(
    path: &Path,
    config: &RunConfig,
    source: &VisionSource,
    classes: &Classes,
) -> Result<ImageSet, Error> {
    let set = ImageSet::open(path, &config.images.options(Some(classes.labels.clone())))?;
    set.fits(&source.processor)?;
    set.all_labels()?;
    Ok(set)
}
