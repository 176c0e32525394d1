//! Well-known models that are not supported: what they have that no decoder here has, and which family is nearest.

use super::ModelType;

/// A `model_type`, the nearest that is supported, and what is missing.
const OTHERS: [(&str, Option<&str>, &str); 23] = [
    ("bloom", None, "positions by ALiBi"),
    ("deepseek_v2", Some("mixtral"), "latent attention, shared experts"),
    ("deepseek_v3", Some("mixtral"), "latent attention, shared experts"),
    ("exaone4", Some("olmo2"), "norms after, with rope in some layers only"),
    ("falcon", Some("phi"), "q, k and v interleaved in one matrix"),
    ("gemma3", Some("gemma3_text"), "the vision part; the text model alone can be taken out of the checkpoint"),
    ("gemma3n", Some("gemma3_text"), "per-layer embeddings, alternating updates"),
    ("gpt2", None, "learned positions, transposed weights"),
    ("gpt_bigcode", Some("starcoder2"), "learned positions, one key and value head in a joined matrix"),
    ("gpt_neox", Some("phi"), "q, k and v interleaved in one matrix"),
    ("gpt_oss", Some("mixtral"), "attention sinks, 4-bit experts"),
    ("gptj", Some("phi"), "its names of tensors"),
    ("granitemoe", Some("mixtral"), "joined experts"),
    ("llama4", Some("llama"), "shared experts, chunked attention, the vision part"),
    ("mamba", None, "state-space layers"),
    ("mistral3", Some("mistral"), "the vision part"),
    ("mpt", None, "positions by ALiBi"),
    ("olmo3", Some("olmo2"), "windows in some layers"),
    ("phimoe", Some("mixtral"), "its router"),
    ("qwen2_moe", Some("qwen3_moe"), "shared experts"),
    ("qwen2_vl", Some("qwen2"), "the vision part"),
    ("qwen3_next", Some("qwen3_moe"), "linear attention"),
    ("t5", None, "an encoder"),
];

/// What to say of a `model_type` that is not supported: the nearest that is, and what is missing, as far as that is known.
pub(super) fn about(name: &str) -> String {
    match OTHERS.iter().find(|(other, ..)| *other == name) {
        Some((_, Some(nearest), missing)) => format!("; nearest: {nearest}; missing: {missing}"),
        Some((_, None, missing)) => format!("; missing: {missing}"),
        None => closest(name).map(|nearest| format!("; nearest by name: {nearest}")).unwrap_or_default(),
    }
}

/// The name that is most like `name`, if one is: words of other models often differ by a digit or a suffix.
fn closest(name: &str) -> Option<&'static str> {
    let names = ModelType::ALL.iter().map(|one| one.family().name);
    let (distance, closest) = names.map(|known| (distance(name, known), known)).min()?;
    (distance <= name.len().max(closest.len()) / 2).then_some(closest)
}

/// Letters to put in, take out or change to come from one word to the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut above = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let changed = above + usize::from(x != *y);
            above = row[j + 1];
            row[j + 1] = changed.min(above + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listed_is_not_supported_and_what_is_nearest_is() {
        for (name, nearest, missing) in OTHERS {
            assert_eq!(ModelType::named(name), None, "{name}");
            assert!(nearest.is_none_or(|nearest| ModelType::named(nearest).is_some()), "{name}");
            assert!(!missing.is_empty());
        }
        assert_eq!(about("olmo3"), "; nearest: olmo2; missing: windows in some layers");
        assert_eq!(about("qwen4"), "; nearest by name: qwen2");
        assert_eq!(about("xlstm_large"), "");
        assert_eq!(closest("starcoder"), Some("starcoder2"));
        assert_eq!(closest("deepseek_v9"), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
