//! The image encoder of SigLIP, alone or in a file with that of texts: no class token; a classifier reads the mean of all rows, not
//! the head by attention that joins images with texts.

use loract_autograd::ops::{Activation, Pool};

use super::{Defaults, VisionFamily, VisionNames, clip};

pub(super) const FAMILY: VisionFamily = VisionFamily {
    name: "siglip",
    alone: Some("siglip_vision_model"),
    within: Some("vision_config"),
    class: "SiglipForImageClassification",
    defaults: Defaults {
        hidden_size: 768,
        layers: 12,
        heads: 12,
        image_size: 224,
        patch_size: 16,
        activation: Activation::GeluTanh,
        eps: 1e-6,
    },
    base: "vision_model",
    names: VisionNames { tokens: &[], first_norm: None, last_norm: Some("post_layernorm"), ..clip::NAMES },
    pool: Pool::Mean { skip: 0 },
    renamed: &[],
    carried: &["head."],
    left_out: clip::OF_TEXTS,
};
