//! An image model as published: a folder in Hugging Face's layout.

use std::path::Path;

use serde_json::Value;

use super::build::HEAD;
use super::config::VisionConfig;
use super::family::{VisionFamily, VisionType};
use super::labels::adapter_image_size;
use super::processor::ImageProcessor;
use crate::error::Error;
use crate::source::{CONFIG, folder_text, name_of};
use crate::weights::{Stored, Weights, safetensors};

/// Everything an image model comes with.
#[derive(Debug)]
pub struct VisionSource {
    /// What it is.
    pub config: VisionConfig,
    /// Its numbers under the names of modules, not read yet.
    pub weights: Weights,
    /// How pictures become its images.
    pub processor: ImageProcessor,
    /// What `adapter_config.json` calls the base model: the path as given; in Hugging Face's cache the id there.
    pub name: String,
}

impl VisionSource {
    /// Whether the folder at `path` holds an image model, as its `config.json` says. `false` for what is none at all, which
    /// [`crate::ModelSource::open`] has the words for.
    pub fn is_at(path: &Path) -> bool {
        let values = std::fs::read(path.join(CONFIG)).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok());
        let model_type = values.as_ref().and_then(|values| values.get("model_type")?.as_str());
        model_type.is_some_and(|name| VisionType::named(name).is_some())
    }

    /// The configuration of a folder, without its weights.
    ///
    /// # Errors
    /// What is wrong with its `config.json`.
    pub fn read_config(folder: &Path) -> Result<VisionConfig, Error> {
        VisionConfig::from_json(&folder.join(CONFIG), &folder_text(folder)?)
    }

    /// Opens a folder. Its images are of the size that its processor makes, whatever its table of positions is for (DINOv2 was
    /// made with larger ones than it is used with).
    ///
    /// # Errors
    /// As [`crate::ModelSource::open`]; [`Error::Processor`].
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let (config, stored) = (Self::read_config(folder)?, safetensors::open_folder(folder)?);
        Self::of(folder, config, stored, ImageProcessor::read(folder)?)
    }

    /// A model built into a program: the text of its `config.json` and the bytes of its `model.safetensors`. Its processor is what
    /// Transformers takes for granted.
    ///
    /// # Errors
    /// As [`Self::open`], with `name` in place of a path.
    pub fn from_safetensors_bytes(name: &str, config_json: &str, bytes: Vec<u8>) -> Result<Self, Error> {
        let path = Path::new(name);
        Self::of(path, VisionConfig::from_json(path, config_json)?, safetensors::from_bytes(path, bytes)?, None)
    }

    fn of(
        path: &Path,
        config: VisionConfig,
        stored: Weights,
        processor: Option<ImageProcessor>,
    ) -> Result<Self, Error> {
        let weights = in_modules(&config, stored)?;
        let usual = || ImageProcessor::default_of(config.model_type.name(), config.image_size);
        let processor = processor.or_else(usual).unwrap_or_default().with_channels(config.channels);
        let processor = processor.map_err(|reason| Error::Processor { path: path.to_path_buf(), reason })?;
        let config = config.with_image_size(processor.size());
        let config = config.map_err(|reason| Error::Config { path: path.to_path_buf(), reason })?;
        Ok(Self { config, weights, processor, name: name_of(path) })
    }

    /// The same for images of another size: pictures come out so, and the table of positions is resized.
    ///
    /// # Errors
    /// [`Error::Config`] if they are too small.
    pub fn with_image_size(self, size: [usize; 2]) -> Result<Self, Error> {
        let wrong = |reason| Error::Config { path: self.weights.path().to_path_buf(), reason };
        let config = self.config.clone().with_image_size(size).map_err(wrong)?;
        Ok(Self { config, processor: self.processor.with_size(size[0], size[1]), ..self })
    }

    /// The same for images of the size that the adapter in `folder` was trained with, if it tells one.
    ///
    /// # Errors
    /// Those of [`Self::with_image_size`]; of reading `labels.json`.
    pub fn as_adapted(self, folder: Option<&Path>) -> Result<Self, Error> {
        match folder.map(adapter_image_size).transpose()?.flatten() {
            Some(size) if size != self.config.image_size => self.with_image_size(size),
            _ => Ok(self),
        }
    }

    /// How many classes the head in the file has, if there is one.
    pub fn stored_classes(&self) -> Option<usize> {
        self.weights.get(&format!("{HEAD}.weight")).and_then(|stored| stored.shape.first().copied())
    }
}

/// The weights by the names of modules in Transformers 5.
fn in_modules(config: &VisionConfig, weights: Weights) -> Result<Weights, Error> {
    let family = config.model_type.family();
    let base = format!("{}.", family.base);
    // A file of the encoder alone leaves the first part out.
    let whole = weights.remaining().iter().any(|name| name.starts_with(&base));
    weights.renamed(|name, stored| {
        let name = match whole || name.starts_with(HEAD) {
            true => name,
            false => base.clone() + &name,
        };
        let name = module_name(family, &name);
        match name.split_once("mlp.weights_in.") {
            Some((layer, kind)) => halves(layer, kind, &stored).unwrap_or_else(|| vec![(name, stored)]),
            None => vec![(name, stored)],
        }
    })
}

/// The gate and what it multiplies, which DINOv2 stores one below the other.
fn halves(layer: &str, kind: &str, stored: &Stored) -> Option<Vec<(String, Stored)>> {
    let half = stored.shape.first()? / 2;
    let part = |name: &str, start| Some((format!("{layer}mlp.{name}.{kind}"), stored.rows(start, half)?));
    Some(vec![part("gate_proj", 0)?, part("up_proj", half)?])
}

/// The name of a module's tensor from that in a file.
pub(super) fn module_name(family: &VisionFamily, stored: &str) -> String {
    family.renamed.iter().fold(stored.to_owned(), |name, (module, file)| name.replace(file, module))
}

/// The name in a file from that of a module's tensor.
pub(super) fn published_name(family: &VisionFamily, module: &str) -> String {
    family.renamed.iter().fold(module.to_owned(), |name, (module, file)| name.replace(module, file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_to_modules_and_back() {
        for (family, module, file) in [
            (
                VisionType::Vit,
                "vit.layers.1.attention.q_proj.weight",
                "vit.encoder.layer.1.attention.attention.query.weight",
            ),
            (
                VisionType::Deit,
                "deit.layers.1.attention.o_proj.bias",
                "deit.encoder.layer.1.attention.output.dense.bias",
            ),
            (VisionType::Vit, "vit.layers.11.mlp.fc2.weight", "vit.encoder.layer.11.output.dense.weight"),
            (VisionType::Vit, "vit.layers.11.mlp.fc1.weight", "vit.encoder.layer.11.intermediate.dense.weight"),
            (
                VisionType::Swin,
                "swin.encoder.layers.1.blocks.0.attention.relative_position_bias.relative_position_bias_table",
                "swin.encoder.layers.1.blocks.0.attention.self.relative_position_bias_table",
            ),
            (VisionType::Clip, "vision_model.post_layernorm.bias", "vision_model.post_layernorm.bias"),
        ] {
            let family = family.family();
            assert_eq!(module_name(family, file), module);
            assert_eq!(module_name(family, module), module);
            assert_eq!(published_name(family, module), file);
        }
    }
}
