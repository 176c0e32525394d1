//! Vision: pictures as files hold them, as the numbers that an encoder takes.

mod picture;
mod processor;

pub use picture::{Alpha, Channels, Picture, PictureError, PictureFormat};
pub use processor::{Augment, Crop, Filter, Flip, ImageProcessor, ProcessorError, View};
