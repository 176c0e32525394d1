//! The ops, one a file: forward, what it saves, backward.

mod add;
mod attention;
mod cross_entropy;
mod dora;
mod dropout;
mod embedding;
mod experts;
mod linear;
mod merged;
mod norm;
mod project;
mod rope;
mod swiglu;
mod weigh_rows;

pub use add::add;
pub use attention::{AttentionShape, attention};
pub use cross_entropy::{LossOutput, Targets, cross_entropy};
pub use dropout::dropout;
pub use embedding::embedding;
pub use experts::{Choices, ExpertInput, Routed, Shares, experts, route};
pub use linear::{Linear, Lora, linear};
pub use merged::merged;
pub use norm::{Norm, NormKind, norm};
pub use project::project;
pub use rope::{RopeTable, rope};
pub use swiglu::swiglu;
pub use weigh_rows::weigh_rows;
