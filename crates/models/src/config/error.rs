//! What can be wrong with a configuration.

/// A configuration that is damaged or of a model that is not supported.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are the words of the messages")]
pub enum ConfigError {
    /// A key that is needed is not there.
    #[error("{key} is missing; it has no default")]
    Missing { key: &'static str },
    /// A key has a value of another kind.
    #[error("{key} is {found}, expected {expected}")]
    Kind { key: String, found: String, expected: &'static str },
    /// A family that is not written as GGUF.
    #[error(
        "model_type {found} is not written as GGUF; written: {known} (`loract merge` makes a folder, which other \
         programs read)"
    )]
    NotAsGguf { found: super::ModelType, known: String },
    /// What an architecture of llama.cpp has no key for, and does otherwise.
    #[error(
        "{key} is {found}, which a GGUF file cannot say: llama.cpp takes {taken} (`loract merge` makes a folder, which other \
         programs read)"
    )]
    NotSaid { key: &'static str, found: String, taken: String },
    /// A family that is not supported.
    #[error("model_type {found} is not supported{}", super::family::instead_of(found))]
    ModelType { found: String },
    /// A GGUF file of an architecture that is not supported.
    #[error(
        "architecture {found} is not read from GGUF files; read: {known} (other families are read from Hugging Face folders)"
    )]
    Architecture { found: String, known: String },
    /// An activation that is not supported.
    #[error("{key} {found} is not supported; supported: {known}")]
    Activation { key: &'static str, found: String, known: String },
    /// A rope type that is not supported.
    #[error("rope type {found} is not supported; supported: default, linear, llama3, yarn, longrope")]
    RopeType { found: String },
    /// Rope factors that are not those of Llama 3.
    #[error(
        "rope_freqs.weight holds factors that are not of the kind llama3 with an original context of \
         {original_context}; use the safetensors version of the model"
    )]
    RopeFactors { original_context: usize },
    /// The part of a head that turns is none, odd or more than the head.
    #[error(
        "partial_rotary_factor makes {rotated} of {head_dim} features of a head turn, expected an even number of 2 to {head_dim}"
    )]
    Rotated { rotated: usize, head_dim: usize },
    /// LongRoPE has a factor for each frequency.
    #[error("{key} lists {found} numbers, expected {expected}, one for each two features that turn")]
    LongFactors { key: &'static str, found: usize, expected: usize },
    /// Tokens that see those after them.
    #[error("use_bidirectional_attention is true; supported: tokens that see those before them")]
    Bidirectional,
    /// Norms of heads where a family seldom has them.
    #[error("qk_layernorm is true, which is not supported for phi and stablelm; supported: false")]
    HeadNorms,
    /// Experts in a GGUF file of an architecture that has none.
    #[error(
        "{experts} experts a layer, which are not read from GGUF files of this architecture; use the safetensors version of \
         the model"
    )]
    GgufExperts { experts: u64 },
    /// Windows in a GGUF file whose family has none (OLMo 3 has the architecture of OLMo 2).
    #[error("attention.sliding_window is {tokens}, and {family} has no windows; models of the kind are not supported")]
    GgufWindow { tokens: u64, family: super::ModelType },
    /// A number is zero or too large.
    #[error("{key} is {size}, expected 1 to {most}")]
    OutOf { key: &'static str, size: usize, most: usize },
    /// Values of another width than keys.
    #[error("values of width {value} and keys of width {key} are not supported; supported: the same width")]
    ValueWidth { key: usize, value: usize },
    /// A size is zero or absurd.
    #[error("{key} is {size}, expected 1 to 4294967295")]
    Size { key: &'static str, size: usize },
    /// More layers than any decoder has.
    #[error("num_hidden_layers is {layers}, expected at most {most}")]
    Layers { layers: usize, most: usize },
    /// A list of layers is of another number of them.
    #[error("{key} lists {listed} layers, num_hidden_layers is {layers}")]
    LayerList { key: &'static str, listed: usize, layers: usize },
    /// Attention of a kind that is not supported.
    #[error("layer_types has {found}; supported: full_attention, sliding_attention")]
    LayerType { found: String },
    /// Query heads cannot share key and value heads evenly.
    #[error("num_attention_heads {heads} is not a multiple of num_key_value_heads {kv_heads}")]
    Heads { heads: usize, kv_heads: usize },
    /// A head of odd width cannot be rotated.
    #[error("head_dim is {head_dim}, expected an even number")]
    OddHead { head_dim: usize },
    /// The width of a head is neither said nor implied.
    #[error("hidden_size {hidden_size} is not a multiple of num_attention_heads {heads}, and head_dim is not said")]
    NoHeadDim { hidden_size: usize, heads: usize },
    /// A number that must be positive and finite.
    #[error("{key} is {value}, expected a positive number")]
    NotPositive { key: &'static str, value: f64 },
    /// Llama 3's two limits of wavelengths are in the wrong order.
    #[error("low_freq_factor {low} is not below high_freq_factor {high}")]
    RopeLimits { low: f64, high: f64 },
    /// A family of image encoders that is not supported.
    #[error("model_type {found} is not supported for images; supported: {}", super::supported_for_images())]
    VisionType { found: String },
    /// An image smaller than a patch.
    #[error("image_size {}x{} has no patch of {}x{}; give a larger size", image[0], image[1], patch[0], patch[1])]
    NoPatch { image: [usize; 2], patch: [usize; 2] },
    /// An image that ends within a patch, where a table of positions has a row for each.
    #[error(
        "image_size {}x{} is not a multiple of patch_size {}x{}, as a table of positions needs it", image[0], image[1], patch[0], patch[1]
    )]
    PartOfPatch { image: [usize; 2], patch: [usize; 2] },
    /// A map smaller than a window of attention.
    #[error(
        "window_size is {window}, the map of stage {stage} (from 0) is {}x{}; larger images have larger maps", map[0], map[1]
    )]
    Window { window: usize, map: [usize; 2], stage: usize },
    /// Lists of stages that do not fit each other.
    #[error("depths lists {depths} stages and num_heads {heads}, expected as many, 1 to 16")]
    Stages { depths: usize, heads: usize },
    /// A size that is neither one number nor two.
    #[error("{key} lists {found} numbers, expected one, or height and width")]
    Pair { key: &'static str, found: usize },
    /// A class without a name.
    #[error("id2label has {labels} names and none for {number}; expected 0 to {}", labels - 1)]
    NoLabel { number: usize, labels: usize },
}
