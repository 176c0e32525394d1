//! llama.cpp's tensor names of architecture `llama`, as Hugging Face names.

/// Divisors of the inverse rotary frequencies; not a weight.
pub(crate) const ROPE_FACTORS: &str = "rope_freqs.weight";
/// Metadata key of the number of query heads.
pub(crate) const HEADS: &str = "llama.attention.head_count";
/// Metadata key of the number of key and value heads.
pub(crate) const KV_HEADS: &str = "llama.attention.head_count_kv";

/// Tensors that a model has once: llama.cpp's name, Hugging Face's.
const WHOLE: [(&str, &str); 3] =
    [("token_embd", "model.embed_tokens"), ("output_norm", "model.norm"), ("output", "lm_head")];

/// Parts of a layer: llama.cpp's name, Hugging Face's.
const PARTS: [(&str, &str); 9] = [
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
    ("attn_norm", "input_layernorm"),
    ("ffn_norm", "post_attention_layernorm"),
];

/// llama.cpp's name of a tensor that Hugging Face calls `name`; `None` if the architecture has no such tensor.
pub(crate) fn llama_cpp(name: &str) -> Option<String> {
    let (module, kind) = name.rsplit_once('.').filter(|(_, kind)| matches!(*kind, "weight" | "bias"))?;
    if let Some((gguf, _)) = WHOLE.into_iter().find(|(_, whole)| *whole == module) {
        return Some(format!("{gguf}.{kind}"));
    }
    let (layer, part) = module.strip_prefix("model.layers.")?.split_once('.')?;
    let (layer, (gguf, _)) = (layer.parse::<usize>().ok()?, PARTS.into_iter().find(|(_, of_layer)| *of_layer == part)?);
    Some(format!("blk.{layer}.{gguf}.{kind}"))
}

/// The Hugging Face name; `None` if the name is not one of the architecture's.
pub(super) fn hugging_face(name: &str) -> Option<String> {
    let (stem, kind) = name.rsplit_once('.').filter(|(_, kind)| matches!(*kind, "weight" | "bias"))?;
    let whole = match WHOLE.into_iter().find(|(gguf, _)| *gguf == stem) {
        Some((_, whole)) => whole,
        None => {
            let (layer, part) = layer_part(stem)?;
            // Old converters kept the inverse frequencies, which Hugging Face's old checkpoints have too.
            if part == "attn_rot_embd" {
                return Some(format!("model.layers.{layer}.self_attn.rotary_emb.inv_freq"));
            }
            let (_, part) = PARTS.into_iter().find(|(gguf, _)| *gguf == part)?;
            return Some(format!("model.layers.{layer}.{part}.{kind}"));
        }
    };
    Some(format!("{whole}.{kind}"))
}

/// Which key holds the number of heads by which the rows of this tensor are reordered; `None` if they are not.
pub(crate) fn heads_key(name: &str) -> Option<&'static str> {
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
        assert_eq!(llama_cpp("model.layers.12.self_attn.o_proj.bias").as_deref(), Some("blk.12.attn_output.bias"));
        assert_eq!(llama_cpp("model.norm.weight").as_deref(), Some("output_norm.weight"));
        assert_eq!(llama_cpp("model.layers.0.self_attn.q_norm.weight"), None);
        assert_eq!(llama_cpp("model.layers.0.self_attn.rotary_emb.inv_freq"), None);
        for (gguf, _) in PARTS {
            let stored = format!("blk.3.{gguf}.weight");
            assert_eq!(hugging_face(&stored).and_then(|name| llama_cpp(&name)), Some(stored));
        }
        assert_eq!(heads_key("blk.7.attn_k.bias"), Some(KV_HEADS));
        assert_eq!(heads_key("blk.7.attn_v.weight"), None);
    }
}
