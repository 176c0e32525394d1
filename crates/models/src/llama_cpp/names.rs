//! llama.cpp's tensor names, made of what the family calls its parts.
//!
//! | llama.cpp | part |
//! |---|---|
//! | `token_embd`, `output_norm`, `output` | embedding, last norm, head |
//! | `attn_norm`, `post_attention_norm` | norms before and after attention |
//! | `ffn_norm`, `post_ffw_norm` | norms before and after the MLP |
//! | `attn_q`, `attn_k`, `attn_v`, or `attn_qkv` | queries, keys, values |
//! | `attn_output`, `attn_q_norm`, `attn_k_norm` | the projection of attention's output, norms of heads |
//! | `ffn_gate`, `ffn_up`, `ffn_down` | the MLP; gate and up in one are `ffn_up` |
//! | `ffn_gate_inp`, `ffn_gate_exps`, `ffn_up_exps`, `ffn_down_exps` | router, and the matrices of all experts one after the other |

use super::architecture::{Architecture, QueryKeyRows};
use crate::config::family::{Family, MlpNames, NormWeights, Norms, QkvNames};

/// What a tensor of a file is in the checkpoint.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The tensor of this name.
    One(String),
    /// These, one after the other: q, k and v, of which the checkpoint has a matrix each.
    QueryKeyValue([String; 3]),
    /// That of every expert: what comes before its number, and after.
    Experts(String, String),
}

/// Names of parts: llama.cpp's, Hugging Face's.
type Names = Vec<(&'static str, &'static str)>;

impl Family {
    /// Tensors that a model has once.
    fn whole(&self) -> [(&'static str, &'static str); 3] {
        [("token_embd", "model.embed_tokens"), ("output_norm", self.final_norm), ("output", "lm_head")]
    }

    /// Parts of a layer, but for experts.
    fn parts(&self) -> Names {
        let Norms { before_attention, after_attention, before_mlp, after_mlp } = self.norms;
        let norms = [
            ("attn_norm", before_attention),
            ("post_attention_norm", after_attention),
            ("ffn_norm", before_mlp),
            ("post_ffw_norm", after_mlp),
        ];
        let mut parts: Names = norms.into_iter().filter_map(|(gguf, norm)| Some((gguf, norm?))).collect();
        let [q_norm, k_norm] = self.head_norm.names;
        parts.extend([("attn_output", self.attention.o), ("attn_q_norm", q_norm), ("attn_k_norm", k_norm)]);
        match self.attention.qkv {
            QkvNames::Apart([q, k, v]) => parts.extend([("attn_q", q), ("attn_k", k), ("attn_v", v)]),
            QkvNames::Fused(qkv) => parts.push(("attn_qkv", qkv)),
        }
        match self.mlp {
            MlpNames::Gated { gate, up, down } => {
                parts.extend([("ffn_gate", gate), ("ffn_up", up), ("ffn_down", down)])
            }
            MlpNames::Fused { gate_up, down } => parts.extend([("ffn_up", gate_up), ("ffn_down", down)]),
            MlpNames::Plain { up, down } => parts.extend([("ffn_up", up), ("ffn_down", down)]),
        }
        parts.push(("ffn_gate_inp", self.experts.router));
        parts
    }

    /// llama.cpp's names of the matrices of all experts, with the last part of Hugging Face's.
    fn expert_parts(&self) -> [(&'static str, &'static str); 3] {
        let [gate, up, down] = self.experts.parts;
        [("ffn_gate_exps", gate), ("ffn_up_exps", up), ("ffn_down_exps", down)]
    }
}

/// "model.layers.3.mlp.up_proj.weight" is "model.layers.3.mlp.up_proj" and "weight".
fn module_and_kind(name: &str) -> Option<(&str, &str)> {
    name.rsplit_once('.').filter(|(_, kind)| matches!(*kind, "weight" | "bias"))
}

impl Architecture {
    /// llama.cpp's name of a tensor that Hugging Face calls `name`, and the number of the expert if it is one of a matrix of
    /// all; `None` if the architecture has no such tensor.
    pub(super) fn llama_cpp(&self, name: &str) -> Option<(String, Option<usize>)> {
        let family = self.model_type.family();
        let (module, kind) = module_and_kind(name)?;
        if let Some((gguf, _)) = family.whole().into_iter().find(|(_, whole)| *whole == module) {
            return Some((format!("{gguf}.{kind}"), None));
        }
        let (layer, part) = module.strip_prefix("model.layers.")?.split_once('.')?;
        let layer = layer.parse::<usize>().ok()?;
        if let Some((gguf, _)) = family.parts().into_iter().find(|(_, of_layer)| *of_layer == part) {
            return Some((format!("blk.{layer}.{gguf}.{kind}"), None));
        }
        let (expert, part) = part.strip_prefix(family.experts.experts)?.strip_prefix('.')?.split_once('.')?;
        let (gguf, _) = family.expert_parts().into_iter().find(|(_, of_expert)| *of_expert == part)?;
        Some((format!("blk.{layer}.{gguf}.{kind}"), Some(expert.parse().ok()?)))
    }

    /// What the tensor that llama.cpp calls `name` is; `None` if the name is not one of the architecture's.
    pub(super) fn hugging_face(&self, name: &str) -> Option<Place> {
        let family = self.model_type.family();
        let (stem, kind) = module_and_kind(name)?;
        if let Some((_, whole)) = family.whole().into_iter().find(|(gguf, _)| *gguf == stem) {
            return Some(Place::One(format!("{whole}.{kind}")));
        }
        let (layer, part) = layer_part(stem)?;
        let named = |part: &str| format!("model.layers.{layer}.{part}.{kind}");
        // Old converters kept the inverse frequencies, which Hugging Face's old checkpoints have too.
        if part == "attn_rot_embd" {
            return Some(Place::One(format!("model.layers.{layer}.self_attn.rotary_emb.inv_freq")));
        }
        if let Some((_, part)) = family.parts().into_iter().find(|(gguf, _)| *gguf == part) {
            return Some(Place::One(named(part)));
        }
        if let Some((_, of_expert)) = family.expert_parts().into_iter().find(|(gguf, _)| *gguf == part) {
            let before = format!("model.layers.{layer}.{}.", family.experts.experts);
            return Some(Place::Experts(before, format!(".{of_expert}.{kind}")));
        }
        match family.attention.qkv {
            QkvNames::Apart(qkv) if part == "attn_qkv" => Some(Place::QueryKeyValue(qkv.map(named))),
            _ => None,
        }
    }

    /// By whose heads the rows of this tensor (llama.cpp's name) are reordered, if they are.
    pub(super) fn reordered(&self, name: &str) -> Option<Heads> {
        let (_, part) = layer_part(name.rsplit_once('.')?.0)?;
        let of = match part {
            "attn_q" => Heads::Queries,
            "attn_k" => Heads::Keys,
            _ => return None,
        };
        self.rows_of(of)
    }

    /// Itself, if rows of these heads are reordered.
    pub(super) fn rows_of(&self, heads: Heads) -> Option<Heads> {
        (self.query_key == QueryKeyRows::RotaryPairs).then_some(heads)
    }

    /// What is added to the numbers of a tensor (Hugging Face's name) when it is stored: 1 to weights of norms that the
    /// checkpoint keeps less one.
    pub(super) fn plus(&self, name: &str) -> f32 {
        let less_one = self.model_type.family().norm_weights == NormWeights::LessOne;
        if less_one && name.ends_with("norm.weight") { 1.0 } else { 0.0 }
    }
}

/// Whose heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heads {
    Queries,
    Keys,
}

/// "blk.3.attn_q" is 3 and "attn_q".
fn layer_part(stem: &str) -> Option<(usize, &str)> {
    let (layer, part) = stem.strip_prefix("blk.")?.split_once('.')?;
    Some((layer.parse().ok()?, part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfigError;
    use crate::llama_cpp::architecture::ALL;

    fn named(name: &str) -> Result<&'static Architecture, ConfigError> {
        let found = ALL.iter().find(|one| one.name == name);
        found.ok_or_else(|| ConfigError::Architecture { found: name.to_owned(), known: String::new() })
    }

    #[test]
    fn names_of_llama() -> Result<(), ConfigError> {
        let llama = named("llama")?;
        let one = |gguf| match llama.hugging_face(gguf) {
            Some(Place::One(name)) => name,
            _ => String::new(),
        };
        assert_eq!(one("blk.12.attn_output.bias"), "model.layers.12.self_attn.o_proj.bias");
        assert_eq!(one("output.weight"), "lm_head.weight");
        assert_eq!(one("blk.3.attn_rot_embd.weight"), "model.layers.3.self_attn.rotary_emb.inv_freq");
        assert_eq!(one("blk.x.attn_q.weight"), "");
        let stored = |name| llama.llama_cpp(name).map(|(name, _)| name).unwrap_or_default();
        assert_eq!(stored("model.layers.12.self_attn.o_proj.bias"), "blk.12.attn_output.bias");
        assert_eq!(stored("model.norm.weight"), "output_norm.weight");
        assert_eq!(stored("model.layers.0.self_attn.rotary_emb.inv_freq"), "");
        assert_eq!(llama.reordered("blk.7.attn_k.bias"), Some(Heads::Keys));
        assert_eq!(llama.reordered("blk.7.attn_v.weight"), None);
        assert_eq!(named("qwen2")?.reordered("blk.7.attn_k.bias"), None);
        Ok(())
    }

    #[test]
    fn names_of_others() -> Result<(), ConfigError> {
        for (architecture, gguf, name) in [
            ("gemma2", "post_attention_norm", "post_attention_layernorm"),
            ("gemma2", "ffn_norm", "pre_feedforward_layernorm"),
            ("glm4", "post_attention_norm", "post_self_attn_layernorm"),
            ("phi3", "attn_qkv", "self_attn.qkv_proj"),
            ("phi3", "ffn_up", "mlp.gate_up_proj"),
            ("starcoder2", "ffn_up", "mlp.c_fc"),
            ("qwen3moe", "ffn_gate_inp", "mlp.gate"),
        ] {
            let (this, name) = (named(architecture)?, format!("model.layers.3.{name}.weight"));
            let stored = format!("blk.3.{gguf}.weight");
            assert_eq!(this.hugging_face(&stored), Some(Place::One(name.clone())), "{architecture}");
            assert_eq!(this.llama_cpp(&name), Some((stored, None)), "{architecture}");
        }
        let moe = named("qwen3moe")?;
        let experts = Place::Experts("model.layers.3.mlp.experts.".to_owned(), ".up_proj.weight".to_owned());
        assert_eq!(moe.hugging_face("blk.3.ffn_up_exps.weight"), Some(experts));
        let stored = Some(("blk.3.ffn_up_exps.weight".to_owned(), Some(7)));
        assert_eq!(moe.llama_cpp("model.layers.3.mlp.experts.7.up_proj.weight"), stored);
        assert_eq!(moe.llama_cpp("model.layers.3.mlp.experts.x.up_proj.weight"), None);
        assert_eq!((named("gemma2")?.plus("model.norm.weight"), named("qwen3")?.plus("model.norm.weight")), (1.0, 0.0));
        assert_eq!(named("gemma2")?.plus("model.layers.0.mlp.up_proj.weight"), 0.0);
        Ok(())
    }
}
