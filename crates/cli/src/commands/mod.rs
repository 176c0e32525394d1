//! The commands, one a file.

pub mod demo;
pub mod eval;
pub mod plan;
pub mod train;
