//! A small tape for fine-tuning transformers, which owns exactly one thing: what is kept for backward, in what form, and
//! how gradients follow from it.
//!
//! | module | is |
//! |---|---|
//! | [`Tensor`], [`Memory`] | row-major f32 matrices whose bytes are in the [`Ledger`] and whose memory is used again |
//! | [`Frozen`] | weights in their stored form, widened a panel at a time |
//! | [`Tape`], [`Var`] | what ran, and what each op kept of it; [`Tape::segment`] recomputes a stretch instead |
//! | [`Policy`], [`Site`], [`Form`] | which form a saved tensor gets: itself, bf16, codes of a few bits, low-rank factors, factors and codes, or nothing |
//! | [`ops`] | the ops, one a file: forward, what it saves, backward |
//! | [`KvCache`] | keys and values of the tokens so far, for generation |
//! | [`Profile`] | where the time of a step goes |
//! | [`optimise`] | the arithmetic of AdamW |
//!
//! Forward is always exact; only gradients depend on the policy. Shapes: m rows (tokens of the micro-batch), n columns
//! (features); a weight is output features × input features.

mod cache;
mod error;
mod frozen;
mod kernels;
mod ledger;
pub mod ops;
mod param;
mod profile;
mod routing;
mod saved;
mod tape;
mod tensor;
mod timeline;

pub use cache::KvCache;
pub use error::Error;
pub use frozen::{Bytes, DType, Frozen, to_bf16_bytes};
pub use kernels::optimise;
pub use ledger::{Category, Claim, Ledger, Peak, Phase};
/// Parts of `loract-linalg` that users of this crate need too.
pub use loract_linalg::{Precision, Rng};
pub use param::{Grads, Param, ParamId, Values, Weight};
pub use profile::{Part, Product, Profile};
pub use saved::{
    BasisRecord, Compress, FactorType, Factored, Form, History, PlaceRecord, Planned, PlannedFactors, Policy, Quant,
    QuantRange, Rank, Recompute, Rounding, SavedKind, SavedRef, Site, WarmStart, Workers,
};
pub use tape::{InputGrads, Observer, Segment, SiteError, StepKey, Tape, Var, VarId};
pub use tensor::{BufferId, Memory, Tensor};
pub use timeline::{Moment, Timeline};
