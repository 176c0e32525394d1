//! Swin: stages of layers with attention in windows, which shift in every second layer; between stages four patches become one.

use loract_autograd::ops::{Activation, Pool};

use super::{ATTENTION, Defaults, LAYERNORMS, VisionFamily, VisionNames};

/// What names of stages begin with, before their number; layers and merging come behind.
pub(in crate::vision) const STAGES: &str = "encoder.layers";
pub(in crate::vision) const BLOCKS: &str = "blocks";
pub(in crate::vision) const MERGING: [&str; 2] = ["downsample.norm", "downsample.reduction"];
pub(in crate::vision) const TABLE: &str = "attention.relative_position_bias.relative_position_bias_table";

pub(super) const FAMILY: VisionFamily = VisionFamily {
    name: "swin",
    alone: None,
    within: None,
    class: "SwinForImageClassification",
    defaults: Defaults {
        hidden_size: 96,
        layers: 4,
        heads: 3,
        image_size: 224,
        patch_size: 4,
        activation: Activation::Gelu,
        eps: 1e-5,
    },
    base: "swin",
    names: VisionNames {
        projection: "embeddings.patch_embeddings.projection",
        tokens: &[],
        positions: "embeddings.position_embeddings",
        first_norm: Some("embeddings.norm"),
        layers: STAGES,
        norm_before: LAYERNORMS[0],
        norm_after: LAYERNORMS[1],
        qkv: ATTENTION.0,
        o: ATTENTION.1,
        last_norm: Some("layernorm"),
    },
    pool: Pool::Mean { skip: 0 },
    renamed: &[
        ("attention.q_proj", "attention.self.query"),
        ("attention.k_proj", "attention.self.key"),
        ("attention.v_proj", "attention.self.value"),
        (TABLE, "attention.self.relative_position_bias_table"),
        ("attention.o_proj", "attention.output.dense"),
        ("mlp.fc1", "intermediate.dense"),
        ("mlp.fc2", "output.dense"),
    ],
    carried: &[],
    left_out: &["swin.embeddings.mask_token", "decoder."],
};
