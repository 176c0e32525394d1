//! The commands, one a file or a folder; what several of them need is in [`captured`], [`compared`] and
//! [`folder`].

pub mod bench;
mod captured;
mod compared;
pub mod demo;
pub mod eval;
pub mod export;
mod folder;
pub mod inspect;
pub mod merge;
pub mod plan;
pub mod train;
