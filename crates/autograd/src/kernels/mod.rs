//! The seam: every loop over numbers. Ops above it see tensors only; a GPU would be another set of these.

pub(crate) mod activation;
pub(crate) mod attention;
pub(crate) mod clamp;
pub(crate) mod elementwise;
pub(crate) mod gather;
pub(crate) mod head;
pub(crate) mod matmul;
pub(crate) mod norm;
pub mod optimise;
pub(crate) mod parts;
pub(crate) mod patches;
pub(crate) mod pool;
pub(crate) mod quantise;
pub(crate) mod rope;
pub(crate) mod route;
pub(crate) mod rows;
pub(crate) mod simd;
pub(crate) mod widen;
