//! Arguments from the file of `--config`. Flags win.

use std::fs;
use std::path::Path;

use loract_train::Error;

use super::TrainArgs;

impl TrainArgs {
    /// Fills what is not given from the file of `--config`, if there is one.
    pub fn with_file(self) -> Result<Self, Error> {
        let Some(path) = &self.config else { return Ok(self) };
        let file = read_file(path)?;
        macro_rules! first_given {
            ($($key:ident),*) => { TrainArgs { $($key: self.$key.or(file.$key),)*
                packing: self.packing || file.packing,
                flip: self.flip || file.flip,
                random_crop: self.random_crop || file.random_crop,
                skip_broken: self.skip_broken || file.skip_broken,
                no_shuffle: self.no_shuffle || file.no_shuffle,
                rslora: self.rslora || file.rslora,
                lora_fa: self.lora_fa || file.lora_fa,
                dora: self.dora || file.dora,
                tensorboard: self.tensorboard || file.tensorboard,
                resume: self.resume || file.resume,
                config: None,
            } };
        }
        Ok(first_given!(
            model,
            data,
            out,
            adapter,
            steps,
            batch_size,
            seq_len,
            chat_template,
            chat_date,
            train_on,
            image_size,
            grad_accum,
            lr,
            schedule,
            warmup,
            weight_decay,
            max_grad_norm,
            seed,
            threads,
            memory_limit,
            eval_data,
            eval_every,
            early_stop,
            save_every,
            keep_checkpoints,
            progress,
            lora_rank,
            lora_alpha,
            lora_dropout,
            lora_targets,
            fine_tune_type,
            modules_to_save,
            activations,
            recompute,
            compress,
            rank,
            residual_bits,
            sites,
            warm_start,
            mixed_precision,
            compress_workers,
            audit_every
        ))
    }
}

fn read_file(path: &Path) -> Result<TrainArgs, Error> {
    let text = fs::read_to_string(path).map_err(|reason| Error::Read { path: path.to_path_buf(), reason })?;
    toml::from_str(&text)
        .map_err(|e| Error::ConfigFile { path: path.to_path_buf(), what: e.to_string().trim_end().to_owned() })
}
