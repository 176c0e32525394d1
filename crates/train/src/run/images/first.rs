//! What a run on images begins with, without the run.

use std::path::Path;

use loract_autograd::Memory;
use loract_models::{Classifier, ImageBatch, VisionSource};

use super::{Images, settle};
use crate::classes::Classes;
use crate::config::RunConfig;
use crate::data::images::ImageSet;
use crate::error::Error;
use crate::image_settings::ImageSettings;
use crate::plan::Planner;
use crate::run::task::Task;

/// The planner of a run on images, whatever pictures there are.
///
/// # Errors
/// Whatever is wrong with the settings, the model or the adapter.
pub fn plan_images(config: &mut RunConfig) -> Result<Planner<Classifier>, Error> {
    let hollow = Memory::hollow();
    let model = classifier_before_data(config, &hollow)?;
    let smallest = ImageBatch::planned(model.config(), 1);
    Planner::of(model, &hollow, &config.tuning(), config.adapter.as_deref(), smallest)
}

/// The model of a run on images, whatever pictures there are; nothing of it trained and no pairs. Its head is the adapter's, its own,
/// or a new one for the classes of its configuration.
///
/// # Errors
/// Whatever is wrong with the settings, the model or the adapter.
pub fn classifier_before_data(config: &mut RunConfig, memory: &Memory) -> Result<Classifier, Error> {
    let source = Images::source(config)?;
    settle(config, &source)?;
    let Classes { labels, head, .. } = Classes::before_data(&source, config.adapter.as_deref())?;
    Ok(Classifier::load(memory, source.config.with_labels(labels), source.weights, head)?)
}

/// What a run on images begins with.
#[derive(Debug)]
pub struct FirstImages {
    /// The model, with what is trained of it.
    pub model: Classifier,
    /// Of the same.
    pub planner: Planner<Classifier>,
    /// The first pictures, as many as a micro-batch has.
    pub batch: ImageBatch,
    /// What users are told of the data and the head.
    pub notes: Vec<String>,
}

/// Opens what a run on images begins with.
///
/// # Errors
/// Whatever is wrong with the input.
pub fn first_images(config: &mut RunConfig, memory: &Memory) -> Result<FirstImages, Error> {
    let source = Images::source(config)?;
    let (task, notes) = Images::open(config, &source, None)?;
    let mut model = task.load(memory, source)?;
    let tuning = config.tuning().begin(memory, &mut model, config.adapter.as_deref(), config.seed)?;
    let hollow = Memory::hollow();
    let shape = task.load(&hollow, Images::source(config)?)?;
    let planner = Planner::of(shape, &hollow, &tuning, None, task.smallest())?;
    Ok(FirstImages { model, planner, batch: task.first(config.batch_size)?, notes })
}

/// An image model to be looked at.
#[derive(Debug)]
pub struct ImagesLook {
    /// What the model is called.
    pub name: String,
    /// The model: nothing of it trained, and no pairs.
    pub model: Classifier,
    /// The first pictures.
    pub batch: ImageBatch,
    /// What users are told of the data.
    pub notes: Vec<String>,
}

/// The model in the folder `model` with a head for the classes of `data` (its own, that of the adapter in `adapter`, or a new one), and
/// the first pictures of `data`, `images` of them at most, as `settings` say.
///
/// # Errors
/// Whatever is wrong with the input.
pub fn look_at_images(
    memory: &Memory,
    model: &Path,
    data: &Path,
    adapter: Option<&Path>,
    settings: &ImageSettings,
    images: usize,
) -> Result<ImagesLook, Error> {
    let source = VisionSource::open(model)?;
    let source = match settings.image_size {
        Some(size) => source.with_image_size(size)?,
        None => source.as_adapted(adapter)?,
    };
    let set = ImageSet::open(data, &settings.options(None))?;
    set.fits(&source.processor)?;
    let classes = Classes::of(&source, adapter, &set, 0)?;
    let labels = classes.renumbered(set.all_labels()?);
    let count = images.min(set.len());
    let pixels = set.first_pixels(count, &source.processor)?;
    let config = source.config.with_labels(classes.labels);
    let batch = ImageBatch::new(&config, pixels, labels[..count].to_vec())?;
    let model = Classifier::load(memory, config, source.weights, classes.head)?;
    Ok(ImagesLook { name: source.name, model, batch, notes: set.notes() })
}
