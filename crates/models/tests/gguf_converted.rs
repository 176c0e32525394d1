//! Files that llama.cpp's own converter made (`golden/gguf/make_converted.py`) against Transformers, and against the files that
//! we write.

use std::error::Error;
use std::path::{Path, PathBuf};

use loract_autograd::{DType, Memory};
use loract_models::llama_cpp::{About, adapter_file, load_adapter, model_file};
use loract_models::weights::gguf::Gguf;
use loract_models::weights::gguf::write::{Entries, Entry, GgufFile, GgufTensor, GgufType};
use loract_models::weights::store::Numbers;
use loract_models::{
    Decoder, DecoderConfig, Layers, ModelSource, RopeScaling, Row, RowOrder, SlidingWindow, Stored, TokenBatch, adapter,
};
use loract_testkit::golden::{folder, relative_error, tensors};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Every converted model.
fn names() -> Outcome<Vec<String>> {
    let files = std::fs::read_dir(converted(""))?.filter_map(|entry| Some(entry.ok()?.path()));
    let gguf = files.filter(|path| path.extension().is_some_and(|extension| extension == "gguf"));
    let mut names: Vec<_> = gguf.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect();
    names.sort();
    assert_eq!(names.len(), 21, "{names:?}");
    Ok(names)
}

/// Those whose weights are not those of their folder (see the script), or that llama.cpp does not read either.
const NOT_WRITTEN: [&str; 3] = ["qwen3-moe", "phi", "cohere"];

fn converted(file: &str) -> PathBuf {
    folder("gguf").join("converted").join(file)
}

fn file(name: &str) -> Outcome<Gguf> {
    Ok(Gguf::open(&converted(&format!("{name}.gguf")))?)
}

/// The configuration that it was converted from.
fn config(name: &str) -> Outcome<DecoderConfig> {
    let path = converted(&format!("{name}.json"));
    Ok(DecoderConfig::from_json(&path, &std::fs::read_to_string(&path)?, None)?)
}

/// A folder that goes when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    /// With the model that was converted.
    fn with(name: &str, test: &str) -> Outcome<Self> {
        let path = std::env::temp_dir().join(format!("loract-converted-{test}-{}-{name}", std::process::id()));
        std::fs::create_dir_all(path.join("model"))?;
        std::fs::copy(converted(&format!("{name}.json")), path.join("model").join("config.json"))?;
        std::fs::copy(folder(name).join("model.safetensors"), path.join("model").join("model.safetensors"))?;
        Ok(Self(path))
    }

    fn model(&self) -> Outcome<ModelSource> {
        Ok(ModelSource::open(&self.0.join("model"))?)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn logits(decoder: &Decoder, ids: &[u32]) -> Outcome<Vec<f32>> {
    Ok(decoder.logits(&Memory::new(), &TokenBatch::new(&[Row::all(ids.to_vec())]))?.to_vec())
}

fn first_row(name: &str) -> Outcome<Vec<u32>> {
    let rows = std::fs::read_to_string(folder(name).join("rows.jsonl"))?;
    let row: serde_json::Value = serde_json::from_str(rows.lines().next().ok_or("no row")?)?;
    Ok(serde_json::from_value(row["input_ids"].clone())?)
}

#[test]
fn configurations_are_those_of_the_folders() -> Outcome {
    for name in names()? {
        let (read, want) = (DecoderConfig::from_gguf(&file(&name)?)?, config(&name)?);
        assert_same_rope(&read, &want, &name);
        assert_eq!(DecoderConfig { rope: want.rope.clone(), ..read }, want, "{name}");
    }
    Ok(())
}

/// Factors are f32 numbers in a GGUF file.
fn assert_same_rope(read: &DecoderConfig, want: &DecoderConfig, name: &str) {
    let (read, want) = (&read.rope, &want.rope);
    assert_eq!((read.theta, read.rotated), (want.theta, want.rotated), "{name}");
    let [got, wanted] = [read, want].map(|rope| {
        let (from, long) = rope.long_frequencies().unwrap_or_default();
        [rope.frequencies(), long, vec![from as f64, rope.amplitude()]].concat()
    });
    assert_eq!(got.len(), wanted.len(), "{name}");
    assert!(got.iter().zip(&wanted).all(|(a, b)| (a - b).abs() <= 1e-6 * b.abs()), "{name}: {got:?} {wanted:?}");
}

#[test]
fn logits_are_those_of_transformers() -> Outcome {
    let golden = tensors(&converted("logits.safetensors"));
    for name in names()? {
        let (gguf, ids, memory) = (file(&name)?, first_row(&name)?, Memory::new());
        let (shape, want) = &golden[&name];
        assert_eq!(shape[..], [ids.len(), 64], "{name}");
        let decoder = Decoder::load(&memory, DecoderConfig::from_gguf(&gguf)?, gguf.weights()?)?;
        let error = relative_error(&logits(&decoder, &ids)?, want);
        assert!(error < 2e-5, "{name}: {error:.1e}");
    }
    Ok(())
}

fn raw(gguf: &Gguf, wanted: &str) -> Option<Vec<u8>> {
    gguf.entries().into_iter().find_map(|(key, entry)| match entry {
        Entry::AsRead(bytes) if key == wanted => Some(bytes.as_slice().to_vec()),
        _ => None,
    })
}

/// Our export of the folder has the converter's tensors, byte for byte, and its keys with its values.
#[test]
fn our_files_are_the_converters() -> Outcome {
    for name in names()?.iter().map(String::as_str).filter(|name| !NOT_WRITTEN.contains(name)) {
        let scratch = Scratch::with(name, "written")?;
        let source = scratch.model()?;
        let about = About::of(&source)?;
        let decoder = Decoder::load(&Memory::new(), source.config, source.weights)?;
        let path = scratch.0.join("model.gguf");
        model_file(&decoder, &about, GgufType::Bf16).write(&path)?;
        let (ours, theirs) = (Gguf::open(&path)?, file(name)?);
        let (our_weights, their_weights) = (ours.weights()?, theirs.weights()?);
        assert_eq!(our_weights.remaining(), their_weights.remaining(), "{name}");
        for tensor in our_weights.remaining() {
            let (our, their) = (our_weights.get(&tensor).ok_or("ours")?, their_weights.get(&tensor).ok_or("theirs")?);
            assert_eq!((our.dtype, &our.shape, our.order), (their.dtype, &their.shape, their.order), "{name} {tensor}");
            assert_eq!(our.bytes.as_slice(), their.bytes.as_slice(), "{name} {tensor}");
        }
        let sorted = |gguf: &Gguf| {
            let mut names: Vec<_> = gguf.names().map(str::to_owned).collect();
            names.sort();
            names
        };
        assert_eq!(sorted(&ours), sorted(&theirs), "{name}");
        // That there is no scaling, some of its converters say, and we do not.
        let scaled = decoder.config().rope.scaling != RopeScaling::None;
        let says = |key: &String| {
            !key.starts_with("tokenizer.")
                && !key.starts_with("general.")
                && (scaled || !key.contains(".rope.scaling."))
        };
        let keys: Vec<String> = theirs.entries().into_iter().map(|(key, _)| key).filter(says).collect();
        assert!(keys.len() >= 8, "{name}: {keys:?}");
        let general = ["general.architecture", "general.file_type", "general.type"];
        for key in keys.iter().map(String::as_str).chain(general) {
            assert_eq!(raw(&ours, key), raw(&theirs, key), "{name}: {key}");
        }
    }
    Ok(())
}

/// A file that we wrote is the same model, with what the converter leaves out; and so is its adapter.
#[test]
fn what_we_write_comes_back() -> Outcome {
    for name in names()?.iter().map(String::as_str).filter(|name| !NOT_WRITTEN.contains(name)) {
        let scratch = Scratch::with(name, "again")?;
        let (memory, ids) = (Memory::new(), first_row(name)?);
        let source = scratch.model()?;
        let about = About::of(&source)?;
        let mut decoder = Decoder::load(&memory, source.config, source.weights)?;
        let base = logits(&decoder, &ids)?;
        let from = folder(name).join("adapter");
        let settings = adapter::load(&memory, &mut decoder, &from)?;
        let want = logits(&decoder, &ids)?;
        assert!(relative_error(&base, &want) > 1e-3, "{name}: the adapter makes no difference");
        let path = scratch.0.join("model.gguf");
        model_file(&decoder, &about, GgufType::F32).write(&path)?;
        let gguf = Gguf::open(&path)?;
        let read = DecoderConfig::from_gguf(&gguf)?;
        let written = DecoderConfig { bos: None, eos: Vec::new(), ..decoder.config().clone() };
        assert_same_rope(&read, &written, name);
        assert_eq!(DecoderConfig { rope: written.rope.clone(), ..read.clone() }, written, "{name}");
        let error = relative_error(&logits(&Decoder::load(&memory, read, gguf.weights()?)?, &ids)?, &want);
        assert!(error < 1e-5, "{name}: {error:.1e}");

        let path = scratch.0.join("adapter.gguf");
        let adapted = adapter_file(&decoder, &settings, &from, GgufType::F32);
        if decoder.config().experts.is_some() {
            assert!(adapted.err().is_some_and(|e| e.to_string().contains("pairs of experts")), "{name}");
            continue;
        }
        adapted?.write(&path)?;
        let source = scratch.model()?;
        let mut fresh = Decoder::load(&memory, source.config, source.weights)?;
        load_adapter(&memory, &mut fresh, &path)?;
        let error = relative_error(&logits(&fresh, &ids)?, &want);
        assert!(error < 1e-6, "{name}: {error:.1e}");
    }
    Ok(())
}

/// What the converter leaves out and we write: windows of some layers.
#[test]
fn windows_of_some_layers_come_back() -> Outcome {
    for (name, list) in [("qwen2", [false, true]), ("cohere2", [true, false])] {
        let scratch = Scratch::with(name, "windows")?;
        std::fs::copy(folder(name).join("config.json"), scratch.0.join("model").join("config.json"))?;
        let source = scratch.model()?;
        let about = About::of(&source)?;
        let notes = about.notes().iter().filter(|note| note.contains("sliding windows")).count();
        assert_eq!(notes, usize::from(name == "qwen2"), "{name}");
        let decoder = Decoder::load(&Memory::new(), source.config, source.weights)?;
        let path = scratch.0.join("model.gguf");
        model_file(&decoder, &about, GgufType::F32).write(&path)?;
        let window = DecoderConfig::from_gguf(&Gguf::open(&path)?)?.sliding_window;
        assert_eq!(window, Some(SlidingWindow { tokens: 5, layers: Layers::Listed(list.to_vec()) }), "{name}");
    }
    Ok(())
}

#[test]
fn what_llama_cpp_does_otherwise_is_noted() -> Outcome {
    for (name, says) in [
        ("smollm3", "beta_fast for 32 and beta_slow for 1 in this architecture, which are 2 and 0.5 here"),
        ("phi3", "no sliding windows for this architecture: beyond 5 tokens"),
    ] {
        let about = About::of(&Scratch::with(name, "noted")?.model()?)?;
        assert_eq!(about.notes().iter().filter(|note| note.contains(says)).count(), 1, "{name}: {:?}", about.notes());
    }
    Ok(())
}

/// What no key says is refused, if llama.cpp takes it otherwise.
#[test]
fn what_cannot_be_said_is_refused() -> Outcome {
    for (name, says) in [
        ("gemma2", "query_pre_attn_scalar is 20, which a GGUF file cannot say: llama.cpp takes 8"),
        ("gemma3", "query_pre_attn_scalar is 20"),
        ("smollm3", "no_rope_layers is [1, 0], which a GGUF file cannot say: llama.cpp takes [1, 1]"),
        ("cohere", "use_qk_norm is true"),
        ("qwen3-moe", "the number of layers without experts is 1"),
        ("helium", "model_type helium is not written as GGUF; written: llama"),
    ] {
        let refused = About::of(&ModelSource::open(&folder(name))?).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(refused.contains(says) && refused.contains("config.json"), "{name}: {refused}");
    }
    Ok(())
}

/// `convert_hf_to_gguf.py --fuse-qkv` makes one tensor of q, k and v, and one of their biases.
#[test]
fn queries_keys_and_values_in_one_tensor_are_taken_apart() -> Outcome {
    let scratch = Scratch::with("qwen2", "fused")?;
    for name in ["qwen2", "llama3-rope"] {
        let theirs = file(name)?;
        let (order, weights) = (["attn_q", "attn_k", "attn_v"], theirs.weights()?);
        let stored = |stem: &str, part: &str, kind: &str| {
            let of_hugging_face = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"];
            let at = order.iter().position(|one| *one == part)?;
            let layer = stem.strip_prefix("blk.")?;
            weights.get(&format!("model.layers.{layer}.{}.{kind}", of_hugging_face[at])).cloned()
        };
        let widened: Vec<Vec<f32>> = (0..2)
            .flat_map(|layer| ["weight", "bias"].map(|kind| (layer, kind)))
            .map(|(layer, kind)| {
                let parts = order.iter().filter_map(|part| stored(&format!("blk.{layer}"), part, kind));
                // As the file has them: BF16 or F32, rows in its order.
                parts.flat_map(|part| as_stored(&part)).collect()
            })
            .collect();
        let mut tensors = Vec::new();
        for (i, numbers) in widened.iter().enumerate().filter(|(_, numbers)| !numbers.is_empty()) {
            let (layer, kind) = (i / 2, ["weight", "bias"][i % 2]);
            let shape = if kind == "weight" { vec![numbers.len() / 32, 32] } else { vec![numbers.len()] };
            tensors.push(GgufTensor {
                name: format!("blk.{layer}.attn_qkv.{kind}"),
                shape,
                numbers: vec![Numbers::Floats(numbers)],
                order: RowOrder::AsIs,
                plus: 0.0,
                stored: GgufType::F32,
            });
        }
        let path = scratch.0.join("fused.gguf");
        GgufFile { entries: Entries::as_read(theirs.entries()), tensors }.write(&path)?;
        let (mut fused, mut apart) = (Gguf::open(&path)?.weights()?, theirs.weights()?);
        let names = fused.remaining();
        assert_eq!(names.len(), if name == "qwen2" { 12 } else { 6 }, "{names:?}");
        for tensor in names {
            let shape = fused.get(&tensor).ok_or("fused")?.shape.clone();
            let [got, want] = [&mut fused, &mut apart].map(|weights| match shape[..] {
                [rows, cols] => weights.take_matrix(&Memory::new(), &tensor, rows, cols).map(|matrix| matrix.to_f32()),
                _ => weights.take_vector(&tensor, &shape),
            });
            assert_eq!(got?, want?, "{name}: {tensor}");
        }
    }
    Ok(())
}

/// Writes a file of these entries and a tensor of this many rows of one number.
fn of_rows(entries: Entries, name: &str, rows: usize, path: &Path) -> Outcome<Gguf> {
    let numbers = vec![0.0; rows];
    let tensor = GgufTensor {
        name: name.to_owned(),
        shape: vec![rows, 1],
        numbers: vec![Numbers::Floats(&numbers)],
        order: RowOrder::AsIs,
        plus: 0.0,
        stored: GgufType::F32,
    };
    GgufFile { entries, tensors: vec![tensor] }.write(path)?;
    Ok(Gguf::open(path)?)
}

#[test]
fn joined_tensors_that_lie_are_refused() -> Outcome {
    for (name, tensor, rows, count, says) in [
        ("qwen2", "blk.0.attn_qkv.weight", 65, 0, "has 65 rows, and the queries, keys and values in it have 64"),
        ("mixtral", "blk.0.ffn_up_exps.weight", 5, 4, "has 5 rows, and the experts in it have 4"),
        ("mixtral", "blk.0.ffn_up_exps.weight", 10_001, 10_001, "has 10001 rows, and the experts"),
    ] {
        let scratch = Scratch::with(name, "lies")?;
        let mut entries = Entries::as_read(file(name)?.entries());
        if count > 0 {
            entries.set("llama.expert_count", Entry::U32(count));
        }
        let gguf = of_rows(entries, tensor, rows, &scratch.0.join("lies.gguf"))?;
        let refused = gguf.weights().err().map(|e| e.to_string()).unwrap_or_default();
        assert!(refused.contains(says) && refused.contains(tensor), "{name}: {refused}");
    }
    Ok(())
}

/// The numbers of a tensor in the order of its file.
fn as_stored(stored: &Stored) -> Vec<f32> {
    let bytes = stored.bytes.as_slice();
    match stored.dtype {
        DType::Bf16 => {
            bytes.chunks(2).map(|b| f32::from_bits(u32::from(u16::from_le_bytes([b[0], b[1]])) << 16)).collect()
        }
        _ => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
    }
}

#[test]
fn other_architectures_are_refused_by_name() -> Outcome {
    let bytes = std::fs::read(converted("qwen2.gguf"))?;
    let at = bytes.windows(5).position(|five| five == b"qwen2").ok_or("no architecture")?;
    let renamed = [&bytes[..at], b"mamba", &bytes[at + 5..]].concat();
    let refused = DecoderConfig::from_gguf(&Gguf::from_bytes(Path::new("m.gguf"), renamed)?);
    let refused = refused.err().map(|e| e.to_string()).unwrap_or_default();
    let says = "m.gguf: architecture mamba is not read from GGUF files; read: llama, qwen2, qwen3, qwen3moe, gemma";
    assert!(refused.starts_with(says), "{refused}");
    // OLMo 3 calls itself OLMo 2, and has windows.
    let gguf = file("olmo2")?;
    let mut entries = Entries::as_read(gguf.entries());
    entries.set("olmo2.attention.sliding_window", Entry::U32(5));
    let scratch = Scratch::with("olmo2", "windows")?;
    let gguf = of_rows(entries, "token_embd.weight", 64, &scratch.0.join("olmo3.gguf"))?;
    let refused = DecoderConfig::from_gguf(&gguf).err().map(|e| e.to_string()).unwrap_or_default();
    assert!(refused.contains("attention.sliding_window is 5, and olmo2 has no windows"), "{refused}");
    Ok(())
}
