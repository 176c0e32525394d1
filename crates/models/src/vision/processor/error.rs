//! What can be wrong with a processor's settings.

use crate::config::ConfigError;

/// Settings that are damaged, or ask for what is not done here.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are the words of the messages")]
pub enum ProcessorError {
    /// A key has a value of another kind.
    #[error(transparent)]
    Value(#[from] ConfigError),
    /// A class that is not supported.
    #[error("{key} {found} is not supported; supported: {known}")]
    Class { key: &'static str, found: String, known: String },
    /// Nothing says which class it is.
    #[error(
        "image_processor_type is missing, and no config.json beside it says a model_type that has one; one of {known}"
    )]
    NoClass { known: String },
    /// A setting that would change the result.
    #[error("{key} is {found}, which is not supported; supported: {expected}")]
    Unsupported { key: &'static str, found: String, expected: &'static str },
    /// A size that is not one.
    #[error(
        "{key} is {found}; expected a whole number, [height, width], {{\"height\", \"width\"}} or {{\"shortest_edge\"}}, each 1 \
         to {most}"
    )]
    Size { key: &'static str, found: String, most: usize },
    /// Pictures would not all come out alike.
    #[error(
        "{why}, so pictures would come out in various sizes, which no batch can hold; set size to {{\"height\", \"width\"}}, or \
         do_center_crop with crop_size"
    )]
    Varying { why: &'static str },
    /// A crop without its size.
    #[error("do_center_crop is true and crop_size is missing")]
    NoCropSize,
    /// Another number of means or deviations than of channels.
    #[error("{key} has {found} numbers, expected {expected}")]
    Channels { key: &'static str, found: usize, expected: &'static str },
    /// A number to multiply or divide by.
    #[error("{key} holds {found}, expected {expected}")]
    Number { key: &'static str, found: f64, expected: &'static str },
    /// A model of another number of channels.
    #[error(
        "the model takes {wanted} channels, and image_mean and image_std are for {channels}; supported: 1 (grey) and 3 (RGB), \
         with numbers for each or one for all"
    )]
    ModelChannels { channels: usize, wanted: usize },
}
