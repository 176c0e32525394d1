//! `loract bench`.

mod args;
mod contestants;
mod decompose;
mod measure;
mod report;
mod scaling;
mod settings;
mod step;

pub use args::BenchArgs;

use anyhow::Result;
use loract_autograd::Rng;
use loract_models::{ImageBatch, Row, TokenBatch, VisionConfig};

use args::Benched;

/// Measures.
pub fn run(args: BenchArgs) -> Result<()> {
    match args.what {
        Benched::Step(args) => step::run(*args),
        Benched::Scaling(args) => scaling::run(&args),
        Benched::Decompose(args) => decompose::run(&args),
    }
}

/// The machine's load of the last minute, where the system tells.
fn load() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

fn random_rows(rows: usize, tokens: usize, vocabulary: usize) -> TokenBatch {
    let mut rng = Rng::new(&[0xbe, 0x5e]);
    let mut row = || Row::all((0..tokens).map(|_| (rng.next_u64() % vocabulary.max(1) as u64) as u32).collect());
    let rows: Vec<Row> = (0..rows).map(|_| row()).collect();
    TokenBatch::new(&rows)
}

/// Images of normal numbers, of all classes in turn.
fn random_images(config: &VisionConfig, images: usize) -> Result<ImageBatch, loract_models::Error> {
    let mut rng = Rng::new(&[0xbe, 0x5f]);
    let pixels = (0..images * config.pixels()).map(|_| rng.normal()).collect();
    let labels = (0..images).map(|image| (image % config.labels.len().max(1)) as u32).collect();
    ImageBatch::new(config, pixels, labels)
}
