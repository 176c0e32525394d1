//! The tokenizer inside a GGUF file, and a tokenizer.json, against Hugging Face's in Python.

use std::error::Error;

use loract_models::weights::gguf::Gguf;
use loract_models::{ModelSource, Tokenizer};
use loract_testkit::golden::folder;

type Outcome = Result<(), Box<dyn Error>>;

/// By a tokenizer of Python's `tokenizers` from the same tokens and merges.
const TEXT: &str = "<|im_start|>user\nthe cat and the string 12?<|im_end|>\n";
const IDS: [u32; 20] = [1, 60, 3, 38, 46, 4, 21, 54, 58, 51, 53, 38, 36, 62, 4, 10, 11, 7, 2, 3];

#[test]
fn a_gguf_tokenizer_equals_python() -> Outcome {
    let source = ModelSource::open(&folder("gguf").join("llama.gguf"))?;
    let tokenizer = source.tokenizer.ok_or("no tokenizer")?;
    assert_eq!(tokenizer.encode(TEXT)?, IDS);
    assert_eq!(tokenizer.decode(&IDS)?, TEXT);
    assert_eq!((tokenizer.bos(), tokenizer.eos(), tokenizer.add_bos()), (Some(1), Some(2), false));
    assert_eq!((tokenizer.vocab_size(), tokenizer.token_id("<|im_end|>")), (64, Some(2)));
    let message = tokenizer.decode(&[1, 64]).err().map(|e| e.to_string());
    assert_eq!(message.as_deref(), Some("token id 64 is outside the tokenizer's vocabulary of 64"));
    assert!(source.chat_template.is_some_and(|template| template.starts_with("{% for message in messages %}")));
    Ok(())
}

/// The golden GGUF file with another text in its metadata. (Its tensors no longer begin where they did.)
fn with_text(from: &str, to: &str) -> Result<Gguf, Box<dyn Error>> {
    let stored = |text: &str| [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
    let (from, to) = (stored(from), stored(to));
    let mut bytes = std::fs::read(folder("gguf").join("llama.gguf"))?;
    let at = bytes.windows(from.len()).position(|window| window == from).ok_or("no such text")?;
    bytes.splice(at..at + from.len(), to);
    Ok(Gguf::from_bytes("changed.gguf".as_ref(), bytes)?)
}

#[test]
fn known_pre_tokenizers_work_and_others_are_refused() -> Outcome {
    for pre in ["smollm", "llama3", "llama-bpe", "qwen2", "gpt2", "gpt-2", "default"] {
        let tokenizer = Tokenizer::from_gguf(&with_text("smollm", pre)?)?.ok_or("no tokenizer")?;
        assert_eq!(tokenizer.encode(TEXT)?, IDS, "{pre}");
        assert_eq!(tokenizer.decode(&tokenizer.encode("12 cats\n\n  and the users.")?)?, "12 cats\n\n  and the users.");
        assert!(!tokenizer.add_bos());
    }
    let refused = |from, to| -> Result<String, Box<dyn Error>> {
        Ok(Tokenizer::from_gguf(&with_text(from, to)?).err().map(|e| e.to_string()).unwrap_or_default())
    };
    let message = refused("smollm", "falcon")?;
    assert!(message.contains("changed.gguf: tokenizer.ggml.pre falcon is not supported"), "{message}");
    assert!(message.ends_with("put the tokenizer.json of the original model beside the file"), "{message}");
    let message = refused("gpt2", "bert")?;
    assert!(message.contains("tokenizer.ggml.model bert is not supported"), "{message}");
    let message = refused("Ġa", "Ġt")?;
    assert!(message.contains("token \"Ġt\" is there twice"), "{message}");
    Ok(())
}

/// A word-level tokenizer with a beginning that its post-processor adds.
const JSON: &str = r#"{"version": "1.0", "truncation": null, "padding": null,
    "added_tokens": [{"id": 0, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true}],
    "normalizer": null, "pre_tokenizer": {"type": "Whitespace"},
    "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}}], "pair": [{"Sequence": {"id": "A", "type_id": 0}},
        {"Sequence": {"id": "B", "type_id": 0}}], "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}},
    "decoder": null, "model": {"type": "WordLevel", "vocab": {"<s>": 0, "</s>": 1, "a": 2, "b": 3}, "unk_token": "a"}}"#;

fn folder_of_gguf() -> std::path::PathBuf {
    folder("gguf").join("llama.gguf")
}

fn same_when_written_and_read(tokenizer: &Tokenizer) -> Outcome {
    let folder = std::env::temp_dir().join(format!("loract-tokenizer-written-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let [json, names] = tokenizer.to_json()?;
    std::fs::write(folder.join("tokenizer.json"), json)?;
    std::fs::write(folder.join("tokenizer_config.json"), names)?;
    let again = Tokenizer::from_file(&folder.join("tokenizer.json"));
    std::fs::remove_dir_all(&folder)?;
    let again = again?;
    let facts = |t: &Tokenizer| (t.bos(), t.eos(), t.add_bos(), t.vocab_size());
    assert_eq!(facts(&again), facts(tokenizer));
    for text in [TEXT, "a b", "12 cats\n\n  and"] {
        assert_eq!(again.encode_with_places(text)?, tokenizer.encode_with_places(text)?, "{text}");
    }
    Ok(())
}

#[test]
fn a_tokenizer_json_says_whether_it_begins() -> Outcome {
    let folder = std::env::temp_dir().join(format!("loract-tokenizer-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let path = folder.join("tokenizer.json");
    std::fs::write(&path, JSON)?;
    let alone = Tokenizer::from_file(&path);
    std::fs::write(folder.join("tokenizer_config.json"), r#"{"bos_token": {"content": "<s>"}, "eos_token": "</s>"}"#)?;
    let named = Tokenizer::from_file(&path);
    std::fs::write(&path, &JSON[..JSON.len() / 2])?;
    let damaged = Tokenizer::from_file(&path);
    std::fs::remove_dir_all(&folder)?;

    let (alone, named) = (alone?, named?);
    assert_eq!((alone.bos(), alone.eos(), alone.add_bos()), (Some(0), None, true));
    assert_eq!((named.bos(), named.eos(), named.add_bos()), (Some(0), Some(1), true));
    assert_eq!(named.encode("a b")?, [2, 3], "nothing is added");
    assert_eq!(alone.clone().or_ids(Some(3), Some(3)).eos(), Some(3));
    for tokenizer in [&alone, &named, &ModelSource::open(&folder_of_gguf())?.tokenizer.ok_or("no tokenizer")?] {
        same_when_written_and_read(tokenizer)?;
    }
    assert!(damaged.is_err_and(|e| e.to_string().contains("tokenizer.json: it is damaged: ")));
    Ok(())
}
