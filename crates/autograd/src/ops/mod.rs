//! The ops, one a file: forward, what it saves, backward.

mod activation;
mod add;
mod attention;
mod clamp;
mod cross_entropy;
mod dora;
mod dropout;
mod embedding;
mod experts;
mod head;
mod linear;
mod merged;
mod norm;
mod project;
mod rope;
mod scale;
mod slice;
mod weigh_rows;

pub use activation::{activate, gated};
pub use add::add;
pub use attention::{AttentionShape, attention};
pub use clamp::clamp;
pub use cross_entropy::{LossOutput, Targets, cross_entropy};
pub use dropout::dropout;
pub use embedding::embedding;
pub use experts::{Choices, ExpertInput, Routed, Shares, experts, route};
pub use head::Head;
pub use linear::{Linear, Lora, linear};
pub use merged::merged;
pub use norm::{Norm, NormKind, norm};
pub use project::project;
pub use rope::{RopePairs, RopeTable, rope};
pub use scale::scale;
pub use slice::slice;
pub use weigh_rows::weigh_rows;

pub use crate::kernels::activation::Activation;
pub use crate::kernels::attention::Mask;
