//! Families of image encoders: what their files call things, what they take for granted, and how they come to a vector of an image.
//!
//! A tensor has two names in Transformers 5: that of its module, which PEFT uses, and that in the file, which is older in some
//! families ([`VisionFamily::renamed`]).

mod clip;
mod deit;
mod dinov2;
mod siglip;
pub(super) mod swin;
mod vit;

use loract_autograd::ops::{Activation, Pool};

/// A family of image encoders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VisionType {
    /// ViT (arXiv 2010.11929).
    Vit,
    /// DeiT (arXiv 2012.12877): a ViT with a distillation token.
    Deit,
    /// DINOv2 (arXiv 2304.07193): a ViT with layer scale.
    Dinov2,
    /// The image encoder of CLIP (arXiv 2103.00020).
    Clip,
    /// The image encoder of SigLIP (arXiv 2303.15343).
    Siglip,
    /// Swin (arXiv 2103.14030): attention in shifted windows, in stages.
    Swin,
}

impl VisionType {
    /// All families.
    pub const ALL: [VisionType; 6] =
        [VisionType::Vit, VisionType::Deit, VisionType::Dinov2, VisionType::Clip, VisionType::Siglip, VisionType::Swin];

    /// The family of a `model_type`: its own, or that of a file with the encoder alone.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let fits = |family: &VisionFamily| family.name == name || family.alone == Some(name);
        Self::ALL.into_iter().find(|one| fits(one.family()))
    }

    /// Its `model_type`, as `vit`.
    pub fn name(self) -> &'static str {
        self.family().name
    }

    pub(crate) fn family(self) -> &'static VisionFamily {
        match self {
            VisionType::Vit => &vit::FAMILY,
            VisionType::Deit => &deit::FAMILY,
            VisionType::Dinov2 => &dinov2::FAMILY,
            VisionType::Clip => &clip::FAMILY,
            VisionType::Siglip => &siglip::FAMILY,
            VisionType::Swin => &swin::FAMILY,
        }
    }
}

/// What a family says of itself.
#[derive(Debug)]
pub(crate) struct VisionFamily {
    /// `model_type`.
    pub name: &'static str,
    /// `model_type` of a file that holds the encoder alone, if that is another.
    pub alone: Option<&'static str>,
    /// The key of `config.json` under which the encoder's values are, if they are not at its top.
    pub within: Option<&'static str>,
    /// The class of a classifier in Transformers.
    pub class: &'static str,
    /// What an absent key means.
    pub defaults: Defaults,
    /// What names of the encoder's modules begin with.
    pub base: &'static str,
    /// The names of modules, behind `base`.
    pub names: VisionNames,
    /// How the rows of an image become its vector.
    pub pool: Pool,
    /// Names of modules and what files have for them, in this order of replacing.
    pub renamed: &'static [(&'static str, &'static str)],
    /// Tensors of a classifier's file that take no part, and go where the model goes: beginnings of names, behind `base`.
    pub carried: &'static [&'static str],
    /// Tensors of files that a classifier does not have: beginnings of names, `base` included.
    pub left_out: &'static [&'static str],
}

/// What Transformers takes where `config.json` says nothing.
#[derive(Debug)]
pub(crate) struct Defaults {
    pub hidden_size: usize,
    pub layers: usize,
    pub heads: usize,
    pub image_size: usize,
    pub patch_size: usize,
    pub activation: Activation,
    pub eps: f64,
}

/// Names of modules and single tensors.
#[derive(Debug)]
pub(crate) struct VisionNames {
    pub projection: &'static str,
    /// Rows put before an image's patches.
    pub tokens: &'static [&'static str],
    /// The table of positions.
    pub positions: &'static str,
    /// Norm of the patches (Swin) or of all rows (CLIP) before the first layer.
    pub first_norm: Option<&'static str>,
    /// What names of layers begin with, before their number.
    pub layers: &'static str,
    pub norm_before: &'static str,
    pub norm_after: &'static str,
    pub qkv: [&'static str; 3],
    pub o: &'static str,
    pub last_norm: Option<&'static str>,
}

/// Names in a layer of most families.
const LAYERNORMS: [&str; 2] = ["layernorm_before", "layernorm_after"];
const ATTENTION: ([&str; 3], &str) = (["attention.q_proj", "attention.k_proj", "attention.v_proj"], "attention.o_proj");
const SELF_ATTENTION: ([&str; 3], &str) =
    (["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"], "self_attn.out_proj");
