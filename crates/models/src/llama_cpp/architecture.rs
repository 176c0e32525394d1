//! Architectures of llama.cpp: how each stores what a checkpoint of Hugging Face has, and which of its keys say what a
//! `config.json` says.
//!
//! Source: `conversion/` of llama.cpp for what is stored, `src/models/` for what is made of it.

use super::keys::{Key, Kind};
use crate::config::{ConfigError, DecoderConfig, ModelType};
use crate::weights::gguf::{GgufError, Metadata};

/// How the rows of q and k are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QueryKeyRows {
    /// In the checkpoint's order.
    AsIs,
    /// Within each head the two rotary halves alternate.
    RotaryPairs,
}

/// What llama.cpp makes of `attention.sliding_window`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Windows {
    /// Nothing: every token sees all before it.
    Ignored,
    /// Layers have it but for every so manyth, unless `attention.sliding_window_pattern` lists them.
    AllBut(usize),
}

/// An architecture.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Architecture {
    /// `general.architecture`, with which its keys begin.
    pub(super) name: &'static str,
    /// The family of its models.
    pub(super) model_type: ModelType,
    pub(super) query_key: QueryKeyRows,
    pub(super) windows: Windows,
    /// Its keys beside those that all have.
    pub(super) keys: &'static [Key],
}

const fn plain(name: &'static str, model_type: ModelType) -> Architecture {
    Architecture { name, model_type, query_key: QueryKeyRows::AsIs, windows: Windows::Ignored, keys: &[] }
}

const fn float(gguf: &'static str, json: &'static str) -> Key {
    Key { gguf, json, kind: Kind::Float }
}

const fn size(gguf: &'static str, json: &'static str) -> Key {
    Key { gguf, json, kind: Kind::Size }
}

const LOGIT_CAP: Key = float("final_logit_softcapping", "final_logit_softcapping");
const LOGIT_SCALE: Key = float("logit_scale", "logit_scale");
const EXPERTS: &[Key] = &[
    size("expert_count", "num_experts"),
    size("expert_used_count", "num_experts_per_tok"),
    size("expert_feed_forward_length", "moe_intermediate_size"),
];

/// What files are read and written of. Of two with a name, the second has experts.
pub(super) static ALL: &[Architecture] = &[
    Architecture { query_key: QueryKeyRows::RotaryPairs, ..plain("llama", ModelType::Llama) },
    Architecture {
        query_key: QueryKeyRows::RotaryPairs,
        keys: &[size("expert_count", "num_local_experts"), size("expert_used_count", "num_experts_per_tok")],
        ..plain("llama", ModelType::Mixtral)
    },
    plain("qwen2", ModelType::Qwen2),
    plain("qwen3", ModelType::Qwen3),
    Architecture { keys: EXPERTS, ..plain("qwen3moe", ModelType::Qwen3Moe) },
    plain("gemma", ModelType::Gemma),
    Architecture {
        windows: Windows::AllBut(2),
        keys: &[float("attn_logit_softcapping", "attn_logit_softcapping"), LOGIT_CAP],
        ..plain("gemma2", ModelType::Gemma2)
    },
    Architecture {
        windows: Windows::AllBut(6),
        keys: &[float("rope.freq_base_swa", "rope_local_base_freq"), LOGIT_CAP],
        ..plain("gemma3", ModelType::Gemma3)
    },
    plain("phi2", ModelType::Phi),
    plain("phi3", ModelType::Phi3),
    Architecture {
        query_key: QueryKeyRows::RotaryPairs,
        keys: &[float("attention.clamp_kqv", "clip_qkv")],
        ..plain("olmo", ModelType::Olmo)
    },
    plain("olmo2", ModelType::Olmo2),
    Architecture { keys: EXPERTS, ..plain("olmoe", ModelType::Olmoe) },
    Architecture {
        query_key: QueryKeyRows::RotaryPairs,
        keys: &[
            float("embedding_scale", "embedding_multiplier"),
            float("residual_scale", "residual_multiplier"),
            float("attention.scale", "attention_multiplier"),
            float("logit_scale", "logits_scaling"),
        ],
        ..plain("granite", ModelType::Granite)
    },
    Architecture { keys: &[LOGIT_SCALE], ..plain("command-r", ModelType::Cohere) },
    Architecture { windows: Windows::AllBut(4), keys: &[LOGIT_SCALE], ..plain("cohere2", ModelType::Cohere2) },
    plain("glm4", ModelType::Glm4),
    Architecture { query_key: QueryKeyRows::RotaryPairs, ..plain("smollm3", ModelType::SmolLm3) },
    plain("stablelm", ModelType::StableLm),
    plain("starcoder2", ModelType::Starcoder2),
];

impl Architecture {
    /// That of a file with such metadata.
    pub(super) fn of(metadata: &Metadata) -> Result<Result<&'static Self, ConfigError>, GgufError> {
        let key = "general.architecture";
        let name = metadata.text(key)?.ok_or_else(|| GgufError::MissingKey { key: key.to_owned() })?;
        let has_experts = metadata.unsigned(&format!("{name}.expert_count"))?.unwrap_or(0) > 0;
        let fits = |one: &&Self| one.name == name && (one.model_type != ModelType::Mixtral || has_experts);
        // The last one: that with experts, if there are some.
        Ok(ALL.iter().rfind(fits).ok_or_else(|| {
            let mut names: Vec<_> = ALL.iter().map(|one| one.name).collect();
            names.dedup();
            ConfigError::Architecture { found: name.to_owned(), known: names.join(", ") }
        }))
    }

    /// That of such a model.
    ///
    /// # Errors
    /// [`ConfigError::NotAsGguf`] if there is none.
    pub(super) fn of_model(config: &DecoderConfig) -> Result<&'static Self, ConfigError> {
        let family = match config.model_type {
            ModelType::Mistral => ModelType::Llama,
            other => other,
        };
        ALL.iter().find(|one| one.model_type == family).ok_or_else(|| {
            let names: Vec<_> = ALL.iter().map(|one| one.model_type.family().name).collect();
            ConfigError::NotAsGguf { found: config.model_type, known: names.join(", ") + ", mistral" }
        })
    }
}
