//! The commands, one a file.

pub mod demo;
pub mod eval;
pub mod train;
