//! llama.cpp's tensor names of architecture `llama`, as Hugging Face names.

/// Divisors of the inverse rotary frequencies; not a weight.
pub(super) const ROPE_FACTORS: &str = "rope_freqs.weight";
/// Metadata key of the number of query heads.
pub(super) const HEADS: &str = "llama.attention.head_count";
/// Metadata key of the number of key and value heads.
pub(super) const KV_HEADS: &str = "llama.attention.head_count_kv";

/// The Hugging Face name; `None` if the name is not one of the architecture's.
pub(super) fn hugging_face(name: &str) -> Option<String> {
    let (stem, kind) = name.rsplit_once('.').filter(|(_, kind)| matches!(*kind, "weight" | "bias"))?;
    let whole = match stem {
        "token_embd" => "model.embed_tokens",
        "output_norm" => "model.norm",
        "output" => "lm_head",
        _ => {
            let (layer, part) = layer_part(stem)?;
            let part = match part {
                "attn_q" => "self_attn.q_proj",
                "attn_k" => "self_attn.k_proj",
                "attn_v" => "self_attn.v_proj",
                "attn_output" => "self_attn.o_proj",
                "ffn_gate" => "mlp.gate_proj",
                "ffn_up" => "mlp.up_proj",
                "ffn_down" => "mlp.down_proj",
                "attn_norm" => "input_layernorm",
                "ffn_norm" => "post_attention_layernorm",
                // Old converters kept the inverse frequencies, which Hugging Face's old checkpoints have too.
                "attn_rot_embd" => return Some(format!("model.layers.{layer}.self_attn.rotary_emb.inv_freq")),
                _ => return None,
            };
            return Some(format!("model.layers.{layer}.{part}.{kind}"));
        }
    };
    Some(format!("{whole}.{kind}"))
}

/// Which key holds the number of heads by which the rows of this tensor are reordered; `None` if they are not.
pub(super) fn heads_key(name: &str) -> Option<&'static str> {
    let (_, part) = layer_part(name.rsplit_once('.')?.0)?;
    match part {
        "attn_q" => Some(HEADS),
        "attn_k" => Some(KV_HEADS),
        _ => None,
    }
}

/// "blk.3.attn_q" is 3 and "attn_q".
fn layer_part(stem: &str) -> Option<(usize, &str)> {
    let (layer, part) = stem.strip_prefix("blk.")?.split_once('.')?;
    Some((layer.parse().ok()?, part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_architecture() {
        let name = |gguf| hugging_face(gguf).unwrap_or_default();
        assert_eq!(name("blk.12.attn_output.bias"), "model.layers.12.self_attn.o_proj.bias");
        assert_eq!(name("output.weight"), "lm_head.weight");
        assert_eq!(name("blk.0.ffn_gate_exps.weight"), "");
        assert_eq!(name("blk.x.attn_q.weight"), "");
        assert_eq!(heads_key("blk.7.attn_k.bias"), Some(KV_HEADS));
        assert_eq!(heads_key("blk.7.attn_v.weight"), None);
    }
}
