//! The commands, one a file or a folder; what several of them need is in [`captured`], [`compared`], [`folder`], [`kind`]
//! and [`speaker`].

pub mod bench;
mod captured;
pub mod chat;
mod compared;
pub mod completions;
pub mod demo;
pub mod eval;
pub mod export;
mod folder;
pub mod generate;
pub mod inspect;
mod kind;
pub mod man;
pub mod merge;
pub mod plan;
pub mod reference;
pub mod report;
mod speaker;
pub mod train;
