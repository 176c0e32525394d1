//! The command-line contract, tested on the program itself with tiny golden models: what it writes and prints, and what
//! it says to bad input.

mod bad_adapter;
mod bad_data;
mod bad_inspect;
mod bad_model;
mod bad_usage;
mod bench;
mod checkpoint_lies;
mod checkpoints;
#[cfg(unix)]
mod crash;
mod damage;
mod data;
mod export;
mod golden;
mod harness;
#[cfg(feature = "hub")]
mod hub;
mod images;
mod images_refused;
mod inspect;
mod install;
mod merge;
mod not_finite;
mod output;
mod plan;
mod presets;
mod report;
mod resume;
mod settings;
#[cfg(unix)]
mod signals;
mod speak;
mod text_rows;
#[cfg(unix)]
mod two_runs;
mod whole;
