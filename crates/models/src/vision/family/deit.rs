//! DeiT: a ViT with a second token, from which its teacher was learned. A classifier reads the first.

use loract_autograd::ops::Pool;

use super::{VisionFamily, VisionNames, vit};

pub(super) const FAMILY: VisionFamily = VisionFamily {
    name: "deit",
    alone: None,
    within: None,
    class: "DeiTForImageClassification",
    defaults: vit::DEFAULTS,
    base: "deit",
    names: VisionNames { tokens: &["embeddings.cls_token", "embeddings.distillation_token"], ..vit::NAMES },
    pool: Pool::First,
    renamed: vit::RENAMED,
    carried: &[],
    // The two heads that learn from a teacher, too.
    left_out: &[
        "deit.pooler.",
        "deit.embeddings.mask_token",
        "decoder.",
        "cls_classifier.",
        "distillation_classifier.",
    ],
};
