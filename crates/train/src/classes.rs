//! Which classes an image model tells apart: those of its own head, of an adapter's, or of the data, for which a new head is made.

use std::path::Path;

use loract_autograd::Memory;
use loract_models::{Classifier, ClassifierHead, LABELS_FILE, LoraConfig, VisionSource, adapter, adapter_labels};

use crate::data::images::{ImageSet, Naming, Whose};
use crate::error::Error;

/// The classes of a model that is trained, and where its head comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Classes {
    /// Names, in the order of logits.
    pub(crate) labels: Vec<String>,
    pub(crate) head: ClassifierHead,
    /// The number of each of the data's classes here.
    numbers: Vec<u32>,
}

/// A head that is there before training.
#[derive(Debug)]
enum Known {
    /// None.
    Nothing,
    /// The model's.
    Model(Vec<String>),
    /// An adapter's, which comes with its numbers.
    Adapter(Vec<String>),
}

impl Known {
    fn of(source: &VisionSource, from: Option<&Path>) -> Result<Self, Error> {
        let own = &source.config.labels;
        if let Some(folder) = from
            && let Some(labels) = adapter_labels(folder)?
        {
            // PEFT keeps no names: those of as many classes are the model's own.
            let nameless = labels.len() == own.len() && !folder.join(LABELS_FILE).is_file();
            return Ok(Known::Adapter(if nameless { own.clone() } else { labels }));
        }
        Ok(match source.stored_classes() {
            Some(_) => Known::Model(own.clone()),
            None => Known::Nothing,
        })
    }
}

impl Classes {
    /// For data with classes of these names, of the model in `source` with the adapter in the folder `from`, if there is one. A new
    /// head's numbers are named by `seed`.
    ///
    /// # Errors
    /// [`Error::Setting`] if the head of an adapter, or of the model of one that brings none, is for other classes; those of
    /// reading the adapter.
    pub(crate) fn of(source: &VisionSource, from: Option<&Path>, set: &ImageSet, seed: u64) -> Result<Self, Error> {
        let (data, new) = (set.classes(), ClassifierHead::New { seed });
        let known = Known::of(source, from)?;
        let (labels, head) = match &known {
            Known::Adapter(labels) => (labels, new),
            Known::Model(labels) => (labels, ClassifierHead::Stored),
            Known::Nothing => (&Vec::new(), new),
        };
        let whose = if from.is_some() { Whose::Heads } else { Whose::Own };
        // A new head is better than one with classes that the data have not, if they name their own.
        let fits = from.is_some() || labels.len() == data.len() || set.naming() == Naming::Places;
        if let Ok(numbers) = set.naming().places(data, labels, whose)
            && fits
        {
            return Ok(Self { labels: labels.clone(), head, numbers });
        }
        if from.is_some() {
            let what = format!(
                "the head that it goes with is for {}, the data have {}; train on data with its classes, or leave --adapter out \
                 for a new head",
                listed(labels),
                listed(data)
            );
            return Err(Error::Setting { key: "adapter", what });
        }
        Ok(Self { labels: data.to_vec(), head: new, numbers: (0..data.len() as u32).collect() })
    }

    /// Of the model in `source` with the adapter in the folder `from`, before any data; without a head as many as its configuration
    /// has.
    ///
    /// # Errors
    /// Those of reading the adapter.
    pub(crate) fn before_data(source: &VisionSource, from: Option<&Path>) -> Result<Self, Error> {
        let new = ClassifierHead::New { seed: 0 };
        let (labels, head) = match Known::of(source, from)? {
            Known::Adapter(labels) => (labels, new),
            Known::Model(labels) => (labels, ClassifierHead::Stored),
            Known::Nothing => (source.config.labels.clone(), new),
        };
        Ok(Self { numbers: (0..labels.len() as u32).collect(), labels, head })
    }

    /// The labels of pictures, numbered as here.
    pub(crate) fn renumbered(&self, labels: Vec<u32>) -> Vec<u32> {
        labels.into_iter().map(|label| self.numbers.get(label as usize).copied().unwrap_or(label)).collect()
    }
}

/// "3 classes (cat, dog, …)".
fn listed(classes: &[String]) -> String {
    const LISTED: usize = 5;
    let more = if classes.len() > LISTED { ", …" } else { "" };
    format!("{} classes ({}{more})", classes.len(), classes[..classes.len().min(LISTED)].join(", "))
}

/// The classifier in `source`, with the pairs and the head of the adapter in `folder` if there is one; to be used, not trained.
///
/// # Errors
/// [`Error::Setting`] if neither has a head; those of loading.
pub fn open_classifier(
    memory: &Memory,
    source: VisionSource,
    folder: Option<&Path>,
) -> Result<(Classifier, Option<LoraConfig>), Error> {
    let (config, head) = match Known::of(&source, folder)? {
        Known::Adapter(labels) => (source.config.with_labels(labels), ClassifierHead::New { seed: 0 }),
        Known::Model(_) => (source.config, ClassifierHead::Stored),
        Known::Nothing => {
            let beside = if folder.is_some() { ", and the adapter brings none" } else { "" };
            let what = format!(
                "{} has no head for classes{beside}; `loract train` makes one, which its adapter or model then has",
                source.name
            );
            return Err(Error::Setting { key: "model", what });
        }
    };
    let mut model = Classifier::load(memory, config, source.weights, head)?;
    let lora = folder.map(|folder| adapter::load(memory, &mut model, folder)).transpose()?;
    Ok((model, lora))
}
