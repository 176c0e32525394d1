//! How pictures become images of a model, as flags and configuration files say it; and which settings belong to which kind of model.

use loract_autograd::Site;
use loract_models::VisionConfig;
use loract_models::vision::{Augment, Crop, Flip};
use serde::{Serialize, Serializer};

use crate::config::RunConfig;
use crate::data::TrainOn;
use crate::data::images::{Broken, ImageOptions};
use crate::error::Error;
use crate::tuning::FineTuneType;

/// The settings of a run on images.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ImageSettings {
    /// Height and width of the images that the model takes; absent = its own.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_size")]
    pub image_size: Option<[usize; 2]>,
    /// Every second picture is mirrored in training, at random.
    #[serde(skip_serializing_if = "is_off")]
    pub flip: bool,
    /// A random part of each picture is trained on.
    #[serde(skip_serializing_if = "is_off")]
    pub random_crop: bool,
    /// Broken pictures are left out.
    #[serde(skip_serializing_if = "is_off")]
    pub skip_broken: bool,
}

/// Serde's signature.
#[expect(clippy::trivially_copy_pass_by_ref)]
fn is_off(flag: &bool) -> bool {
    !flag
}

fn as_size<S: Serializer>(size: &Option<[usize; 2]>, serializer: S) -> Result<S::Ok, S::Error> {
    let [height, width] = size.unwrap_or_default();
    match height == width {
        true => serializer.collect_str(&height),
        false => serializer.collect_str(&format_args!("{height}x{width}")),
    }
}

/// The head of image models.
const CLASSIFIER: &str = "classifier";

/// Longest edge of an image that is believed.
const LONGEST: usize = 1 << 14;

impl ImageSettings {
    /// Reads the size of images: `224`, or `224x192` for height and width.
    ///
    /// # Errors
    /// A message with what was expected.
    pub fn size(text: &str) -> Result<[usize; 2], String> {
        let (height, width) = text.split_once(['x', 'X']).unwrap_or((text, text));
        let edge = |text: &str| text.trim().parse().ok().filter(|edge| (1..=LONGEST).contains(edge));
        edge(height).zip(edge(width)).map(Into::into).ok_or_else(|| {
            format!("`{text}` is no size; expected 224, or 224x192 for height and width, at most {LONGEST}")
        })
    }

    /// What is drawn for the pictures of a step, if anything is.
    pub(crate) fn augment(&self) -> Option<Augment> {
        let crop = if self.random_crop { Crop::RANDOM_RESIZED } else { Crop::Processor };
        let flip = if self.flip { Flip::Half } else { Flip::Never };
        (self.flip || self.random_crop).then_some(Augment { crop, flip })
    }

    /// How pictures are opened, those of these `classes` if they are known.
    pub fn options(&self, classes: Option<Vec<String>>) -> ImageOptions {
        ImageOptions { broken: if self.skip_broken { Broken::Skipped } else { Broken::Refused }, classes }
    }

    /// The first setting that is not as it is without any.
    pub(crate) fn first_given(&self) -> Option<&'static str> {
        let given = [
            ("image-size", self.image_size.is_some()),
            ("flip", self.flip),
            ("random-crop", self.random_crop),
            ("skip-broken", self.skip_broken),
        ];
        given.into_iter().find(|(_, given)| *given).map(|(key, _)| key)
    }
}

impl RunConfig {
    /// Refuses settings that belong to images.
    ///
    /// # Errors
    /// [`Error::Setting`].
    pub fn check_for_text(&self) -> Result<(), Error> {
        match self.images.first_given() {
            None => Ok(()),
            Some(key) => {
                let what = "belongs to image models, and this one is for text; leave it out".to_owned();
                Err(Error::Setting { key, what })
            }
        }
    }

    /// Refuses settings that belong to text, and adds what goes without saying: the head is trained beside new pairs.
    ///
    /// # Errors
    /// [`Error::Setting`].
    pub fn check_for_images(&mut self) -> Result<(), Error> {
        let given = [
            ("seq-len", self.seq_len.is_some()),
            ("packing", self.packing),
            ("chat-template", self.rows.chat_template.is_some()),
            ("chat-date", self.rows.chat_date.is_some()),
            ("train-on", self.rows.train_on != TrainOn::default()),
        ];
        if let Some((key, _)) = given.into_iter().find(|(_, given)| *given) {
            let what = "belongs to text, and this is an image model; leave it out".to_owned();
            return Err(Error::Setting { key, what });
        }
        let new_pairs = self.fine_tune_type == FineTuneType::Lora && self.adapter.is_none();
        if new_pairs && !self.modules_to_save.iter().any(|module| module == CLASSIFIER) {
            self.modules_to_save.push(CLASSIFIER.to_owned());
        }
        Ok(())
    }

    /// As [`RunConfig::check_ranks`], of an image model, whose widest stage counts.
    ///
    /// # Errors
    /// The same.
    pub fn check_image_ranks(&self, model: &VisionConfig) -> Result<(), Error> {
        self.check_ranks_of(|site| {
            let widths = model.stages.iter().map(|stage| match site {
                Site::ActFn | Site::MlpOut => stage.intermediate_size,
                _ => stage.hidden_size,
            });
            widths.max().unwrap_or(0)
        })
    }

    /// Bytes of decoded pictures that a step over micro-batches of so many `images` of `numbers` numbers holds: its own, one
    /// micro-batch that lies ready, and one that is being made.
    pub fn pixel_bytes(&self, numbers: usize, images: usize) -> usize {
        4 * numbers * images * (self.grad_accum + 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_one_number_or_two() {
        assert_eq!(ImageSettings::size("224"), Ok([224, 224]));
        assert_eq!(ImageSettings::size("224x192"), Ok([224, 192]));
        for wrong in ["", "x", "0", "224x", "224x192x3", "-1", "99999", "2.5"] {
            assert!(ImageSettings::size(wrong).is_err_and(|said| said.contains("expected 224")), "{wrong}");
        }
    }

    #[test]
    fn what_is_written_is_what_is_given() -> Result<(), Box<dyn std::error::Error>> {
        let some = ImageSettings { image_size: Some([32, 48]), flip: true, ..ImageSettings::default() };
        assert_eq!(toml::to_string(&some)?, "image_size = \"32x48\"\nflip = true\n");
        assert_eq!(toml::to_string(&ImageSettings::default())?, "");
        assert_eq!((some.first_given(), ImageSettings::default().first_given()), (Some("image-size"), None));
        Ok(())
    }
}
