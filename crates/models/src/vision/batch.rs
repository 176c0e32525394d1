//! A micro-batch of images: their pixels, normalised, and their classes.

use loract_autograd::ops::Targets;
use loract_autograd::{Category, Memory, Tensor};

use super::config::VisionConfig;
use crate::error::Error;

/// N images with their classes.
#[derive(Debug, Clone)]
pub struct ImageBatch {
    /// N×channels×height×width; none in a plan.
    pixels: Vec<f32>,
    images: usize,
    /// Rows of an image in the model, T.
    tokens: usize,
    labels: Vec<u32>,
}

impl ImageBatch {
    /// From normalised `pixels` (N×channels×height×width) and a class for each image, or none at all: such a batch has logits
    /// and no loss.
    ///
    /// # Errors
    /// [`Error::Pixels`] if the numbers are not those of whole images of the model's size; [`Error::Labels`] if there are labels for
    /// some of them; [`Error::Label`] if one is not a class of the model.
    pub fn new(config: &VisionConfig, pixels: Vec<f32>, labels: Vec<u32>) -> Result<Self, Error> {
        let ([height, width], channels) = (config.image_size, config.channels);
        if !pixels.len().is_multiple_of(config.pixels()) {
            return Err(Error::Pixels { numbers: pixels.len(), channels, height, width });
        }
        let images = pixels.len() / config.pixels();
        if !labels.is_empty() && labels.len() != images {
            return Err(Error::Labels { labels: labels.len(), images });
        }
        let classes = config.labels.len();
        if let Some(&label) = labels.iter().find(|&&label| label as usize >= classes) {
            return Err(Error::Label { label, classes });
        }
        Ok(Self { pixels, images, tokens: config.tokens(), labels })
    }

    /// A batch that is only planned with: N images without numbers, of the first class.
    pub fn planned(config: &VisionConfig, images: usize) -> Self {
        Self { pixels: Vec::new(), images, tokens: config.tokens(), labels: vec![0; images] }
    }

    /// N.
    pub fn images(&self) -> usize {
        self.images
    }
    /// m: rows of all images in the model's first layer.
    pub fn tokens(&self) -> usize {
        self.images * self.tokens
    }
    /// The class of each image; empty if they are not known.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// Row i of the head is trained towards the class of image i.
    pub(super) fn targets(&self) -> Targets {
        Targets { rows: (0..self.labels.len() as u32).collect(), tokens: self.labels.clone() }
    }

    /// The pixels of each patch in a row, channel by channel: N·P×(channels·p·q), patches from left to right, then down.
    pub(super) fn patches(&self, memory: &Memory, config: &VisionConfig) -> Tensor {
        let [down, across] = config.grid();
        let ([height, width], [p, q]) = (config.image_size, config.patch_size);
        let (rows, cols) = (self.images * down * across, config.channels * p * q);
        if memory.is_hollow() {
            return memory.tensor(rows, cols, Vec::new(), Category::Transient);
        }
        let mut unfolded = Vec::with_capacity(rows * cols);
        for image in self.pixels.chunks_exact(config.pixels()) {
            for (i, j) in (0..down).flat_map(|i| (0..across).map(move |j| (i, j))) {
                for channel in image.chunks_exact(height * width) {
                    for y in i * p..(i + 1) * p {
                        let line = channel.get(y * width..(y + 1) * width).unwrap_or_default();
                        let part = line.get(j * q..line.len().min((j + 1) * q)).unwrap_or_default();
                        unfolded.extend_from_slice(part);
                        // What is beyond the image.
                        unfolded.resize(unfolded.len() + q - part.len(), 0.0);
                    }
                }
            }
        }
        memory.tensor(rows, cols, unfolded, Category::Transient)
    }
}
