//! Tests of the tape through its public interface: each op's forward and gradients against an f64 oracle, exactly kept
//! and compressed; what is shared, recomputed and counted; and what is refused.

mod attention;
mod errors;
mod harness;
mod kernels;
mod ops;
mod saved;
mod segments;
mod sharing;
