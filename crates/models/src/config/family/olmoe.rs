//! OLMoE: experts in every layer; q and k normed over all their heads.

use serde_json::{Map, Value};

use super::{Family, HeadNorms, Over, When, llama, olmo};
use crate::config::json::Fields;
use crate::config::{ConfigError, DecoderConfig, ExpertWeights, Experts, Layers};

pub(super) const FAMILY: Family = Family {
    name: "olmoe",
    class: "OlmoeForCausalLM",
    context: 4096,
    eps: (Some("rms_norm_eps"), 1e-5),
    mlp_bias: (None, false),
    head_norm: HeadNorms { when: When::Always, over: Over::Row, ..llama::FAMILY.head_norm },
    read,
    write,
    ..llama::FAMILY
};

fn read(fields: &Fields<'_>, config: &mut DecoderConfig) -> Result<(), ConfigError> {
    olmo::read(fields, config)?;
    config.experts = Some(Experts {
        count: fields.either_size(["num_experts", "num_local_experts"])?.unwrap_or(64),
        chosen: fields.size("num_experts_per_tok")?.unwrap_or(8),
        width: config.intermediate_size,
        weights: ExpertWeights::asked(fields, "norm_topk_prob")?,
        layers: Layers::All,
    });
    Ok(())
}

fn write(config: &DecoderConfig, values: &mut Map<String, Value>) {
    olmo::write(config, values);
    if let Some(experts) = &config.experts {
        values.insert("num_experts".into(), experts.count.into());
        values.insert("num_experts_per_tok".into(), experts.chosen.into());
        values.insert("norm_topk_prob".into(), (experts.weights == ExpertWeights::SumToOne).into());
    }
}
