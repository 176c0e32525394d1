//! Image classifiers: an encoder of one of six families, and a head over its classes; and pictures, from files to the numbers that
//! an encoder takes. What differs between families is
//! configuration ([`VisionConfig`]) and names (`family/`); layers are those of decoders.
//!
//! Rows of the residual stream: m = images × rows of an image (patches, and tokens before them), image after image.

mod batch;
mod build;
mod config;
mod embeddings;
mod family;
mod labels;
mod load;
mod model;
mod picture;
mod processor;
mod resize;
mod source;
mod windows;

pub use batch::ImageBatch;
pub use config::{StageConfig, VisionConfig};
pub use family::VisionType;
pub use labels::{LABELS_FILE, adapter_labels};
pub use load::ClassifierHead;
pub use picture::{Alpha, Channels, Picture, PictureError, PictureFormat};
pub use processor::{Augment, Crop, Filter, Flip, ImageProcessor, ProcessorError, View};
pub(crate) use processor::{PROCESSOR, SHARED_PROCESSOR};
pub use source::VisionSource;

use loract_autograd::ops::{self, Head, Linear, LossOutput, Norm};
use loract_autograd::{Frozen, Memory, Site, Tape, Tensor, Var, Weight};

use crate::error::Error;
use crate::layers::parts::Named;
use crate::layers::{Layer, Rows};
use embeddings::Embeddings;
use windows::Cut;

/// An image classifier.
#[derive(Debug)]
pub struct Classifier {
    config: VisionConfig,
    embeddings: Embeddings,
    stages: Vec<Stage>,
    /// Norm after the last layer, in families that have one before the head.
    norm: Option<Named<Norm>>,
    /// Classes×C, or classes×2C.
    head: Named<Linear>,
    /// What the file has beside, which goes where the model goes.
    carried: Vec<Carried>,
}

/// Layers of one width, and what leads to the next.
#[derive(Debug)]
struct Stage {
    layers: Vec<Layer>,
    merging: Option<Merging>,
}

/// Four neighbours become one row of twice the width.
#[derive(Debug)]
struct Merging {
    /// Of the four beside each other, 4C.
    norm: Named<Norm>,
    /// 2C×4C.
    reduction: Named<Linear>,
}

/// A tensor that takes no part.
#[derive(Debug)]
struct Carried {
    name: String,
    shape: Vec<usize>,
    numbers: Weight,
}

impl Classifier {
    /// The architecture.
    pub fn config(&self) -> &VisionConfig {
        &self.config
    }

    /// A vector of each image: what its head reads, N×C (N×2C for DINOv2).
    ///
    /// # Errors
    /// Those of the ops.
    pub fn forward<'m>(&'m self, tape: &mut Tape<'m>, batch: &ImageBatch) -> Result<Var, Error> {
        let images = batch.images();
        if images == 0 {
            return Err(Error::NoImages);
        }
        tape.set_layer(None);
        let mut x = self.embeddings.forward(tape, batch, &self.config)?;
        let mut number = 0;
        for (index, stage) in self.stages.iter().enumerate() {
            let rows = self.rows(index, images);
            for (layer, rows) in stage.layers.iter().zip(rows.iter().cycle()) {
                tape.set_layer(Some(number));
                number += 1;
                let rows = rows.clone();
                x = tape.segment(Site::CkptLayer, x, Box::new(move |tape, x| layer.forward(tape, x, &rows)))?;
            }
            if let Some(merging) = &stage.merging {
                let neighbours = windows::neighbours(self.config.map(index), images);
                let four = ops::gather_rows(tape, &x, &neighbours, 4)?;
                let four = ops::norm(tape, &four, &merging.norm.part, &[Site::Norm, Site::MlpIn])?;
                x = ops::linear(tape, &four, &merging.reduction.part, Site::MlpIn)?;
            }
        }
        tape.set_layer(None);
        if let Some(norm) = &self.norm {
            x = ops::norm(tape, &x, &norm.part, &[Site::Norm])?;
        }
        let of_image = x.rows() / images;
        let sequences = (0..images).map(|image| image * of_image..(image + 1) * of_image).collect();
        Ok(ops::pool(tape, &x, &sequences, self.config.model_type.family().pool)?)
    }

    /// What attention sees in the layers of a stage, which take these in turn.
    fn rows(&self, stage: usize, images: usize) -> Vec<Rows> {
        match self.config.window {
            Some(window) => {
                let map = self.config.map(stage);
                [0, 1].map(|number| Cut::of_layer(map, window, number).rows(images)).into()
            }
            None => {
                let tokens = self.config.tokens();
                let sequences = (0..images).map(|image| image * tokens..(image + 1) * tokens).collect();
                vec![Rows { sequences, global: None, local: None, windows: None }]
            }
        }
    }

    /// The sum of the negative log-likelihoods of the images' classes.
    ///
    /// # Errors
    /// Those of [`Classifier::forward`].
    pub fn loss<'m>(&'m self, tape: &mut Tape<'m>, batch: &ImageBatch) -> Result<LossOutput, Error> {
        let pooled = self.forward(tape, batch)?;
        Ok(ops::cross_entropy(tape, pooled, self.head(), &batch.targets())?)
    }

    /// The logits of every image, N×classes.
    ///
    /// # Errors
    /// Those of [`Classifier::forward`].
    pub fn logits(&self, memory: &Memory, batch: &ImageBatch) -> Result<Tensor, Error> {
        let mut tape = Tape::evaluation(memory);
        let pooled = self.forward(&mut tape, batch)?;
        Ok(ops::project(&mut tape, &pooled, 0..batch.images(), self.head())?.tensor().clone())
    }

    fn head(&self) -> Head<'_> {
        let Linear { weight, bias, .. } = &self.head.part;
        Head { bias: bias.as_ref(), ..Head::plain(weight) }
    }
}

impl Carried {
    fn new(memory: &Memory, name: String, stored: crate::weights::Stored) -> Result<Self, Error> {
        let rows = stored.shape.first().copied().unwrap_or(1).max(1);
        let cols = stored.shape.iter().skip(1).fold(1usize, |cols, &size| cols.saturating_mul(size));
        let numbers = Weight::Frozen(Frozen::new(memory, stored.dtype, rows, cols, stored.bytes)?);
        Ok(Self { name, shape: stored.shape, numbers })
    }
}
