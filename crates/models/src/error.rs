//! What can be wrong with a model on disk.

use std::path::PathBuf;

use crate::config::ConfigError;
use crate::tokenizer::TokenizerError;
use crate::vision::ProcessorError;
use crate::weights::gguf::GgufError;

/// A failure to read a model, with the file it is about.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A kernel or a frozen weight refused its input.
    #[error(transparent)]
    Autograd(#[from] loract_autograd::Error),
    /// The operating system refused a file.
    #[error("cannot read {}: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: std::io::Error,
    },
    /// There is nothing at the path, or nothing that is a model.
    #[error("no model at {}: {found}; expected a folder with config.json and model.safetensors, or a .gguf file", path.display())]
    NoModel {
        /// The path given.
        path: PathBuf,
        /// What is there instead.
        found: String,
    },
    /// A file should hold JSON and does not.
    #[error("{} is not the JSON expected: {reason}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The parser's words.
        reason: serde_json::Error,
    },
    /// The configuration cannot be used.
    #[error("{}: {reason}", path.display())]
    Config {
        /// The file it comes from.
        path: PathBuf,
        /// What is wrong with it.
        reason: ConfigError,
    },
    /// The settings by which pictures become numbers cannot be used.
    #[error("{}: {reason}", path.display())]
    Processor {
        /// The file they come from.
        path: PathBuf,
        /// What is wrong with them.
        reason: ProcessorError,
    },
    /// The tokenizer cannot be used.
    #[error("tokenizer of {}: {reason}", path.display())]
    Tokenizer {
        /// The file it comes from.
        path: PathBuf,
        /// What is wrong with it.
        reason: TokenizerError,
    },
    /// The folder has a configuration and no weights.
    #[error("no weights in {}: expected model.safetensors, or model.safetensors.index.json with its shards", folder.display())]
    NoWeights {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder has only weights pickled by PyTorch, which can run code when opened.
    #[error("{} is pickled by PyTorch, which is not read: convert it to model.safetensors, for example with save_pretrained(safe_serialization=True) in Python", path.display())]
    PickledWeights {
        /// The file.
        path: PathBuf,
    },
    /// A safetensors file is damaged.
    #[error("{} is not a complete safetensors file: {reason}; fetch it again", path.display())]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// The parser's words.
        reason: safetensors::SafeTensorError,
    },
    /// A tensor is stored in a type that is not read.
    #[error("{}: {tensor} is stored as {dtype}, which is not supported yet; supported: {supported}", path.display())]
    StoredType {
        /// The file.
        path: PathBuf,
        /// The tensor, as the file calls it.
        tensor: String,
        /// Its type.
        dtype: String,
        /// The types that are read from such files.
        supported: &'static str,
    },
    /// A shard that the index names is not there.
    #[error("shard {} named by {} is missing; fetch it again", shard.display(), index.display())]
    MissingShard {
        /// The index.
        index: PathBuf,
        /// The shard.
        shard: PathBuf,
    },
    /// A shard lacks a tensor that the index says it has.
    #[error("{} says that {} holds {tensor}, and it does not; index and shards are of different versions: fetch both again", index.display(), shard.display())]
    NotInShard {
        /// The index.
        index: PathBuf,
        /// The shard.
        shard: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// One tensor is stored twice.
    #[error("{tensor} is stored twice, in {} and in {}; fetch the files again", first.display(), second.display())]
    StoredTwice {
        /// The tensor.
        tensor: String,
        /// A file that has it.
        first: PathBuf,
        /// Another, or the same.
        second: PathBuf,
    },
    /// A GGUF file is damaged or of an unknown kind.
    #[error("{}: {reason}", path.display())]
    Gguf {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: GgufError,
    },
    /// A tensor that was asked for is not stored.
    #[error("{} has no tensor {tensor}", path.display())]
    MissingTensor {
        /// Where it was looked for.
        path: PathBuf,
        /// Its Hugging Face name.
        tensor: String,
    },
    /// A tensor has another shape than asked for.
    #[error("{}: {tensor} is stored as {stored}, expected {expected}", path.display())]
    WrongShape {
        /// The file.
        path: PathBuf,
        /// Its Hugging Face name.
        tensor: String,
        /// Shape in the file.
        stored: String,
        /// Shape the configuration asks for.
        expected: String,
    },
    /// A text comes to the length from which on this model's rope turns all of it otherwise.
    #[error(
        "with {tokens} tokens the text counts as long, in which its first {past} have other keys than those in the cache; empty the cache and give the whole text"
    )]
    BecomesLong {
        /// Tokens in the cache.
        past: usize,
        /// Tokens with those given.
        tokens: usize,
    },
    /// A sequence is longer than the model was made for.
    #[error(
        "a sequence of {tokens} tokens is longer than the model's context of {context}; shorten it (rows of data: --seq-len {context} cuts them)"
    )]
    Context {
        /// Tokens of the sequence.
        tokens: usize,
        /// Most that the model takes.
        context: usize,
    },
    /// Numbers that are not those of whole images.
    #[error(
        "{numbers} numbers are not whole images of {channels} channels, {height}x{width} pixels each; give a multiple of {}",
        channels * height * width
    )]
    Pixels {
        /// Numbers given.
        numbers: usize,
        /// Channels of the model's images.
        channels: usize,
        /// Their height.
        height: usize,
        /// Their width.
        width: usize,
    },
    /// Labels of some images only.
    #[error("{labels} labels for {images} images; give one for each, or none")]
    Labels {
        /// Labels.
        labels: usize,
        /// Images.
        images: usize,
    },
    /// A label that is none of the classes.
    #[error("label {label} is none of the model's {classes} classes, which are 0 to {}", classes - 1)]
    Label {
        /// The label.
        label: u32,
        /// Classes of the head.
        classes: usize,
    },
    /// A batch without images.
    #[error("a batch has no images; give some")]
    NoImages,
    /// There is nothing to go on from.
    #[error("the text to go on from has no tokens; give some")]
    NoTokens,
    /// A model's logits are not numbers.
    #[error(
        "the logits behind {tokens} tokens are not finite: weights or adapter are damaged, or come from a run that diverged"
    )]
    Logits {
        /// Tokens of the text so far.
        tokens: usize,
    },
    /// LoRA rank 0.
    #[error("LoRA rank 0: the least is 1")]
    LoraRank,
    /// A LoRA target matches no layer.
    #[error("LoRA target `{target}` matches no layer; the layers are {known}")]
    NoSuchTarget {
        /// The target.
        target: String,
        /// Last parts of the layers' names.
        known: String,
    },
    /// A module to train as a whole does not exist.
    #[error("module `{module}` does not exist; the modules are {known}")]
    NoSuchModule {
        /// The name.
        module: String,
        /// Last parts of the modules' names.
        known: String,
    },
    /// A layer is to be trained as a whole and to get a LoRA pair.
    #[error("{layer} is in modules-to-save and among the LoRA targets; leave it out of one of them")]
    ModuleIsTarget {
        /// The layer.
        layer: String,
    },
    /// An adapter's settings cannot be used.
    #[error("{}: {what}", path.display())]
    Adapter {
        /// The settings file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Weights and configuration do not belong together; every mismatch at once.
    #[error("weights in {} do not fit the configuration: {}; check that configuration and weights belong together and that every file is complete",
        path.display(), mismatches(&[("missing", missing), ("of a wrong shape", wrong), ("unknown", unknown)]))]
    Weights {
        /// The file or folder.
        path: PathBuf,
        /// Names asked for and not stored.
        missing: Vec<String>,
        /// "name: stored 3x4, expected 4x4".
        wrong: Vec<String>,
        /// Names stored and not asked for.
        unknown: Vec<String>,
    },
}

impl Error {
    /// Whether the input is at fault, rather than the machine or what the numbers came to.
    pub fn is_bad_input(&self) -> bool {
        use loract_autograd::Error as Op;
        match self {
            Error::Autograd(op) => matches!(op, Op::FrozenSize { .. } | Op::TokenId { .. }),
            _ => true,
        }
    }
}

/// Names of each kind that a message lists; the rest is counted.
const LISTED: usize = 8;

fn mismatches(kinds: &[(&str, &Vec<String>)]) -> String {
    let some = kinds.iter().filter(|(_, names)| !names.is_empty());
    some.map(|(kind, names)| {
        let listed = names[..names.len().min(LISTED)].join(", ");
        let more = if names.len() > LISTED { format!(" and {} more", names.len() - LISTED) } else { String::new() };
        format!("{} {kind} ({listed}{more})", names.len())
    })
    .collect::<Vec<_>>()
    .join("; ")
}
