//! DINOv2: a ViT whose attention and MLP are scaled feature by feature before they are added. A classifier reads the class token and
//! the mean of the patches.

use loract_autograd::ops::{Activation, Pool};

use super::{Defaults, VisionFamily, VisionNames, vit};

pub(super) const FAMILY: VisionFamily = VisionFamily {
    name: "dinov2",
    alone: None,
    within: None,
    class: "Dinov2ForImageClassification",
    defaults: Defaults {
        hidden_size: 768,
        layers: 12,
        heads: 12,
        image_size: 224,
        patch_size: 14,
        activation: Activation::Gelu,
        eps: 1e-6,
    },
    base: "dinov2",
    names: VisionNames { layers: "encoder.layer", norm_before: "norm1", norm_after: "norm2", ..vit::NAMES },
    pool: Pool::FirstAndMean { skip: 1 },
    renamed: &[
        ("attention.q_proj", "attention.attention.query"),
        ("attention.k_proj", "attention.attention.key"),
        ("attention.v_proj", "attention.attention.value"),
        ("attention.o_proj", "attention.output.dense"),
        ("mlp.down_proj", "mlp.weights_out"),
    ],
    carried: &["embeddings.mask_token"],
    left_out: &[],
};
