//! The classes of Transformers' processors, and what each does where its file says nothing.

use super::Filter;

/// A class of processors; they differ in their defaults alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Vit,
    Deit,
    Clip,
    Siglip,
    Bit,
}

/// Of the models that Transformers calls "standard".
const STANDARD: [f64; 3] = [0.5; 3];
const CLIP_MEAN: [f64; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const CLIP_STD: [f64; 3] = [0.268_629_54, 0.261_302_58, 0.275_777_11];

/// What a class does where nothing is said; all of them resize, rescale by 1/255 and normalise.
#[derive(Debug, Clone, Copy)]
pub(super) struct Defaults {
    pub(super) filter: Filter,
    /// The size; of the shortest edge, if it says so.
    pub(super) size: usize,
    pub(super) shortest_edge: bool,
    /// Whether a size that is one number is a square's.
    pub(super) square: bool,
    pub(super) crop: Option<usize>,
    pub(super) convert: bool,
    pub(super) mean: [f64; 3],
    pub(super) std: [f64; 3],
}

impl Class {
    pub(super) const ALL: [Class; 5] = [Class::Vit, Class::Deit, Class::Clip, Class::Siglip, Class::Bit];

    pub(super) fn name(self) -> &'static str {
        match self {
            Class::Vit => "ViTImageProcessor",
            Class::Deit => "DeiTImageProcessor",
            Class::Clip => "CLIPImageProcessor",
            Class::Siglip => "SiglipImageProcessor",
            Class::Bit => "BitImageProcessor",
        }
    }

    pub(super) fn known() -> String {
        Self::ALL.map(Class::name).join(", ")
    }

    /// By its name, of any age: `ViTFeatureExtractor`, `ViTImageProcessorFast`, `ViTImageProcessorPil`.
    pub(super) fn named(name: &str) -> Option<Self> {
        let now = name.replace("FeatureExtractor", "ImageProcessor");
        let now = now.strip_suffix("Fast").or(now.strip_suffix("Pil")).unwrap_or(&now);
        Self::ALL.into_iter().find(|class| class.name() == now)
    }

    /// That of a model whose folder says nothing.
    pub(super) fn of_model(model_type: &str) -> Option<Self> {
        Some(match model_type {
            "vit" | "swin" => Class::Vit,
            "deit" => Class::Deit,
            "clip" | "clip_vision_model" => Class::Clip,
            "siglip" | "siglip_vision_model" => Class::Siglip,
            "dinov2" => Class::Bit,
            _ => return None,
        })
    }

    pub(super) fn defaults(self) -> Defaults {
        let vit = Defaults {
            filter: Filter::Bilinear,
            size: 224,
            shortest_edge: false,
            square: true,
            crop: None,
            convert: false,
            mean: STANDARD,
            std: STANDARD,
        };
        let clip = Defaults {
            filter: Filter::Bicubic,
            shortest_edge: true,
            square: false,
            crop: Some(224),
            convert: true,
            mean: CLIP_MEAN,
            std: CLIP_STD,
            ..vit
        };
        match self {
            Class::Vit => vit,
            Class::Deit => Defaults { filter: Filter::Bicubic, size: 256, crop: Some(224), ..vit },
            Class::Clip | Class::Bit => clip,
            Class::Siglip => Defaults { filter: Filter::Bicubic, square: false, convert: true, ..vit },
        }
    }
}
