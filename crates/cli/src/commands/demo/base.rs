//! The embedded model: a tiny *project-pretrained* Llama, made by `loract demo --pretrain` from rows that the project
//! generates.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use loract_autograd::{Memory, Policy, Rng};
use loract_models::weights::store::StoredAs;
use loract_models::{Content, Decoder, DecoderConfig, Model, ModelSource, ToWrite, TokenBatch};
use loract_train::{Schedule, ScheduleKind, Trainer};

use super::task::Task;
use crate::output;

const CONFIG: &str = include_str!("../../../assets/demo/config.json");
const WEIGHTS: &[u8] = include_bytes!("../../../assets/demo/model.safetensors");

/// Steps and rows a step of pre-training.
const STEPS: u64 = 3000;
const ROWS: usize = 64;

/// The embedded model, frozen.
pub fn load(memory: &Memory) -> Result<Decoder> {
    let source = ModelSource::from_safetensors_bytes("the embedded model", CONFIG, WEIGHTS.to_vec())?;
    Ok(Decoder::load(memory, source.config, source.weights)?)
}

/// Trains all weights from random ones and writes the model's two files to `folder`.
pub fn pretrain(folder: &Path) -> Result<()> {
    let memory = Memory::new();
    let config = DecoderConfig::from_json(Path::new("the embedded config.json"), CONFIG, None)?;
    let decoder =
        Decoder::random(&memory, config, 1).ok_or_else(|| anyhow!("the embedded config.json has no layers"))?;
    let schedule = Schedule { kind: ScheduleKind::Cosine, lr: 2e-3, warmup: 100, steps: STEPS };
    let mut trainer = Trainer::new(decoder, &memory, Policy::exact(), schedule, 0.01, 1.0, 1);
    let mut rng = Rng::new(&[1, 0x9e7]);
    for step in 1..=STEPS {
        let rows: Vec<_> = (0..ROWS).map(|i| Task::PRETRAINING[i % 3].row(&mut rng)).collect();
        let report = trainer.step(&[TokenBatch::new(&rows)])?;
        if step % 100 == 0 {
            output::message(&format!("pre-training {step}/{STEPS}  loss {:.4}", report.loss));
        }
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let config = ToWrite { name: "config.json".into(), content: Content::Bytes(CONFIG.into()) };
    for file in std::iter::once(config).chain(trainer.decoder().to_files(StoredAs::Bf16, usize::MAX)) {
        let path = folder.join(&*file.name);
        file.write(&path).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
