//! Checkpoints: a run of a tiny model that goes on from what an input says.
//!
//! An input is a byte that chooses the run's settings and the files of `OUT/checkpoint-N`, in the order of [`FILES`],
//! with [`BETWEEN`] between them. Checksums that are left out are made, so that most inputs get beyond them. The folder is
//! named by the step in the input's own record, and lies in a folder of temporary files (set TMPDIR=/dev/shm).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use loract_autograd::{Form, Recompute, Site, WarmStart};
use loract_train::audit::Audit;
use loract_train::data::RowSettings;
use loract_train::{Ended, Evaluation, FineTuneType, ImageSettings, Progress, Run, RunConfig, ScheduleKind, StepReport};
use serde_json::Value;

use crate::seeds::{safetensors, tiny_config, tiny_tensors};

/// The files of an input.
const FILES: [&str; 7] = [
    "checkpoint.json",
    "optimizer.safetensors",
    "adapter_model.safetensors",
    "adapter_config.json",
    "metrics.jsonl",
    "best.safetensors",
    "checksums.txt",
];

/// What lies between two of them.
const BETWEEN: &[u8] = b"\n#~#\n";

/// Stops after so many steps.
struct StopsAfter {
    steps: u64,
}

impl Progress for StopsAfter {
    fn note(&mut self, _text: &str) {}
    fn step(&mut self, _report: &StepReport, _steps: u64) {
        self.steps = self.steps.saturating_sub(1);
    }
    fn audited(&mut self, _step: u64, _audit: &Audit) {}
    fn evaluated(&mut self, _step: u64, _evaluation: &Evaluation) {}
    fn interrupted(&self) -> bool {
        self.steps == 0
    }
}

/// A folder with the model and the data.
fn place() -> &'static Path {
    static PLACE: OnceLock<PathBuf> = OnceLock::new();
    PLACE.get_or_init(|| {
        let place = std::env::temp_dir().join(format!("loract-fuzz-{}", std::process::id()));
        let rows = r#"{"input_ids":[0,1,2,3,4,5]}
{"input_ids":[5,4,3,2,1],"labels":[-100,4,3,2,1]}
{"input_ids":[1,2,1,2,1,2,1]}
"#;
        let make = || {
            fs::create_dir_all(place.join("model"))?;
            fs::write(place.join("model/config.json"), tiny_config().to_string())?;
            fs::write(place.join("model/model.safetensors"), safetensors(&tiny_tensors("F32")))?;
            fs::write(place.join("rows.jsonl"), rows)
        };
        make().expect("temporary files can be written");
        place
    })
}

/// The settings that a byte stands for.
fn settings(how: u8) -> RunConfig {
    let on = |bit: u8| how & (1 << bit) != 0;
    let place = place();
    let form = |text: &str| text.parse::<Form>().expect("a form");
    let factors = if on(1) { "rqb:auto@0.3" } else { "rqb:2" };
    let sites = if on(0) {
        BTreeMap::from([(Site::Norm, form(factors)), (Site::MlpIn, form(factors)), (Site::ActFn, form("q8"))])
    } else {
        BTreeMap::new()
    };
    RunConfig {
        model: place.join("model"),
        data: place.join("rows.jsonl"),
        out: place.join("out"),
        fine_tune_type: FineTuneType::Lora,
        adapter: None,
        images: Default::default(),
        steps: Some(1 << 40),
        batch_size: 2,
        seq_len: on(2).then_some(8),
        rows: RowSettings::default(),
        images: ImageSettings::default(),
        packing: on(2),
        grad_accum: 1,
        lr: 1e-2,
        schedule: ScheduleKind::Constant,
        warmup: 0,
        weight_decay: 0.0,
        max_grad_norm: 1.0,
        seed: 1,
        no_shuffle: on(3),
        threads: 1,
        memory_limit: None,
        eval_data: on(4).then(|| place.join("rows.jsonl")),
        eval_every: u64::from(on(4)),
        early_stop: 0,
        save_every: 1,
        keep_checkpoints: 1,
        lora_rank: 1,
        lora_alpha: 2.0,
        lora_dropout: 0.0,
        lora_targets: vec!["q_proj".into()],
        modules_to_save: Vec::new(),
        rslora: false,
        lora_fa: on(5),
        dora: on(6),
        recompute: Recompute::None,
        warm_start: if on(0) { WarmStart::Refresh } else { WarmStart::None },
        sites,
        compress_workers: 0,
        audit_every: 0,
        tensorboard: false,
    }
}

/// Goes on from an input for one step and, if that succeeds, from the checkpoint that this leaves.
pub fn drive(input: &[u8]) {
    let Some((&how, files)) = input.split_first() else { return };
    let out = place().join("out");
    let _ = fs::remove_dir_all(&out);
    let mut files = split(files);
    let step = serde_json::from_slice::<Value>(files[0]).ok().and_then(|record| record["step"].as_u64()).unwrap_or(2);
    let folder = out.join(format!("checkpoint-{step}"));
    let sums: String = FILES
        .iter()
        .zip(&files)
        .filter(|(name, bytes)| **name != "checksums.txt" && !bytes.is_empty())
        .map(|(name, bytes)| format!("{:08x} {} {name}\n", crc32fast::hash(bytes), bytes.len()))
        .collect();
    if files[6].is_empty() {
        files[6] = sums.as_bytes();
    }
    let write = || {
        fs::create_dir_all(&folder)?;
        let there = FILES.iter().zip(&files).filter(|(_, bytes)| !bytes.is_empty());
        there.into_iter().try_for_each(|(name, bytes)| fs::write(folder.join(name), bytes))
    };
    write().expect("temporary files can be written");
    let Ok(run) = Run::resume(settings(how)) else { return };
    let _ = run.facts();
    let Ok(ended) = run.execute(&mut StopsAfter { steps: 1 }) else { return };
    let Ended::Stopped(stopped) = ended else { panic!("a run of 2^40 steps ended") };
    assert_eq!(stopped.step, step + 1);
    let again = Run::resume(settings(how)).map(drop);
    assert!(again.is_ok(), "the checkpoint of a run that went on cannot be gone on from: {again:?}");
}

fn split(mut files: &[u8]) -> [&[u8]; 7] {
    std::array::from_fn(|_| {
        let at = files.windows(BETWEEN.len()).position(|window| window == BETWEEN);
        let (file, rest) = at.map_or((files, &[][..]), |at| (&files[..at], &files[at + BETWEEN.len()..]));
        files = rest;
        file
    })
}

/// Checkpoints of real runs, with each of the settings.
pub fn seeds() -> Vec<Vec<u8>> {
    [0, 1, 3, 5, 8, 17, 32, 64].into_iter().map(seed).collect()
}

fn seed(how: u8) -> Vec<u8> {
    let out = place().join("out");
    let _ = fs::remove_dir_all(&out);
    let run = Run::prepare(settings(how)).expect("the tiny model can be trained");
    run.execute(&mut StopsAfter { steps: 2 }).expect("and is");
    let files = FILES.map(|name| match name {
        "checksums.txt" => Vec::new(),
        name => fs::read(out.join("checkpoint-2").join(name)).unwrap_or_default(),
    });
    [&[how], &files.join(BETWEEN)[..]].concat()
}
