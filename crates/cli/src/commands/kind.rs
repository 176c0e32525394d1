//! What a command cannot do with an image model.

use std::path::Path;

use loract_models::VisionSource;
use loract_train::Error;

/// Refuses a model of images: `what` is not to be had of it, and what else to do.
pub fn refuse_images(model: &Path, what: &str) -> Result<(), Error> {
    if !VisionSource::is_at(model) {
        return Ok(());
    }
    let kind = VisionSource::read_config(model).map_or("", |config| config.model_type.name());
    Err(Error::Setting { key: "model", what: format!("{} is an image model ({kind}): {what}", model.display()) })
}
