//! Mixtral: Mistral with experts in every layer.

use serde_json::{Map, Value};

use super::{ExpertNames, Family, WindowKeys, mistral};
use crate::config::json::Fields;
use crate::config::{ConfigError, DecoderConfig, ExpertWeights, Experts, Layers};

pub(super) const FAMILY: Family = Family {
    name: "mixtral",
    class: "MixtralForCausalLM",
    eps: (Some("rms_norm_eps"), 1e-5),
    theta: 1_000_000.0,
    window: WindowKeys::Every { tokens: None },
    experts: ExpertNames {
        router: "block_sparse_moe.gate",
        experts: "block_sparse_moe.experts",
        parts: ["w1", "w3", "w2"],
    },
    read,
    write,
    ..mistral::FAMILY
};

fn read(fields: &Fields<'_>, config: &mut DecoderConfig) -> Result<(), ConfigError> {
    config.experts = Some(Experts {
        count: fields.size("num_local_experts")?.unwrap_or(8),
        chosen: fields.size("num_experts_per_tok")?.unwrap_or(2),
        width: config.intermediate_size,
        weights: ExpertWeights::SumToOne,
        layers: Layers::All,
    });
    Ok(())
}

fn write(config: &DecoderConfig, values: &mut Map<String, Value>) {
    if let Some(experts) = &config.experts {
        values.insert("num_local_experts".into(), experts.count.into());
        values.insert("num_experts_per_tok".into(), experts.chosen.into());
    }
}
