//! `loract inspect`.

mod activations;
mod args;
mod charts;
mod data;
mod facts;
mod gradients;
mod heat;
mod lengths;
mod save;

pub use args::InspectArgs;

use anyhow::Result;

use args::Inspected;

/// Looks.
pub fn run(args: InspectArgs) -> Result<()> {
    match args.what {
        Inspected::Activations(args) => activations::run(&args),
        Inspected::Data(args) => data::run(&args),
        Inspected::Gradients(args) => gradients::run(*args),
    }
}
