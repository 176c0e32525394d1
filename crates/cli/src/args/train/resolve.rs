//! From arguments to settings, with a default for everything that is not given.

use std::path::PathBuf;

use loract_models::ALL_LINEAR;
use loract_train::{Error, FineTuneType, ImageSettings, MixedPrecision, RunConfig};

use super::TrainArgs;
use crate::args::images::ImageArgs;
use crate::args::rows::{RowArgs, files_of};
use crate::args::{named, policy, read_bytes, setting};

impl TrainArgs {
    /// The settings that these arguments mean; everything not given gets its default.
    pub fn resolve(self, threads: usize) -> Result<RunConfig, Error> {
        let policy = policy::resolve(&self)?;
        let needed = |key, value: Option<PathBuf>| {
            value.ok_or_else(|| setting(key, format!("missing: give --{key} or `{key}` in the configuration file")))
        };
        if self.adapter.is_some() {
            for (key, given) in [
                ("lora-rank", self.lora_rank.is_some()),
                ("lora-alpha", self.lora_alpha.is_some()),
                ("lora-targets", self.lora_targets.is_some()),
                ("modules-to-save", self.modules_to_save.is_some()),
                ("rslora", self.rslora),
                ("dora", self.dora),
            ] {
                if given {
                    crate::output::message(&format!("note: --{key} is ignored; the adapter's own is kept"));
                }
            }
        }
        let fine_tune_type = named("fine-tune-type", self.fine_tune_type.as_deref())?.unwrap_or_default();
        let default_lr = if fine_tune_type == FineTuneType::Full { 2e-5 } else { 2e-4 };
        let lora_rank = self.lora_rank.unwrap_or(16);
        let rows = RowArgs { chat_template: self.chat_template, chat_date: self.chat_date, train_on: self.train_on };
        let rows = rows.resolve()?;
        let images = ImageArgs { image_size: self.image_size, skip_broken: self.skip_broken }.resolve()?;
        let images = ImageSettings { flip: self.flip, random_crop: self.random_crop, ..images };
        let (data, model) = (needed("data", self.data)?, needed("model", self.model)?);
        let (data, eval_data) = files_of(&model, data, self.eval_data)?;
        let mut mixed_precision: MixedPrecision =
            named("mixed-precision", self.mixed_precision.as_deref())?.unwrap_or_default();
        if mixed_precision == MixedPrecision::Bf16 && !mixed_precision.precision().is_fast() {
            crate::output::message(
                "note: --mixed-precision bf16 needs a processor (and system) with AMX, or AMD's with AVX512-BF16; here all is f32 \
                 (bf16-emulated gives the numbers of bf16 here, no faster than f32)",
            );
            mixed_precision = MixedPrecision::No;
        }
        let config = RunConfig {
            model,
            data,
            out: needed("out", self.out)?,
            fine_tune_type,
            adapter: self.adapter,
            steps: self.steps,
            batch_size: self.batch_size.unwrap_or(4),
            seq_len: self.seq_len,
            rows,
            images,
            packing: self.packing,
            grad_accum: self.grad_accum.unwrap_or(1),
            lr: self.lr.unwrap_or(default_lr),
            schedule: named("schedule", self.schedule.as_deref())?.unwrap_or_default(),
            warmup: self.warmup.unwrap_or(0),
            weight_decay: self.weight_decay.unwrap_or(0.01),
            max_grad_norm: self.max_grad_norm.unwrap_or(1.0),
            seed: self.seed.unwrap_or(0),
            no_shuffle: self.no_shuffle,
            threads,
            memory_limit: self.memory_limit.as_deref().map(|text| read_bytes("memory-limit", text)).transpose()?,
            eval_data,
            eval_every: self.eval_every.unwrap_or(0),
            early_stop: self.early_stop.unwrap_or(0),
            save_every: self.save_every.unwrap_or(0),
            keep_checkpoints: self.keep_checkpoints.unwrap_or(2),
            lora_rank,
            lora_alpha: self.lora_alpha.unwrap_or(2.0 * lora_rank as f64),
            lora_dropout: self.lora_dropout.unwrap_or(0.0),
            lora_targets: self.lora_targets.unwrap_or_else(|| vec![ALL_LINEAR.to_owned()]),
            modules_to_save: self.modules_to_save.unwrap_or_default(),
            rslora: self.rslora,
            lora_fa: self.lora_fa,
            dora: self.dora,
            recompute: policy.recompute,
            sites: policy.forms,
            warm_start: policy.warm_start,
            mixed_precision,
            compress_workers: self.compress_workers.unwrap_or(0),
            audit_every: self.audit_every.unwrap_or(0),
            tensorboard: self.tensorboard,
        };
        config.check()?;
        Ok(config)
    }
}
