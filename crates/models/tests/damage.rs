//! Damaged and hostile files: always a typed error that names the file, never a panic, a hang or a large allocation.

use std::error::Error as StdError;
use std::path::{Path, PathBuf};

use loract_autograd::Memory;
use loract_models::weights::gguf::{Gguf, GgufError};
use loract_models::weights::safetensors;
use loract_models::{Error, ModelSource, Weights};
use loract_testkit::golden::folder;

type Outcome = Result<(), Box<dyn StdError>>;

/// A folder that goes when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("loract-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn read_all(mut weights: Weights) -> Result<(), Error> {
    let memory = Memory::new();
    for name in weights.remaining() {
        let shape = weights.get(&name).map(|stored| stored.shape.clone()).unwrap_or_default();
        match shape[..] {
            [len] => drop(weights.take_vector(&name, &[len])?),
            [rows, cols] => drop(weights.take_matrix(&memory, &name, rows, cols)?.to_f32()),
            _ => {}
        }
    }
    Ok(())
}

fn read_gguf(bytes: &[u8]) -> Result<(), Error> {
    let source = ModelSource::from_gguf_bytes("bytes.gguf", bytes.to_vec())?;
    read_all(source.weights)
}

/// Every length up to the end of the header, then every seventh.
fn cuts(len: usize, header: usize) -> impl Iterator<Item = usize> {
    (0..header).chain((header..len).step_by(7))
}

#[test]
fn truncated_gguf() -> Outcome {
    for (file, header, padding) in [("llama.gguf", 4096, 0), ("blocks.gguf", 1024, 31)] {
        let bytes = std::fs::read(folder("gguf").join(file))?;
        for cut in cuts(bytes.len() - padding, header) {
            let short = Gguf::from_bytes(Path::new("cut.gguf"), bytes[..cut].to_vec()).and_then(|gguf| gguf.weights());
            match short {
                Ok(_) => return Err(format!("{file} cut at {cut} was accepted").into()),
                Err(e) => assert!(e.to_string().contains("cut.gguf: "), "{e}"),
            }
        }
    }
    Ok(())
}

#[test]
fn truncated_safetensors() -> Outcome {
    let bytes = std::fs::read(folder("llama-tied").join("model.safetensors"))?;
    for cut in cuts(bytes.len(), 4096) {
        match safetensors::from_bytes(Path::new("cut.safetensors"), bytes[..cut].to_vec()) {
            Ok(_) => return Err(format!("cut at {cut} was accepted").into()),
            Err(e) => {
                assert!(matches!(&e, Error::Safetensors { .. }) && e.to_string().contains("cut.safetensors"), "{e}")
            }
        }
    }
    Ok(())
}

#[test]
fn truncated_files_on_disk() -> Outcome {
    let scratch = Scratch::new("truncated")?;
    let (gguf, tensors) = (scratch.0.join("m.gguf"), scratch.0.join("model.safetensors"));
    let whole_gguf = std::fs::read(folder("gguf").join("llama.gguf"))?;
    let whole_tensors = std::fs::read(folder("llama-tied").join("model.safetensors"))?;
    std::fs::copy(folder("llama-tied").join("config.json"), scratch.0.join("config.json"))?;
    for cut in [0, 1, 7, 8, 100, 2000, 5000, whole_tensors.len() - 1] {
        std::fs::write(&gguf, &whole_gguf[..cut])?;
        std::fs::write(&tensors, &whole_tensors[..cut])?;
        for path in [gguf.as_path(), scratch.0.as_path()] {
            assert!(ModelSource::open(path).is_err(), "{} cut at {cut}", path.display());
        }
    }
    Ok(())
}

#[test]
fn flipped_bytes_never_panic() -> Outcome {
    let whole = std::fs::read(folder("gguf").join("llama.gguf"))?;
    for at in 0..whole.len().min(5000) {
        for flip in [0x01, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            let _ = read_gguf(&bytes);
        }
    }
    let whole = std::fs::read(folder("llama-tied").join("model.safetensors"))?;
    for at in 0..whole.len().min(4000) {
        for flip in [0x01, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            let _ = safetensors::from_bytes(Path::new("flipped.safetensors"), bytes).and_then(read_all);
        }
    }
    Ok(())
}

/// The beginning of a GGUF file with so many tensors and metadata pairs.
fn head(tensors: u64, pairs: u64) -> Vec<u8> {
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend(tensors.to_le_bytes());
    bytes.extend(pairs.to_le_bytes());
    bytes
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

fn refused(bytes: Vec<u8>) -> Result<GgufError, Box<dyn StdError>> {
    match Gguf::from_bytes(Path::new("lie.gguf"), bytes).and_then(|gguf| gguf.weights()) {
        Err(Error::Gguf { reason, .. }) => Ok(reason),
        Err(other) => Err(other.into()),
        Ok(_) => Err("accepted".into()),
    }
}

#[test]
fn lying_gguf_lengths() -> Outcome {
    for bytes in [head(u64::MAX, 0), head(0, u64::MAX), head(u64::MAX, u64::MAX)] {
        assert!(matches!(refused(bytes)?, GgufError::Ends { .. }));
    }
    // A string, an array of bytes, of 8-byte numbers, of strings and of arrays, each longer than the file.
    for (type_id, element) in [(8u32, None), (9, Some(0u32)), (9, Some(12)), (9, Some(8)), (9, Some(9))] {
        for len in [u64::MAX, u64::MAX / 8, 1 << 40] {
            let mut bytes = head(0, 1);
            text(&mut bytes, "key");
            bytes.extend(type_id.to_le_bytes());
            bytes.extend(element.into_iter().flat_map(u32::to_le_bytes));
            bytes.extend(len.to_le_bytes());
            bytes.extend([0; 16]);
            let reason = refused(bytes)?;
            assert!(matches!(reason, GgufError::Ends { .. }), "{type_id} {element:?}: {reason}");
        }
    }
    // Arrays in arrays until the end of the file.
    let mut bytes = head(0, 1);
    text(&mut bytes, "key");
    bytes.extend(9u32.to_le_bytes());
    for _ in 0..100_000 {
        bytes.extend(9u32.to_le_bytes());
        bytes.extend(1u64.to_le_bytes());
    }
    assert!(matches!(refused(bytes)?, GgufError::TooDeep { .. }));
    Ok(())
}

/// A file with one tensor "t" of these sizes (fastest first), type and offset, and 64 bytes of data.
fn one_tensor(sizes: &[u64], type_id: u32, offset: u64) -> Vec<u8> {
    named_tensor("t", sizes, type_id, offset)
}

fn named_tensor(name: &str, sizes: &[u64], type_id: u32, offset: u64) -> Vec<u8> {
    let mut bytes = head(1, 0);
    text(&mut bytes, name);
    bytes.extend((sizes.len() as u32).to_le_bytes());
    bytes.extend(sizes.iter().flat_map(|size| size.to_le_bytes()));
    bytes.extend(type_id.to_le_bytes());
    bytes.extend(offset.to_le_bytes());
    bytes.resize(bytes.len().next_multiple_of(32) + 64, 0);
    bytes
}

#[test]
fn lying_gguf_tensors() -> Outcome {
    Gguf::from_bytes(Path::new("good.gguf"), one_tensor(&[4, 4], 0, 0))?.weights()?;
    let cases = [
        (one_tensor(&[4, 5], 0, 0), "t has 80 bytes at 96 + 0, and the file has 160; it is truncated: fetch it again"),
        (one_tensor(&[4, 4], 0, 32), "t has 64 bytes at 96 + 32"),
        (one_tensor(&[4, 4], 0, u64::MAX - 31), "t has 64 bytes at 96 + 18446744073709551584"),
        (one_tensor(&[4, 4], 0, 4), "t begins at 4, not a multiple of 32"),
        (one_tensor(&[u64::MAX, u64::MAX], 0, 0), "t has "),
        (one_tensor(&[1 << 32, 1 << 32, 1 << 32], 0, 0), "t has more numbers than this machine can count"),
        (one_tensor(&[33], 8, 0), "t has rows of 33, not a multiple of the 32 of a block of Q8_0"),
        (one_tensor(&[128], 12, 0), "t has rows of 128, not a multiple of the 256 of a block of Q4_K"),
        (one_tensor(&[256], 14, 0), "t has 210 bytes at 64 + 0"),
        (one_tensor(&[], 0, 0), "t has 0 dimensions, expected 1 to 4"),
        (one_tensor(&[1; 5], 0, 0), "t has 5 dimensions, expected 1 to 4"),
        (one_tensor(&[0], 0, 0), "t has a size of 0; the file is damaged"),
        (one_tensor(&[0, 1 << 62], 0, 0), "t has a size of 0"),
    ];
    for (bytes, want) in cases {
        let reason = refused(bytes)?.to_string();
        assert!(reason.starts_with(want), "{reason:?}, expected {want:?}");
    }
    // These are no weight, but are read before any: opening such a file panicked.
    let reason = refused(named_tensor("rope_freqs.weight", &[0], 0, 0))?.to_string();
    assert!(reason.starts_with("rope_freqs.weight has a size of 0"), "{reason}");
    let gguf = Gguf::from_bytes(Path::new("m.gguf"), one_tensor(&[256], 23, 0))?;
    let message = gguf.weights().err().map(|e| e.to_string()).unwrap_or_default();
    assert!(
        message.starts_with("m.gguf: t is stored as IQ4_XS, which is not supported yet; supported: F32,"),
        "{message}"
    );
    Ok(())
}

/// No numbers are numbers too: such tensors are legal in safetensors, and take no more than they hold.
#[test]
fn tensors_of_nothing() -> Outcome {
    let header = r#"{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},
        "b":{"dtype":"F16","shape":[0,3],"data_offsets":[0,0]},
        "c":{"dtype":"BF16","shape":[4611686018427387904,0],"data_offsets":[0,0]}}"#;
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
    let mut weights = safetensors::from_bytes(Path::new("nothing.safetensors"), bytes)?;
    let memory = Memory::new();
    assert!(weights.take_vector("a", &[0])?.is_empty());
    for (name, rows, cols) in [("b", 0, 3), ("c", 1 << 62, 0)] {
        assert!(weights.take_matrix(&memory, name, rows, cols)?.to_f32().is_empty(), "{name}");
    }
    Ok(())
}

#[test]
fn lying_safetensors_headers() -> Outcome {
    let file = |len: u64, header: &str| {
        let mut bytes = len.to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        safetensors::from_bytes(Path::new("lie.safetensors"), bytes)
    };
    for len in [u64::MAX, 1 << 40, 99_000_000, 3] {
        assert!(matches!(file(len, "{}"), Err(Error::Safetensors { .. })), "{len}");
    }
    for header in [
        r#"{"t":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,0]}}"#,
        r#"{"t":{"dtype":"F32","shape":[1],"data_offsets":[0,18446744073709551615]}}"#,
        r#"{"t":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#,
    ] {
        assert!(matches!(file(header.len() as u64, header), Err(Error::Safetensors { .. })), "{header}");
    }
    let header = r#"{"t":{"dtype":"I64","shape":[0],"data_offsets":[0,0]}}"#;
    let message = file(header.len() as u64, header).err().map(|e| e.to_string()).unwrap_or_default();
    assert!(message.starts_with("lie.safetensors: t is stored as I64, which is not supported yet"), "{message}");
    Ok(())
}

#[test]
fn folders_that_are_not_complete() -> Outcome {
    let scratch = Scratch::new("folders")?;
    let at = scratch.0.as_path();
    let message = || ModelSource::open(at).err().map(|e| e.to_string()).unwrap_or_default();
    let gone = ModelSource::open(&at.join("gone")).err().map(|e| e.to_string()).unwrap_or_default();
    assert!(gone.ends_with("gone: there is no such file or folder; expected a folder with config.json and model.safetensors, or a .gguf file"), "{gone}");
    assert!(message().contains("it is a folder without config.json"), "{}", message());
    std::fs::write(at.join("a.gguf"), "")?;
    assert!(message().contains("a.gguf, which can be given instead"), "{}", message());

    let whole = folder("llama-untied");
    std::fs::copy(whole.join("config.json"), at.join("config.json"))?;
    assert!(message().starts_with("no weights in "), "{}", message());
    std::fs::write(at.join("pytorch_model.bin"), "")?;
    assert!(
        message().contains("pytorch_model.bin is pickled by PyTorch, which is not read: convert it to"),
        "{}",
        message()
    );

    let index = "model.safetensors.index.json";
    let shard = |n: usize| format!("model-0000{n}-of-00003.safetensors");
    std::fs::copy(whole.join(index), at.join(index))?;
    for n in [1, 3] {
        std::fs::copy(whole.join(shard(n)), at.join(shard(n)))?;
    }
    assert!(message().contains(&shard(2)) && message().ends_with("is missing; fetch it again"), "{}", message());
    std::fs::copy(whole.join(shard(1)), at.join(shard(2)))?;
    assert!(message().contains("is stored twice, in "), "{}", message());
    std::fs::copy(whole.join(shard(2)), at.join(shard(2)))?;
    assert_eq!(message(), "");
    let text = std::fs::read_to_string(at.join(index))?;
    std::fs::write(at.join(index), text.replacen("\"lm_head.weight\"", "\"lm_head.other\"", 1))?;
    assert!(message().contains("holds lm_head.other, and it does not"), "{}", message());
    std::fs::write(at.join(index), "{}")?;
    assert!(message().contains("is not the JSON expected: "), "{}", message());
    Ok(())
}
