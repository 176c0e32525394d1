//! What transformer layers are made of, for decoders and for encoders of images: attention, MLP or experts, norms, and the residual
//! stream through them. Each part keeps its name in the checkpoint.

pub(crate) mod attention;
pub(crate) mod experts;
mod layer;
pub(crate) mod mlp;
pub(crate) mod parts;
mod rows;
pub(crate) mod source;
pub(crate) mod tensors;

pub use layer::Layer;
pub(crate) use layer::{FeedForward, LayerNorms};
pub(crate) use rows::{Moved, Rows, Turning, Windows};
