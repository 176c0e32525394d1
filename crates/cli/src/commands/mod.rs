//! The commands, one a file or a folder; what several of them need is in [`captured`] and [`folder`].

pub mod bench;
mod captured;
pub mod completions;
pub mod demo;
pub mod eval;
mod folder;
pub mod inspect;
pub mod man;
pub mod merge;
pub mod plan;
pub mod reference;
pub mod train;
