//! The image encoder of CLIP, alone or in a file with that of texts. A classifier reads the mean of the patches, which no norm
//! follows.

use loract_autograd::ops::{Activation, Pool};

use super::{Defaults, SELF_ATTENTION, VisionFamily, VisionNames};

pub(super) const NAMES: VisionNames = VisionNames {
    projection: "embeddings.patch_embedding",
    tokens: &["embeddings.class_embedding"],
    positions: "embeddings.position_embedding.weight",
    // As it is written in every file.
    first_norm: Some("pre_layrnorm"),
    layers: "encoder.layers",
    norm_before: "layer_norm1",
    norm_after: "layer_norm2",
    qkv: SELF_ATTENTION.0,
    o: SELF_ATTENTION.1,
    last_norm: None,
};

/// Beginnings of names of what belongs to texts, and of what joins them with images.
pub(super) const OF_TEXTS: &[&str] =
    &["text_model.", "visual_projection.", "text_projection.", "logit_scale", "logit_bias"];

pub(super) const FAMILY: VisionFamily = VisionFamily {
    name: "clip",
    alone: Some("clip_vision_model"),
    within: Some("vision_config"),
    class: "CLIPForImageClassification",
    defaults: Defaults {
        hidden_size: 768,
        layers: 12,
        heads: 12,
        image_size: 224,
        patch_size: 32,
        activation: Activation::QuickGelu,
        eps: 1e-5,
    },
    base: "vision_model",
    names: NAMES,
    pool: Pool::Mean { skip: 1 },
    renamed: &[],
    carried: &["post_layernorm."],
    left_out: OF_TEXTS,
};
