//! What a family is, where its `config.json` says nothing: the defaults of its configuration class in Transformers, and what its
//! modelling code always does. A family is a file here, which says how it differs from Llama (or another), and a line in the list
//! below.

mod others;
mod shape;

use std::fmt;

pub(crate) use shape::{
    AttentionBiasKey, AttentionNames, ExpertNames, Family, HeadNorms, MlpNames, NormWeights, Norms, Over, QkvNames,
    When, WindowKeys,
};
use shape::{nothing_more, nothing_written};

macro_rules! families {
    ($($(#[$doc:meta])* $variant:ident = $file:ident,)*) => {
        $(mod $file;)*

        /// A family of decoders.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum ModelType {
            $($(#[$doc])* $variant,)*
        }

        impl ModelType {
            /// All of them.
            pub const ALL: &[ModelType] = &[$(ModelType::$variant),*];

            /// What the family takes for granted.
            pub(crate) fn family(self) -> &'static Family {
                match self {
                    $(ModelType::$variant => &$file::FAMILY,)*
                }
            }
        }
    };
}

families! {
    /// Llama 1 to 3.3, and what calls itself so (SmolLM2, many others).
    Llama = llama,
    /// Mistral.
    Mistral = mistral,
    /// Mixtral: Mistral with experts.
    Mixtral = mixtral,
    /// Qwen2 and Qwen2.5.
    Qwen2 = qwen2,
    /// Qwen3.
    Qwen3 = qwen3,
    /// Qwen3 with experts.
    Qwen3Moe = qwen3_moe,
    /// Gemma.
    Gemma = gemma,
    /// Gemma 2.
    Gemma2 = gemma2,
    /// Gemma 3, its text model.
    Gemma3 = gemma3,
    /// Phi-1, Phi-1.5 and Phi-2.
    Phi = phi,
    /// Phi-3, Phi-3.5 and Phi-4.
    Phi3 = phi3,
    /// OLMo.
    Olmo = olmo,
    /// OLMo 2.
    Olmo2 = olmo2,
    /// OLMo with experts.
    Olmoe = olmoe,
    /// Granite.
    Granite = granite,
    /// Command R and Aya.
    Cohere = cohere,
    /// Command R7B and Command A.
    Cohere2 = cohere2,
    /// GLM-4 of 2024 (`glm`).
    Glm = glm,
    /// GLM-4 of 2025 (`glm4`).
    Glm4 = glm4,
    /// Helium.
    Helium = helium,
    /// SmolLM3.
    SmolLm3 = smollm3,
    /// StableLM.
    StableLm = stablelm,
    /// StarCoder2.
    Starcoder2 = starcoder2,
}

impl ModelType {
    /// The one with this `model_type`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|one| one.family().name == name)
    }
}

impl fmt::Display for ModelType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.family().name)
    }
}

/// Which projections of attention have a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AttentionBias {
    /// None of them.
    #[default]
    None,
    /// q, k and v.
    Qkv,
    /// q, k, v and o.
    All,
}

/// Whether heads of q and k are normed before rope; over what, the family knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HeadNorm {
    /// They are not.
    #[default]
    None,
    /// They are.
    QueryKey,
}

/// For messages: what is known of a `model_type` that is not supported, and the names of those that are.
pub(super) fn instead_of(name: &str) -> String {
    let names: Vec<_> = ModelType::ALL.iter().map(|one| one.family().name).collect();
    format!("{}; supported: {}", others::about(name), names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found() {
        for one in ModelType::ALL {
            assert_eq!(ModelType::named(one.family().name), Some(*one));
        }
        assert_eq!(ModelType::named("Llama"), None);
    }
}
