//! Golden files made by PyTorch, Transformers and PEFT (`golden/make_golden.py`, of images `golden/make_vision.py`).

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

/// Encoders of images of `make_vision.py`; the folder of one is `folder("vision/NAME")`.
pub const VISION: [&str; 20] = [
    "vit",
    "vit-nobias",
    "vit-grey",
    "vit-base-only",
    "vit-resized",
    "deit",
    "deit-teacher",
    "dinov2",
    "dinov2-swiglu",
    "dinov2-resized",
    "clip",
    "clip-full",
    "clip-vision",
    "siglip",
    "siglip-full",
    "siglip-resized",
    "swin",
    "swin-pad",
    "swin-abs",
    "swin-resized",
];

/// Encoders whose checkpoints hold tables of integers (I64) beside their weights, as the published CLIP and Swin do; of the first
/// there is no classifier.
pub const VISION_OLDER: [&str; 2] = ["clip-older", "swin-older"];

/// Those of [`VISION`] whose checkpoint has no classifier: there is one in the adapter only, and there are no `base_logits`.
pub const VISION_WITHOUT_CLASSIFIER: [&str; 5] =
    ["vit-base-only", "deit-teacher", "clip-full", "clip-vision", "siglip-full"];

/// Those of [`VISION`] whose gradients of all base parameters are known (`fullgrad.safetensors`).
pub const VISION_FULL: [&str; 3] = ["vit", "dinov2", "swin"];

/// Those of [`VISION`] of which ten steps are known.
pub const VISION_STEPPED: [&str; 2] = ["vit", "swin"];

/// Those of [`VISION`] that PEFT merged into a model with the logits of the adapter.
pub const VISION_MERGED: [&str; 4] = ["vit", "dinov2", "clip", "swin"];

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

/// Images of a case of [`VISION`].
#[derive(Clone, Debug)]
pub struct Images {
    /// images × channels × height × width
    pub shape: Vec<usize>,
    /// Normalised, row by row.
    pub pixels: Vec<f32>,
    /// The class of every image.
    pub labels: Vec<i64>,
}

/// What is in an `input.safetensors`.
///
/// # Panics
/// If the file is missing or not as `make_vision.py` writes it.
pub fn images(path: &Path) -> Images {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let of = |name| file.tensor(name).unwrap_or_else(|e| panic!("{name} in {}: {e}", path.display()));
    let (values, labels) = (of("pixel_values"), of("labels"));
    assert_eq!(values.dtype(), safetensors::Dtype::F32, "pixel_values in {}", path.display());
    assert_eq!(labels.dtype(), safetensors::Dtype::I64, "labels in {}", path.display());
    let float = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    let integer = |b: &[u8]| i64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]);
    Images {
        shape: values.shape().to_vec(),
        pixels: values.data().chunks_exact(4).map(float).collect(),
        labels: labels.data().chunks_exact(8).map(integer).collect(),
    }
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
