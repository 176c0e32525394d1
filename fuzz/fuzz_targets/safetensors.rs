//! A `config.json`, a zero byte and a `model.safetensors`: each tensor is widened; the model is loaded and run.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use loract_fuzz::model::{run, widen_all};
use loract_models::ModelSource;
use loract_models::weights::safetensors;

fuzz_target!(|input: &[u8]| {
    loract_fuzz::one_thread();
    let end = input.iter().position(|&byte| byte == 0).unwrap_or(0);
    let (config, file) = (&input[..end], input.get(end + 1..).unwrap_or_default());
    if let Ok(weights) = safetensors::from_bytes(Path::new("model.safetensors"), file.to_vec()) {
        widen_all(weights);
    }
    let config = String::from_utf8_lossy(config);
    if let Ok(source) = ModelSource::from_safetensors_bytes("model.safetensors", &config, file.to_vec()) {
        run(source);
    }
});
