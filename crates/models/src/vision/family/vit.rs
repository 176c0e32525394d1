//! ViT.

use loract_autograd::ops::{Activation, Pool};

use super::{ATTENTION, Defaults, LAYERNORMS, VisionFamily, VisionNames};

/// Modules of Transformers 5 and what files call them.
pub(super) const RENAMED: &[(&str, &str)] = &[
    ("layers.", "encoder.layer."),
    ("attention.q_proj", "attention.attention.query"),
    ("attention.k_proj", "attention.attention.key"),
    ("attention.v_proj", "attention.attention.value"),
    ("attention.o_proj", "attention.output.dense"),
    ("mlp.fc1", "intermediate.dense"),
    ("mlp.fc2", "output.dense"),
];

pub(super) const DEFAULTS: Defaults = Defaults {
    hidden_size: 768,
    layers: 12,
    heads: 12,
    image_size: 224,
    patch_size: 16,
    activation: Activation::Gelu,
    eps: 1e-12,
};

pub(super) const NAMES: VisionNames = VisionNames {
    projection: "embeddings.patch_embeddings.projection",
    tokens: &["embeddings.cls_token"],
    positions: "embeddings.position_embeddings",
    first_norm: None,
    layers: "layers",
    norm_before: LAYERNORMS[0],
    norm_after: LAYERNORMS[1],
    qkv: ATTENTION.0,
    o: ATTENTION.1,
    last_norm: Some("layernorm"),
};

pub(super) const FAMILY: VisionFamily = VisionFamily {
    name: "vit",
    alone: None,
    within: None,
    class: "ViTForImageClassification",
    defaults: DEFAULTS,
    base: "vit",
    names: NAMES,
    pool: Pool::First,
    renamed: RENAMED,
    carried: &[],
    left_out: &["vit.pooler.", "vit.embeddings.mask_token", "decoder."],
};
