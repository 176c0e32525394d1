//! A GGUF file: each tensor is widened; the model is loaded and run; its tokenizer and template are used.
#![no_main]

use std::collections::HashSet;
use std::path::Path;
use std::sync::Mutex;

use libfuzzer_sys::fuzz_target;
use loract_fuzz::model::{run, talk, widen_all};
use loract_models::weights::gguf::{Gguf, Metadata};
use loract_models::{DecoderConfig, ModelSource, Tokenizer};

/// The keys that a tokenizer is made of.
const TOKENIZER: [&str; 9] = [
    "tokenizer.ggml.model",
    "tokenizer.ggml.pre",
    "tokenizer.ggml.tokens",
    "tokenizer.ggml.token_type",
    "tokenizer.ggml.merges",
    "tokenizer.ggml.bos_token_id",
    "tokenizer.ggml.eos_token_id",
    "tokenizer.ggml.add_bos_token",
    "tokenizer.chat_template",
];

fuzz_target!(|file: &[u8]| {
    loract_fuzz::one_thread();
    let Ok(gguf) = Gguf::from_bytes(Path::new("model.gguf"), file.to_vec()) else { return };
    // Part by part, as the whole is refused at the first that is wrong.
    if let Ok(weights) = gguf.weights() {
        widen_all(weights);
    }
    if let (Ok(config), Ok(weights)) = (DecoderConfig::from_gguf(&gguf), gguf.weights()) {
        run(ModelSource { config, weights, tokenizer: None, chat_template: None, name: "model.gguf".into() });
    }
    if is_new(gguf.metadata())
        && let Ok(Some(tokenizer)) = Tokenizer::from_gguf(&gguf)
    {
        talk(&tokenizer, gguf.metadata().text("tokenizer.chat_template").ok().flatten());
    }
});

/// Whether these parts of a tokenizer come for the first time: compiling its patterns takes longer than all else, and most
/// inputs have the tokenizer of another.
fn is_new(metadata: &Metadata) -> bool {
    static SEEN: Mutex<Option<HashSet<u32>>> = Mutex::new(None);
    let parts = format!("{:?}", TOKENIZER.map(|key| metadata.get(key)));
    let mut seen = SEEN.lock().expect("nobody panics with it");
    seen.get_or_insert_default().insert(crc32fast::hash(parts.as_bytes()))
}
