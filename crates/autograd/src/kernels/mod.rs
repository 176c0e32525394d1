//! The seam: every loop over numbers.

pub(crate) mod simd;
