//! Pictures as numbers, in the way that a model's `preprocessor_config.json` says: the classes `ViTImageProcessor` (Swin too),
//! `DeiTImageProcessor`, `CLIPImageProcessor`, `SiglipImageProcessor` and `BitImageProcessor` (DINOv2) of Transformers 5.
//!
//! A picture goes one way: colours or grey → resized in 8 bits, as Pillow does → middle cut out, with zeros around what is too
//! small → times `rescale_factor` → less `image_mean`, over `image_std`. The numbers are those of Transformers with Pillow, to the
//! last bit; its torchvision backend rounds otherwise in places.
//!
//! Deviations:
//! 1. A picture of other channels than the model takes is converted; Transformers does so only with `do_convert_rgb`, and fails
//!    otherwise. What `do_convert_rgb` changes here is that transparent pictures are laid on white.
//! 2. Of a resized picture only what the middle needs is computed.

mod class;
mod error;
mod json;
mod resample;
mod view;

pub use error::ProcessorError;
pub(crate) use json::{PROCESSOR, SHARED_PROCESSOR};
pub use resample::Filter;
pub use view::{Augment, Crop, Flip, View};

use std::path::{Path, PathBuf};

use self::class::Class;
use self::resample::Window;
use super::picture::{Alpha, Picture};
use crate::error::Error;

/// What a model's colours are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Colours {
    Grey,
    Rgb,
}

/// To what a picture is resized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resized {
    /// Height and width.
    To([usize; 2]),
    /// The shorter edge; the other in proportion, rounded down.
    ShortestEdge(usize),
}

/// What is taken off, and what the rest is divided by, for each channel.
#[derive(Debug, Clone, PartialEq)]
struct Normalise {
    mean: Vec<f64>,
    std: Vec<f64>,
}

/// How pictures become the numbers that a model takes.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageProcessor {
    class: Class,
    colours: Colours,
    alpha: Alpha,
    resize: Option<(Resized, Filter)>,
    /// The filter of views, where nothing is resized otherwise.
    filter: Filter,
    crop: Option<[usize; 2]>,
    rescale: Option<f64>,
    normalise: Option<Normalise>,
}

impl Default for ImageProcessor {
    /// That of ViT.
    fn default() -> Self {
        Self::of_class(Class::Vit)
    }
}

impl ImageProcessor {
    /// That of a model's folder: of `image_processor` in `processor_config.json`, or else of `preprocessor_config.json`; nothing
    /// if it has neither.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Json`]; [`Error::Processor`] if the class or a setting that would change the result is not
    /// supported.
    pub fn read(folder: &Path) -> Result<Option<Self>, Error> {
        json::read(folder)
    }

    /// Of the text of such a file, which messages call `path`.
    ///
    /// # Errors
    /// [`Error::Json`], [`Error::Processor`].
    pub fn from_json(path: &Path, text: &str) -> Result<Self, Error> {
        json::parse(path, text, None)
    }

    /// What Transformers takes for a model of the type where its folder says nothing, with pictures of `size` (height, width)
    /// coming out; nothing if the type has no processor that is supported.
    pub fn default_of(model_type: &str, size: [usize; 2]) -> Option<Self> {
        let processor = Self::of_class(Class::of_model(model_type)?);
        Some(if processor.size() == size { processor } else { processor.with_size(size[0], size[1]) })
    }

    /// The same for pictures of another resolution: a size to resize to grows and shrinks with what is cut out of it.
    pub fn with_size(mut self, height: usize, width: usize) -> Self {
        let [was_height, was_width] = self.size();
        let scaled = |size: usize, now: usize, was: usize| ((2 * size * now + was) / (2 * was)).max(1);
        let resized = self.resize.map(|(resized, filter)| {
            let resized = match resized {
                Resized::To([rows, columns]) => {
                    Resized::To([scaled(rows, height, was_height), scaled(columns, width, was_width)])
                }
                Resized::ShortestEdge(edge) => {
                    Resized::ShortestEdge(scaled(edge, height, was_height).max(scaled(edge, width, was_width)))
                }
            };
            (resized, filter)
        });
        self.resize = resized;
        self.crop = self.crop.map(|_| [height, width]);
        self
    }

    /// The same for a model that takes so many channels.
    ///
    /// # Errors
    /// [`ProcessorError::ModelChannels`] if it is neither 1 nor 3, or means and deviations are those of other channels and differ
    /// among each other.
    pub fn with_channels(mut self, channels: usize) -> Result<Self, ProcessorError> {
        let wrong = ProcessorError::ModelChannels { channels: self.channels(), wanted: channels };
        let colours = match channels {
            1 => Colours::Grey,
            3 => Colours::Rgb,
            _ => return Err(wrong),
        };
        if let Some(normalise) = self.normalise.as_mut().filter(|_| colours != self.colours) {
            for numbers in [&mut normalise.mean, &mut normalise.std] {
                let one = numbers[0];
                if numbers.iter().any(|&number| number != one) {
                    return Err(wrong);
                }
                *numbers = vec![one; channels];
            }
        }
        self.colours = colours;
        Ok(self)
    }

    /// Height and width of what comes out.
    pub fn size(&self) -> [usize; 2] {
        match (self.crop, self.resize) {
            (Some(crop), _) => crop,
            (None, Some((Resized::To(size), _))) => size,
            // Refused when it was read.
            (None, Some((Resized::ShortestEdge(edge), _))) => [edge, edge],
            (None, None) => [1, 1],
        }
    }

    /// Channels of what comes out: 1 or 3.
    pub fn channels(&self) -> usize {
        match self.colours {
            Colours::Grey => 1,
            Colours::Rgb => 3,
        }
    }

    /// The numbers of a picture: channels × height × width, of [`Self::size`].
    pub fn pixels(&self, image: &Picture, view: View) -> Vec<f32> {
        let image = match self.colours {
            Colours::Grey => image.to_grey(self.alpha),
            Colours::Rgb => image.to_rgb(self.alpha),
        };
        let (image, flipped) = match view {
            View::Whole => (self.whole(&image), false),
            View::Random { augment, draws } => self.random(&image, augment, draws),
        };
        self.numbers(&image, flipped)
    }

    /// Resized and cut out.
    fn whole(&self, image: &Picture) -> Picture {
        let [height, width] = self.size();
        let (to, filter) = match self.resize {
            None => ([image.height(), image.width()], Filter::Nearest),
            Some((Resized::To(size), filter)) => (size, filter),
            Some((Resized::ShortestEdge(edge), filter)) => (shortest_edge(image, edge), filter),
        };
        let middle = |to: usize, size: usize| Window { before: (to as i64 - size as i64).div_euclid(2), size };
        resample::resize(image, to, [middle(to[0], height), middle(to[1], width)], filter)
    }

    fn random(&self, image: &Picture, augment: Augment, mut draws: loract_autograd::Rng) -> (Picture, bool) {
        // Both are drawn in any case, so that one does not change the other.
        let part = augment.crop.draw([image.height(), image.width()], &mut draws);
        let flipped = augment.flip.draw(&mut draws);
        let image = match part {
            None => self.whole(image),
            Some((from, size)) => {
                let [height, width] = self.size();
                let all = |size| Window { before: 0, size };
                resample::resize(&image.part(from, size), [height, width], [all(height), all(width)], self.filter)
            }
        };
        (image, flipped)
    }

    /// Rescaled and normalised, in the steps and roundings of numpy: there are but 256 numbers a channel.
    fn numbers(&self, image: &Picture, flipped: bool) -> Vec<f32> {
        let (channels, width) = (self.channels(), image.width());
        let mut out = Vec::with_capacity(image.bytes().len());
        for channel in 0..channels {
            let table = self.table(channel);
            for row in image.bytes().chunks_exact(width * channels) {
                let start = out.len();
                out.extend(row.iter().skip(channel).step_by(channels).map(|&byte| table[usize::from(byte)]));
                if flipped {
                    out[start..].reverse();
                }
            }
        }
        out
    }

    fn table(&self, channel: usize) -> [f32; 256] {
        std::array::from_fn(|byte| {
            let number = (byte as f64 * self.rescale.unwrap_or(1.0)) as f32;
            match &self.normalise {
                Some(normalise) => (number - normalise.mean[channel] as f32) / normalise.std[channel] as f32,
                None => number,
            }
        })
    }
}

/// Height and width if the shorter edge is to be `edge`.
fn shortest_edge(image: &Picture, edge: usize) -> [usize; 2] {
    let (height, width) = (image.height(), image.width());
    let other = |long: usize, short: usize| ((edge * long) as f64 / short as f64) as usize;
    if width <= height { [other(height, width), edge] } else { [edge, other(width, height)] }
}

/// What is wrong with the settings in a file.
fn wrong(path: &Path, reason: impl Into<ProcessorError>) -> Error {
    Error::Processor { path: PathBuf::from(path), reason: reason.into() }
}

#[cfg(test)]
mod tests;
