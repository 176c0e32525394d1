//! `loract bench`.

mod args;
mod contestants;
mod decompose;
mod measure;
mod report;
mod settings;
mod step;

pub use args::BenchArgs;

use anyhow::Result;

use args::Benched;

/// Measures.
pub fn run(args: BenchArgs) -> Result<()> {
    match args.what {
        Benched::Step(args) => step::run(*args),
        Benched::Decompose(args) => decompose::run(&args),
    }
}

/// The machine's load of the last minute, where the system tells.
fn load() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}
