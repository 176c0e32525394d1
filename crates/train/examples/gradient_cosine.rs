//! How faithful are the gradients of each preset on real data? Cosine between the LoRA gradient of one micro-batch in a
//! preset and the exact one, all layers together, with the ratio of their norms and the bytes saved.
//!
//! ```text
//! cargo run --release -p loract-train --example gradient_cosine -- MODEL DATA.jsonl ROWS [ADAPTER]
//! ```
//!
//! ROWS rows from the start of the file make the micro-batch, cut at 512 tokens. Without ADAPTER the pairs are new ones
//! whose B is set to small random numbers (at B = 0 every gradient of A would be 0).

use std::path::Path;

use loract_autograd::{Grads, Memory, Policy, Rank, Rng};
use loract_models::{Decoder, LoraConfig, ModelSource, TokenBatch, adapter};
use loract_train::data::{Dataset, Reader};
use loract_train::{Activations, Schedule, ScheduleKind, Trainer};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, data, rows, adapter @ ..] = &args[..] else {
        return Err("usage: gradient_cosine MODEL DATA.jsonl ROWS [ADAPTER]".into());
    };
    let (_, _, batch) = open(model, data, rows.parse()?, adapter.first())?;
    println!("one micro-batch of {} tokens", batch.tokens());
    let (exact, reference, saved) = gradient(&args, Policy::exact())?;
    println!("{:<24} cosine 1        norm 1        saved {:>7.1} MB", "exact", saved as f64 / 1e6);
    for (name, preset) in &Activations::ALL[1..] {
        let ranks: &[(usize, usize)] =
            if preset.policy().sites.is_empty() { &[(1, 8)] } else { &[(1, 4), (1, 8), (1, 16)] };
        if *name == "loract" {
            continue;
        }
        for &(num, den) in ranks {
            let policy = Policy { rank: Rank::Fraction { num, den }, ..preset.policy() };
            let label = if policy.sites.is_empty() { (*name).to_owned() } else { format!("{name} {num}/{den}") };
            let (trainer, grads, saved) = gradient(&args, policy)?;
            let (mut dot, mut a2, mut b2) = (0.0f64, 0.0f64, 0.0f64);
            for (p, q) in exact.decoder().params().into_iter().zip(trainer.decoder().params()) {
                let (a, b) = (reference.get(p).ok_or("a gradient")?, grads.get(q).ok_or("a gradient")?);
                for (x, y) in a.to_vec().into_iter().zip(b.to_vec()) {
                    dot += f64::from(x) * f64::from(y);
                    a2 += f64::from(x) * f64::from(x);
                    b2 += f64::from(y) * f64::from(y);
                }
            }
            println!(
                "{label:<24} cosine {:<8.4} norm {:<8.3} saved {:>7.1} MB",
                dot / (a2 * b2).sqrt(),
                (b2 / a2).sqrt(),
                saved as f64 / 1e6
            );
        }
    }
    Ok(())
}

fn open(
    model: &str,
    data: &str,
    rows: usize,
    adapter_folder: Option<&String>,
) -> Result<(Memory, Decoder, TokenBatch), Box<dyn std::error::Error>> {
    let memory = Memory::new();
    let source = ModelSource::open(Path::new(model))?;
    let reader = Reader::new(&source, Some(512.min(source.config.context)))?;
    let data = Dataset::read(Path::new(data), &reader)?;
    let batch = TokenBatch::new(data.examples().iter().take(rows).map(|e| &e.row));
    let mut decoder = Decoder::load(&memory, source.config, source.weights)?;
    match adapter_folder {
        Some(folder) => {
            adapter::load(&memory, &mut decoder, Path::new(folder))?;
        }
        None => {
            let targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
            let lora = LoraConfig { rank: 16, alpha: 32.0, dropout: 0.0, targets: targets.map(String::from).into() };
            decoder.attach_lora(&memory, &lora, 0)?;
            let mut rng = Rng::new(&[0xc05]);
            for param in decoder.params_mut() {
                if param.name().contains("lora_B") {
                    let size = param.value().rows() * param.value().cols();
                    let numbers: Vec<f32> = (0..size).map(|_| 0.01 * rng.normal()).collect();
                    param.value_mut().write(&numbers);
                }
            }
        }
    }
    Ok((memory, decoder, batch))
}

/// The gradient in `policy`, with the trainer that owns its parameters and the bytes saved.
fn gradient(args: &[String], policy: Policy) -> Result<(Trainer, Grads, usize), Box<dyn std::error::Error>> {
    let (memory, decoder, batch) = open(&args[0], &args[1], args[2].parse()?, args.get(3))?;
    let schedule = Schedule { kind: ScheduleKind::Constant, lr: 0.0, warmup: 0, steps: 1 };
    let trainer = Trainer::new(decoder, &memory, policy, schedule, 0.0, 0.0, 0);
    let (grads, _, report) = trainer.gradient(&[batch])?;
    Ok((trainer, grads, report.saved_bytes))
}
