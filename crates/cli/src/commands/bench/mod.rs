//! `loract bench`.

mod args;
mod contestants;
mod decompose;
mod measure;
mod report;
mod settings;

pub use args::BenchArgs;

use anyhow::Result;

use args::Benched;

/// Measures.
pub fn run(args: BenchArgs) -> Result<()> {
    match args.what {
        Benched::Decompose(args) => decompose::run(&args),
    }
}
