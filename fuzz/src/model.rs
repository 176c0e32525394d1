//! A step beyond reading a model: a lie in a header often bites only where its numbers are used.

use loract_autograd::Memory;
use loract_models::chat::Ending;
use loract_models::{ChatTemplate, Decoder, ModelSource, Row, TokenBatch, Tokenizer, Weights};
use serde_json::json;

/// Takes every vector and matrix and widens it; what is refused is refused.
pub fn widen_all(mut weights: Weights) {
    let memory = Memory::new();
    for name in weights.remaining() {
        let shape = weights.get(&name).map(|stored| stored.shape.clone()).unwrap_or_default();
        match shape[..] {
            [len] => drop(weights.take_vector(&name, &[len])),
            [rows, cols] => {
                let matrix = weights.take_matrix(&memory, &name, rows, cols);
                drop(matrix.map(|matrix| matrix.to_f32()));
            }
            _ => {}
        }
    }
}

/// Loads the decoder and runs a few tokens through it.
pub fn run(source: ModelSource) {
    let memory = Memory::new();
    let ModelSource { config, weights, .. } = source;
    let last = config.vocab_size.saturating_sub(1) as u32;
    let tokens = config.context.min(3);
    let Ok(decoder) = Decoder::load(&memory, config, weights) else { return };
    let ids = [0, last, last / 2][..tokens].to_vec();
    let logits = decoder.logits(&memory, &TokenBatch::new(&[Row::all(ids)]));
    assert!(logits.is_ok(), "a model that was loaded does not run: {logits:?}");
}

/// Encodes and decodes with a tokenizer, and renders a conversation with a template.
pub fn talk(tokenizer: &Tokenizer, template: Option<&str>) {
    for text in ["", "the user and 12 of them<|im_end|>\n", "\u{e9}\u{1f600}\u{301}"] {
        let Ok(encoded) = tokenizer.encode_with_places(text) else { continue };
        for place in encoded.places {
            assert!(text.get(place.clone()).is_some(), "{place:?} is no place in {text:?}");
        }
        let _ = tokenizer.decode(&encoded.ids);
    }
    for id in [0, tokenizer.vocab_size().saturating_sub(1) as u32, u32::MAX] {
        let _ = tokenizer.decode(&[id]);
        let _ = tokenizer.token(id);
    }
    let Some(Ok(template)) = template.map(|text| ChatTemplate::new(text, tokenizer)) else { return };
    let messages = [json!({"role": "user", "content": "a"}), json!({"role": "assistant", "content": "b"})];
    let _ = template.render(&messages, None, Ending::GenerationPrompt);
}
