//! How pictures become images, as typed.

use clap::Args;
use loract_train::{Error, ImageSettings};
use serde::{Deserialize, Deserializer};

use super::setting;

#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct ImageArgs {
    /// Of an image model: size of the images that it takes, 384, or 384x288 for height and width; its table of positions is
    /// resized [default: the model's own]
    #[arg(long, value_name = "PIXELS")]
    pub image_size: Option<String>,
    /// Of an image model: leave broken pictures out instead of ending at one
    #[arg(long)]
    pub skip_broken: bool,
}

impl ImageArgs {
    /// The settings that these arguments mean.
    pub fn resolve(self) -> Result<ImageSettings, Error> {
        let size = self.image_size.as_deref().map(ImageSettings::size).transpose();
        let image_size = size.map_err(|what| setting("image-size", what))?;
        Ok(ImageSettings { image_size, skip_broken: self.skip_broken, ..ImageSettings::default() })
    }
}

/// Reads a size of images from a configuration file, where one edge may be a number.
pub fn size_in_a_file<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a size of images: 224, or \"224x192\" for height and width")]
    enum Size {
        Edge(i64),
        Text(String),
    }
    Ok(Some(match Size::deserialize(deserializer)? {
        Size::Edge(edge) => edge.to_string(),
        Size::Text(text) => text,
    }))
}
