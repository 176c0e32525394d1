//! Golden files made by PyTorch, Transformers and PEFT (`golden/make_golden.py`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Every decoder of `make_golden.py` and `families.py`.
pub const DECODERS: [&str; 29] = [
    "llama-tied",
    "llama-untied",
    "llama-linear",
    "llama-yarn",
    "llama3-rope",
    "mistral-window",
    "qwen2",
    "qwen3",
    "gemma",
    "gemma2",
    "gemma3",
    "phi",
    "phi3",
    "phi3-longrope",
    "olmo",
    "olmo2",
    "granite",
    "cohere",
    "cohere2",
    "glm",
    "glm4",
    "helium",
    "smollm3",
    "stablelm",
    "stablelm-sequential",
    "starcoder2",
    "mixtral",
    "qwen3-moe",
    "olmoe",
];

/// Those of them of which ten steps are known.
pub const STEPPED: [&str; 10] = [
    "llama-tied",
    "llama-untied",
    "llama3-rope",
    "mistral-window",
    "qwen2",
    "qwen3",
    "gemma2",
    "phi",
    "olmo2",
    "cohere",
];

/// The folder of a golden case.
pub fn folder(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(case)
}

/// Every tensor of a safetensors file as f32 numbers with its shape.
///
/// # Panics
/// If the file is missing or not f32: golden files are part of the tree.
pub fn tensors(path: &Path) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    file.tensors()
        .into_iter()
        .map(|(name, view)| {
            assert_eq!(view.dtype(), safetensors::Dtype::F32, "{name} in {}", path.display());
            let numbers = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
            (name, (view.shape().to_vec(), numbers))
        })
        .collect()
}

/// A JSON file.
///
/// # Panics
/// If it is missing or broken.
pub fn json(path: &Path) -> serde_json::Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// ‖got − want‖ / ‖want‖ over all elements, in f64.
pub fn relative_error(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    let square = |x: f64| x * x;
    let diff: f64 = got.iter().zip(want).map(|(&g, &w)| square(f64::from(g) - f64::from(w))).sum();
    let norm: f64 = want.iter().map(|&w| square(f64::from(w))).sum();
    if norm == 0.0 { diff.sqrt() } else { (diff / norm).sqrt() }
}
