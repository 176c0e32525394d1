//! What can be wrong with a GGUF file.

use loract_autograd::DType;

/// A damaged GGUF file, or one of a kind that is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are the words of the messages")]
pub enum GgufError {
    /// The magic number is another.
    #[error("not a gguf file (it does not begin with GGUF)")]
    NotGguf,
    /// Written for a big-endian machine.
    #[error("a big-endian gguf file, which is not supported; convert it again for little-endian machines")]
    BigEndian,
    /// A version that is not read.
    #[error("gguf version {version} is not supported, expected 2 or 3; convert the model again")]
    Version { version: u32 },
    /// The file ends too early, or a length in it is a lie.
    #[error(
        "{what} at byte {at} needs {needs} bytes and {left} are left; the file is truncated or damaged: fetch it again"
    )]
    Ends { what: String, at: u64, needs: u64, left: u64 },
    /// A string is not UTF-8.
    #[error("{what} at byte {at} is not UTF-8; the file is damaged: fetch it again")]
    Utf8 { what: String, at: u64 },
    /// A value type that the format does not have.
    #[error("{what} has type {found}, and gguf has types 0 to 12; the file is damaged: fetch it again")]
    ValueType { what: String, found: u32 },
    /// Arrays in arrays without end.
    #[error("{what} nests arrays too deeply; the file is damaged: fetch it again")]
    TooDeep { what: String },
    /// A key is there twice.
    #[error("metadata key {key} is there twice; the file is damaged: fetch it again")]
    KeyTwice { key: String },
    /// A key that is needed is not there.
    #[error("metadata key {key} is missing; convert the model again with a recent llama.cpp")]
    MissingKey { key: String },
    /// A key has a value of another kind.
    #[error("metadata key {key} is not {expected}; convert the model again with a recent llama.cpp")]
    Kind { key: String, expected: &'static str },
    /// An alignment that is not a power of two.
    #[error("general.alignment is {alignment}, expected a power of two; the file is damaged: fetch it again")]
    Alignment { alignment: u64 },
    /// One of several files.
    #[error("this is one of {parts} files of a split model; join them first with llama-gguf-split --merge")]
    Split { parts: u64 },
    /// Too few or too many dimensions.
    #[error("{tensor} has {dimensions} dimensions, expected 1 to 4; the file is damaged: fetch it again")]
    Dimensions { tensor: String, dimensions: u32 },
    /// A size is zero.
    #[error("{tensor} has a size of 0; the file is damaged: fetch it again")]
    Empty { tensor: String },
    /// The number of elements is beyond the machine's.
    #[error("{tensor} has more numbers than this machine can count; the file is damaged: fetch it again")]
    Overflow { tensor: String },
    /// A row is not a whole number of blocks.
    #[error("{tensor} has rows of {cols}, not a multiple of the {} of a block of {dtype}; the file is damaged: fetch it again", dtype.block_len())]
    Row { tensor: String, dtype: DType, cols: usize },
    /// An offset is not aligned.
    #[error("{tensor} begins at {offset}, not a multiple of {alignment}; the file is damaged: fetch it again")]
    Misaligned { tensor: String, offset: u64, alignment: u64 },
    /// A tensor reaches past the end.
    #[error(
        "{tensor} has {size} bytes at {data_start} + {offset}, and the file has {file}; it is truncated: fetch it again"
    )]
    Outside { tensor: String, data_start: u64, offset: u64, size: usize, file: usize },
    /// The rows of q or k are not whole heads of even size.
    #[error(
        "{tensor} has {rows} rows, which are not {heads} heads of an even size; metadata and weights do not belong together"
    )]
    HeadRows { tensor: String, rows: usize, heads: usize },
    /// A tensor of several matrices has not as many rows as they have.
    #[error(
        "{tensor} has {rows} rows, and the {parts} in it have {expected}; metadata and weights do not belong together"
    )]
    Parts { tensor: String, parts: &'static str, rows: usize, expected: usize },
}
