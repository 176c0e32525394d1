//! GGUF files that we write: their bytes against the Python package `gguf`, and what our own reader makes of them.

use std::error::Error;
use std::path::{Path, PathBuf};

use loract_autograd::Memory;
use loract_autograd::ops::merged;
use loract_models::llama_cpp::{About, adapter_file, load_adapter, model_file};
use loract_models::weights::gguf::Gguf;
use loract_models::weights::gguf::write::{Entries, Entry, GgufFile, GgufTensor, GgufType};
use loract_models::weights::store::Numbers;
use loract_models::{Decoder, DecoderConfig, LoraConfig, ModelSource, Row, RowOrder, TokenBatch, Tokenizer, adapter};
use loract_testkit::golden::{folder, relative_error};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const CASES: [&str; 6] = ["llama-tied", "llama-untied", "llama3-rope", "mistral-window", "qwen2", "qwen3"];

/// A folder that goes when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("loract-gguf-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Case {
    memory: Memory,
    about: About,
    decoder: Decoder,
}

impl Case {
    fn open(path: &Path) -> Outcome<Self> {
        let (memory, source) = (Memory::new(), ModelSource::open(path)?);
        let about = About::of(&source)?;
        let decoder = Decoder::load(&memory, source.config, source.weights)?;
        Ok(Self { memory, about, decoder })
    }

    /// With an adapter of its folder.
    fn adapted(case: &str, folder_name: &str) -> Outcome<(Self, LoraConfig, PathBuf)> {
        let mut this = Self::open(&folder(case))?;
        let path = folder(case).join(folder_name);
        let config = adapter::load(&this.memory, &mut this.decoder, &path)?;
        Ok((this, config, path))
    }

    fn logits(&self) -> Outcome<Vec<f32>> {
        logits(&self.decoder)
    }
}

fn logits(decoder: &Decoder) -> Outcome<Vec<f32>> {
    let batch = TokenBatch::new(&[Row::all((0..24).map(|i| i * 37 % 64).collect())]);
    Ok(decoder.logits(&Memory::new(), &batch)?.to_vec())
}

fn written(case: &Case, stored: GgufType, path: &Path) -> Outcome<Gguf> {
    let file = model_file(&case.decoder, &case.about, stored);
    file.write(path)?;
    let gguf = Gguf::open(path)?;
    let numbers = std::fs::metadata(path)?.len() as usize;
    assert!(file.size_bytes() < numbers && numbers.is_multiple_of(32));
    Ok(gguf)
}

fn loaded(gguf: &Gguf) -> Outcome<Decoder> {
    Ok(Decoder::load(&Memory::new(), DecoderConfig::from_gguf(gguf)?, gguf.weights()?)?)
}

#[test]
fn every_type_has_the_bytes_of_the_gguf_package() -> Outcome {
    let want = Gguf::open(&folder("gguf").join("written.gguf"))?.weights()?;
    let (shape, numbers) = {
        let stored = want.get("F32").ok_or("no F32")?;
        let numbers = stored.bytes.as_slice().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect::<Vec<_>>();
        (stored.shape.clone(), numbers)
    };
    assert_eq!(shape, [17, 64]);
    let types = [GgufType::F32, GgufType::F16, GgufType::Bf16, GgufType::Q8_0, GgufType::Q4_0];
    let tensor = |stored: GgufType| GgufTensor {
        name: stored.dtype().to_string(),
        shape: shape.clone(),
        numbers: vec![Numbers::Floats(&numbers)],
        order: RowOrder::AsIs,
        plus: 0.0,
        stored,
    };
    let scratch = Scratch::new("types")?;
    let file = GgufFile { entries: Entries::default(), tensors: types.into_iter().map(tensor).collect() };
    file.write(&scratch.path("types.gguf"))?;
    let got = Gguf::open(&scratch.path("types.gguf"))?.weights()?;
    for name in ["F32", "F16", "BF16", "Q8_0", "Q4_0"] {
        let (got, want) = (got.get(name).ok_or(name)?, want.get(name).ok_or(name)?);
        assert_eq!((got.dtype, &got.shape), (want.dtype, &want.shape), "{name}");
        let row = got.dtype.row_bytes(64).ok_or("row")?;
        let rows = got.bytes.as_slice().chunks(row).zip(want.bytes.as_slice().chunks(row));
        rows.enumerate().for_each(|(i, (got, want))| assert_eq!(got, want, "{name}, row {i}"));
    }
    Ok(())
}

#[test]
fn a_folder_is_written_as_the_gguf_package_writes_it() -> Outcome {
    let scratch = Scratch::new("package")?;
    let case = Case::open(&folder("llama-tied"))?;
    let ours = written(&case, GgufType::F32, &scratch.path("ours.gguf"))?;
    let theirs = Gguf::open(&folder("gguf").join("llama.gguf"))?;
    let sorted = |gguf: &Gguf| {
        let mut names: Vec<_> = gguf.names().map(str::to_owned).collect();
        names.sort();
        names
    };
    assert_eq!(sorted(&ours), sorted(&theirs));
    let (our_weights, their_weights) = (ours.weights()?, theirs.weights()?);
    for name in our_weights.remaining() {
        let (our, their) = (our_weights.get(&name).ok_or("ours")?, their_weights.get(&name).ok_or("theirs")?);
        assert_eq!((our.dtype, &our.shape, our.order), (their.dtype, &their.shape, their.order), "{name}");
        assert_eq!(our.bytes.as_slice(), their.bytes.as_slice(), "{name}");
    }
    // The same keys with the same types and values, but for the tokenizer, which the folder does not have.
    let raw = |gguf: &Gguf| gguf.entries().into_iter().filter(|(key, _)| !key.starts_with("tokenizer."));
    for (key, entry) in raw(&theirs) {
        let found = raw(&ours).find(|(ours, _)| *ours == key).map(|(_, entry)| bytes_of(&entry));
        assert_eq!(found.as_deref(), Some(bytes_of(&entry).as_slice()), "{key}");
    }
    assert_eq!(raw(&ours).count(), raw(&theirs).count());
    assert_eq!(ours.metadata().text("tokenizer.ggml.model")?, Some("none"));
    Ok(())
}

fn bytes_of(entry: &Entry) -> Vec<u8> {
    match entry {
        Entry::AsRead(bytes) => bytes.as_slice().to_vec(),
        _ => Vec::new(),
    }
}

#[test]
fn folders_come_back_as_the_same_model() -> Outcome {
    let scratch = Scratch::new("folders")?;
    for name in CASES {
        let (case, ..) = Case::adapted(name, "adapter")?;
        let want = case.logits()?;
        let base = Case::open(&folder(name))?.logits()?;
        assert!(relative_error(&base, &want) > 1e-2, "{name}: the adapter makes no difference");
        // Rounding of numbers; a row in another's place, or a head, is an error of about 1.
        for (stored, within) in
            [(GgufType::F32, 1e-5), (GgufType::F16, 5e-3), (GgufType::Bf16, 2e-2), (GgufType::Q8_0, 0.1)]
        {
            let gguf = written(&case, stored, &scratch.path("model.gguf"))?;
            let error = relative_error(&logits(&loaded(&gguf)?)?, &want);
            assert!(error < within, "{name} {stored:?}: {error:.1e}");
            assert_eq!(gguf.metadata().unsigned("general.file_type")?, Some(u64::from(stored.file_type())));
        }
        let gguf = written(&case, GgufType::F32, &scratch.path("model.gguf"))?;
        let read = DecoderConfig::from_gguf(&gguf)?;
        let config = case.decoder.config();
        // A file without a tokenizer has no ids.
        let kept = DecoderConfig { bos: None, eos: Vec::new(), ..config.clone() };
        assert_eq!(read, kept, "{name}");
        assert_eq!(gguf.shape("output.weight").is_none(), config.tied, "{name}");
        assert_eq!(case.about.notes().len(), 1 + usize::from(config.sliding_window.is_some()), "{name}");
    }
    Ok(())
}

#[test]
fn types_of_tensors_follow_llama_cpp() -> Outcome {
    let scratch = Scratch::new("q4")?;
    let case = Case::open(&folder("llama-untied"))?;
    let gguf = written(&case, GgufType::Q4_0, &scratch.path("model.gguf"))?;
    let weights = gguf.weights()?;
    for (name, dtype) in [
        ("model.embed_tokens.weight", "Q4_0"),
        ("lm_head.weight", "Q8_0"),
        ("model.norm.weight", "F32"),
        ("model.layers.1.self_attn.q_proj.bias", "F32"),
        ("model.layers.1.self_attn.q_proj.weight", "Q4_0"),
        // Rows of 48 are a block and a half.
        ("model.layers.1.mlp.down_proj.weight", "F16"),
    ] {
        assert_eq!(weights.get(name).ok_or(name)?.dtype.to_string(), dtype, "{name}");
    }
    // A code is one of 16, so about a tenth of a matrix is rounded away; a row in another's place is an error of about 1.
    let (memory, mut weights) = (Memory::new(), gguf.weights()?);
    for (name, linear) in case.decoder.linears() {
        let (rows, cols) = (linear.weight.rows(), linear.weight.cols());
        let got = weights.take_matrix(&memory, &format!("{name}.weight"), rows, cols)?.to_f32();
        let error = relative_error(&got, &merged(linear));
        let (least, most) = if cols == 48 { (0.0, 5e-4) } else { (0.02, 0.15) };
        assert!((least..most).contains(&error), "{name}: {error:.1e}");
    }
    let error = relative_error(&logits(&loaded(&gguf)?)?, &case.logits()?);
    assert!((1e-2..0.8).contains(&error), "{error}");
    let tied = written(&Case::open(&folder("llama-tied"))?, GgufType::Q4_0, &scratch.path("tied.gguf"))?;
    assert_eq!(tied.weights()?.get("model.embed_tokens.weight").ok_or("tied")?.dtype.to_string(), "Q8_0");
    Ok(())
}

#[test]
fn a_gguf_model_keeps_its_metadata_to_the_byte() -> Outcome {
    let scratch = Scratch::new("kept")?;
    let from = folder("gguf").join("llama.gguf");
    let mut case = Case::open(&from)?;
    adapter::load(&case.memory, &mut case.decoder, &folder("llama-tied").join("adapter"))?;
    let gguf = written(&case, GgufType::F16, &scratch.path("model.gguf"))?;
    let (old, new) = (Gguf::open(&from)?.entries(), gguf.entries());
    assert_eq!(new.len(), old.len());
    for ((key, was), (now_key, now)) in old.iter().zip(&new) {
        assert_eq!(key, now_key);
        assert_eq!(bytes_of(was) == bytes_of(now), key != "general.file_type", "{key}");
    }
    let error = relative_error(&logits(&loaded(&gguf)?)?, &case.logits()?);
    assert!(error < 2e-3, "{error}");
    // What says how the source was stored goes.
    let mut entries = Gguf::open(&from)?.entries();
    for key in ["quantize.imatrix.file", "split.no"] {
        entries.push((key.to_owned(), Entry::U32(0)));
    }
    entries.push(("general.alignment".to_owned(), Entry::U32(32)));
    let mut again = model_file(&case.decoder, &case.about, GgufType::F32);
    again.entries = Entries::as_read(entries);
    again.write(&scratch.path("more.gguf"))?;
    let more = Case::open(&scratch.path("more.gguf"))?;
    assert_eq!(written(&more, GgufType::F16, &scratch.path("model.gguf"))?.entries().len(), old.len());
    Ok(())
}

#[test]
fn a_byte_level_tokenizer_comes_back() -> Outcome {
    let scratch = Scratch::new("tokenizer")?;
    let source = ModelSource::open(&folder("gguf").join("llama.gguf"))?;
    let tokenizer = source.tokenizer.as_ref().ok_or("no tokenizer")?;
    // A folder with the model of llama-tied and the tokenizer of llama.gguf.
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(folder("llama-tied").join(name), scratch.path(name))?;
    }
    let [json, names] = tokenizer.to_json()?;
    std::fs::write(scratch.path("tokenizer.json"), &json)?;
    std::fs::write(scratch.path("tokenizer_config.json"), names)?;
    std::fs::write(scratch.path("chat_template.jinja"), source.chat_template.unwrap_or_default())?;
    let case = Case::open(&scratch.0)?;
    assert!(case.about.notes().is_empty());
    let gguf = written(&case, GgufType::F32, &scratch.path("model.gguf"))?;
    let old = Gguf::open(&folder("gguf").join("llama.gguf"))?.entries();
    let new = gguf.entries();
    for (key, was) in old.iter().filter(|(key, _)| key.starts_with("tokenizer.")) {
        // A folder's tokenizer has no such tokens unless its tokenizer_config.json names them.
        if key.contains("padding") || key.contains("unknown") {
            continue;
        }
        let now = new.iter().find(|(new, _)| new == key).map(|(_, entry)| bytes_of(entry));
        assert_eq!(now.as_deref(), Some(bytes_of(was).as_slice()), "{key}");
    }

    // Other ways to split, by what they are called; and ways that have no name.
    let text = String::from_utf8(json)?;
    let named = |from: &str, to: &str| -> Outcome<Result<Option<String>, String>> {
        assert!(text.contains(from), "{from}");
        let path = scratch.path("tokenizer.json");
        std::fs::write(&path, text.replacen(from, to, 1))?;
        let written = Tokenizer::from_file(&path)?.to_gguf(70);
        Ok(match written {
            Ok(entries) => Ok(entries.into_iter().find_map(|(key, entry)| match entry {
                Entry::Text(pre) if key == "tokenizer.ggml.pre" => Some(pre),
                _ => None,
            })),
            Err(error) => Err(error.to_string()),
        })
    };
    let digits = r#"{"type":"Digits","individual_digits":true}"#;
    assert_eq!(named(digits, digits)?, Ok(Some("smollm".to_owned())));
    let at = text.find(r#""pre_tokenizer":"#).ok_or("no pre-tokenizer")?;
    let end = text.find(r#","post_processor""#).ok_or("no post-processor")?;
    let bytes =
        r#""pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":false,"use_regex":true}"#;
    assert_eq!(named(&text[at..end], bytes)?, Ok(Some("gpt-2".to_owned())));
    for (from, to) in [
        (digits, r#"{"type":"Digits","individual_digits":false}"#),
        (r#""ignore_merges":false"#, r#""ignore_merges":true"#),
        (r#""byte_fallback":false"#, r#""byte_fallback":true"#),
        (r#""normalizer":null"#, r#""normalizer":{"type":"NFC"}"#),
    ] {
        let refused = named(from, to)?.err().unwrap_or_default();
        assert!(refused.contains("convert_hf_to_gguf.py") && refused.contains("smollm"), "{to}: {refused}");
    }
    let small = tokenizer.to_gguf(63).err().map(|e| e.to_string()).unwrap_or_default();
    assert!(small.contains("64 tokens and the model 63"), "{small}");
    Ok(())
}

#[test]
fn adapters_come_back_and_only_with_what_loaders_expect() -> Outcome {
    let scratch = Scratch::new("adapters")?;
    let path = scratch.path("adapter.gguf");
    for (name, kind) in CASES.map(|name| (name, "adapter")).into_iter().chain([("llama-tied", "adapter-rslora")]) {
        let (case, config, from) = Case::adapted(name, kind)?;
        for (stored, within) in [(GgufType::F32, 1e-6), (GgufType::F16, 2e-3)] {
            adapter_file(&case.decoder, &config, &from, stored)?.write(&path)?;
            let gguf = Gguf::open(&path)?;
            let keys: Vec<_> = gguf.entries().into_iter().map(|(key, _)| key).collect();
            let expected = ["general.architecture", "general.type", "adapter.type", "adapter.lora.alpha"];
            assert_eq!(keys[..4], expected);
            assert_eq!(keys[4..], ["general.quantization_version"]);
            let alpha = f64::from(config.scale()) * config.rank as f64;
            assert!((gguf.metadata().float("adapter.lora.alpha")?.ok_or("alpha")? - alpha).abs() < 1e-5 * alpha);
            let mut fresh = Case::open(&folder(name))?;
            let read = load_adapter(&fresh.memory, &mut fresh.decoder, &path)?;
            assert_eq!(read.rank, config.rank);
            assert_eq!(gguf.names().count(), 2 * case.decoder.linears().filter(|(_, l)| l.lora.is_some()).count());
            let error = relative_error(&fresh.logits()?, &case.logits()?);
            assert!(error < within, "{name} {kind} {stored:?}: {error:.1e}");
        }
    }
    for (kind, says) in [("adapter-dora", "use_dora"), ("adapter-modules", "modules_to_save")] {
        let (case, config, from) = Case::adapted("llama-tied", kind)?;
        let refused = adapter_file(&case.decoder, &config, &from, GgufType::F32).err().ok_or(kind)?.to_string();
        assert!(refused.contains(says) && refused.contains("export the merged model"), "{refused}");
    }
    let (case, config, from) = Case::adapted("llama-tied", "adapter")?;
    let zero = LoraConfig { alpha: 0.0, ..config };
    assert!(adapter_file(&case.decoder, &zero, &from, GgufType::F32).is_err());
    Ok(())
}

#[test]
fn adapters_of_others_and_damaged_ones_are_refused() -> Outcome {
    let scratch = Scratch::new("others")?;
    let path = scratch.path("adapter.gguf");
    let (case, config, from) = Case::adapted("llama-untied", "adapter")?;
    adapter_file(&case.decoder, &config, &from, GgufType::F32)?.write(&path)?;
    let refused = |path: &Path| -> Outcome<String> {
        let mut other = Case::open(&folder("llama-tied"))?;
        Ok(load_adapter(&other.memory, &mut other.decoder, path).err().map(|e| e.to_string()).unwrap_or_default())
    };
    assert!(refused(&path)?.contains("is stored as"), "{}", refused(&path)?);
    assert!(refused(&folder("gguf").join("llama.gguf"))?.contains("adapter.lora.alpha"));
    let bytes = std::fs::read(&path)?;
    for cut in [0, 3, 100, bytes.len() / 2, bytes.len() - 64] {
        std::fs::write(&path, &bytes[..cut])?;
        let mut own = Case::open(&folder("llama-untied"))?;
        assert!(load_adapter(&own.memory, &mut own.decoder, &path).is_err(), "{cut}");
    }
    // A pair of which one is missing, and one too many.
    let (case, config, from) = Case::adapted("llama-tied", "adapter")?;
    let mut file = adapter_file(&case.decoder, &config, &from, GgufType::F32)?;
    let gone = file.tensors.remove(1);
    file.write(&path)?;
    assert!(refused(&path)?.contains(&gone.name), "{}", refused(&path)?);
    file.tensors.insert(1, gone);
    file.tensors[0].name = "blk.99.attn_q.weight.lora_a".to_owned();
    file.write(&path)?;
    assert!(refused(&path)?.contains("lora_b"), "{}", refused(&path)?);
    Ok(())
}
