//! What a family says of itself.

use loract_autograd::ops::{Activation, NormKind, RopePairs};
use serde_json::{Map, Value};

use super::AttentionBias;
use crate::config::json::Fields;
use crate::config::{Block, ConfigError, DecoderConfig};

/// What a family takes for granted.
#[derive(Debug)]
pub(crate) struct Family {
    /// `model_type`.
    pub name: &'static str,
    /// The class in Transformers.
    pub class: &'static str,
    /// Longest sequence, if `max_position_embeddings` is not said.
    pub context: usize,
    /// `original_max_position_embeddings`, where it has a default outside the keys of rope.
    pub original_context: Option<usize>,
    /// Key and value heads, if they are not said; `None` = as many as query heads.
    pub kv_heads: Option<usize>,
    /// Width of a head, if it is not said; `None` = C divided by the heads.
    pub head_dim: Option<usize>,
    /// The key of the activation, and which it is by default.
    pub activation: (&'static str, Activation),
    /// The key of what is added to the mean square in norms, if there is one, and what it is by default.
    pub eps: (Option<&'static str>, f64),
    /// Base of the rotary frequencies, if it is not said.
    pub theta: f64,
    /// Part of each head that turns, if it is not said.
    pub rotated: f64,
    /// Whether the head is the embedding, if it is not said.
    pub tied: bool,
    /// How it says what has a bias in attention.
    pub attention_bias: AttentionBiasKey,
    /// The key that says whether the MLP has biases, if there is one, and whether it has by default.
    pub mlp_bias: (Option<&'static str>, bool),
    /// How it says how far tokens see.
    pub window: WindowKeys,
    /// Whether the mean is subtracted in norms.
    pub norm: NormKind,
    /// What its norms have.
    pub norm_weights: NormWeights,
    /// How attention and MLP follow each other, if nothing else is said.
    pub block: Block,
    /// Where the norms are.
    pub norms: Norms,
    /// Norms of the heads of q and k.
    pub head_norm: HeadNorms,
    /// The projections of attention.
    pub attention: AttentionNames,
    /// The MLP.
    pub mlp: MlpNames,
    /// The names in layers that have experts instead.
    pub experts: ExpertNames,
    /// Which features of a head turn together.
    pub pairs: RopePairs,
    /// The last norm.
    pub final_norm: &'static str,
    /// Whether the head has a bias.
    pub head_bias: bool,
    /// Reads what no other family has.
    pub read: fn(&Fields<'_>, &mut DecoderConfig) -> Result<(), ConfigError>,
    /// Writes what `read` reads.
    pub write: fn(&DecoderConfig, &mut Map<String, Value>),
}

/// How a family says which projections of attention have a bias.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AttentionBiasKey {
    /// The key that says whether there are any, if there is one.
    pub key: Option<&'static str>,
    /// Whether there are by default.
    pub default: bool,
    /// Which, if there are.
    pub which: AttentionBias,
}

/// How a family says how far tokens see; the number is `sliding_window`, by default `tokens`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum WindowKeys {
    /// They see everything, or its `read` knows.
    Never,
    /// That far in every layer.
    Every { tokens: Option<usize> },
    /// In every layer, if `use_sliding_window`.
    EveryIfUsed { tokens: usize },
    /// If `use_sliding_window`, in the layers of `layer_types`, or else from `max_window_layers` on.
    UpperIfUsed { tokens: usize, full: usize },
    /// In the layers of `layer_types`, or else in all but each `sliding_window_pattern`th.
    Pattern { tokens: usize, period: usize },
}

/// What norms have beside ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NormWeights {
    /// Nothing.
    None,
    /// A weight.
    Weight,
    /// A weight that is kept less one.
    LessOne,
    /// A weight and a bias.
    WeightAndBias,
}

/// The norms of a layer; without one before them, attention and MLP have the residual stream itself. In a parallel block that before
/// attention is for both.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Norms {
    pub before_attention: Option<&'static str>,
    pub after_attention: Option<&'static str>,
    pub before_mlp: Option<&'static str>,
    pub after_mlp: Option<&'static str>,
}

/// Norms of the heads of q and k, before rope.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadNorms {
    pub when: When,
    pub names: [&'static str; 2],
    pub over: Over,
}

/// When there is something.
#[derive(Debug, Clone, Copy)]
pub(crate) enum When {
    Never,
    Always,
    /// If this key says so.
    Asked(&'static str),
}

/// What of q or k is normed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// Each head, with one weight for all.
    Head,
    /// Each head, with a weight of its own: heads×D numbers.
    OwnHead,
    /// All heads of a token together.
    Row,
}

/// The projections of attention.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AttentionNames {
    pub qkv: QkvNames,
    pub o: &'static str,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum QkvNames {
    Apart([&'static str; 3]),
    /// One matrix, whose outputs are q, k and v.
    Fused(&'static str),
}

/// The kinds of MLP.
#[derive(Debug, Clone, Copy)]
pub(crate) enum MlpNames {
    /// down(act(gate(x))·up(x)).
    Gated { gate: &'static str, up: &'static str, down: &'static str },
    /// The same, of one matrix whose outputs are gate and up.
    Fused { gate_up: &'static str, down: &'static str },
    /// down(act(up(x))).
    Plain { up: &'static str, down: &'static str },
}

/// The parts of a mixture of experts; those of an expert are `experts.E.part`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ExpertNames {
    pub router: &'static str,
    pub experts: &'static str,
    /// Gate, up and down.
    pub parts: [&'static str; 3],
}

/// Nothing more to read.
pub(super) fn nothing_more(_: &Fields<'_>, _: &mut DecoderConfig) -> Result<(), ConfigError> {
    Ok(())
}

/// Nothing more to write.
pub(super) fn nothing_written(_: &DecoderConfig, _: &mut Map<String, Value>) {}
