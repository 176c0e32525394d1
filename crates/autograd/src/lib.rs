//! A small tape for fine-tuning transformers, which owns what is kept for backward and in what form.

mod error;
mod frozen;
mod kernels;
mod ledger;
mod saved;
mod tensor;

pub use error::Error;
pub use frozen::{Bytes, DType, Frozen, to_bf16_bytes};
pub use ledger::{Category, Claim, Ledger, Peak, Phase};
pub use saved::{SavedKind, Site};
pub use tensor::{BufferId, Memory, Tensor};
