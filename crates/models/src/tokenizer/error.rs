//! What can be wrong with a tokenizer or its input.

/// A tokenizer that is damaged or not supported, or input that it refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are the words of the messages")]
pub enum TokenizerError {
    /// `tokenizer.json`, or what was made of a GGUF file's parts, does not parse.
    #[error("it is damaged: {reason}; put the tokenizer.json of the original model beside the file")]
    Damaged { reason: String },
    /// A GGUF tokenizer that is not byte-level BPE.
    #[error(
        "tokenizer.ggml.model {found} is not supported (supported: gpt2); put the tokenizer.json of the original model beside the file"
    )]
    Model { found: String },
    /// A GGUF pre-tokenizer that is not known.
    #[error(
        "tokenizer.ggml.pre {found} is not supported (supported: {supported}); put the tokenizer.json of the original model beside the file"
    )]
    Pre { found: String, supported: &'static str },
    /// Lists of different lengths.
    #[error("{tokens} tokens and {types} token types; put the tokenizer.json of the original model beside the file")]
    Lengths { tokens: usize, types: usize },
    /// A token is there twice.
    #[error(
        "token {token:?} is there twice, as {first} and {second}; put the tokenizer.json of the original model beside the file"
    )]
    TokenTwice { token: String, first: usize, second: usize },
    /// A tokenizer that cannot be written into a GGUF file.
    #[error(
        "{what}, and what llama.cpp calls that is known here for {known} only; make a Hugging Face folder with `loract merge` \
         and convert that with llama.cpp's convert_hf_to_gguf.py"
    )]
    NotForLlamaCpp { what: String, known: String },
    /// More tokens than the model has rows for.
    #[error("it has {tokens} tokens and the model {vocab_size}; tokenizer and weights do not belong together")]
    TooLarge { tokens: usize, vocab_size: usize },
    /// A text was refused.
    #[error("cannot encode the text: {reason}")]
    Encode { reason: String },
    /// Ids were refused.
    #[error("cannot decode the ids: {reason}")]
    Decode { reason: String },
    /// An id that no token has.
    #[error("token id {id} is outside the tokenizer's vocabulary of {vocabulary}")]
    UnknownId { id: u32, vocabulary: usize },
}
