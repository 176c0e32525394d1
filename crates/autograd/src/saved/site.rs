//! Where activations are kept for backward: the sites of the method, as named in the paper's reference, and ours.

use std::fmt;
use std::str::FromStr;

/// A place where an op keeps something for backward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Site {
    /// x̂ of the norm before attention or before the MLP (m×C); shared with `attn_in` / `mlp_in`.
    Norm,
    /// Input of the q, k, v projections (m×C).
    AttnIn,
    /// Input of the output projection (m×H·D).
    AttnOut,
    /// Input of gate and up (m×C).
    MlpIn,
    /// Inputs of the activation: gate and up (m×F each; of an expert, of its rows), or one without a gate.
    ActFn,
    /// Input of the down projection (m×F; of an expert, of its rows).
    MlpOut,
    /// Input of a recomputed attention sub-layer: the norm's output (m×C).
    CkptAttn,
    /// Input of a recomputed MLP sub-layer: the norm's output (m×C).
    CkptMlp,
    /// Input of a recomputed layer: the residual stream (m×C).
    CkptLayer,
    /// q, k and v after rope (m×H·D, twice m×H_kv·D).
    AttnQkv,
    /// x·Aᵀ of a LoRA pair (m×r); always exact, so the gradient of B is exact.
    LoraXa,
    /// Row statistics of norms, and who goes to which expert with what weight; always exact.
    RowStats,
    /// Gradient of the loss with respect to the head's input (trained rows × C); always exact.
    LossGrad,
    /// Which elements a clamp let pass, a bit each; always exact.
    Clamped,
    /// Input of a trained layer scale (m×C); always exact.
    LayerScale,
    /// Pixels of the patches (m×channels·P²), if the patch projection is trained; always exact.
    Pixels,
}

impl Site {
    /// The sites that can be compressed, in the order of a layer.
    pub const COMPRESSIBLE: [Site; 10] = [
        Site::Norm,
        Site::AttnIn,
        Site::AttnQkv,
        Site::AttnOut,
        Site::MlpIn,
        Site::ActFn,
        Site::MlpOut,
        Site::CkptAttn,
        Site::CkptMlp,
        Site::CkptLayer,
    ];

    /// Whether an error in what is kept here changes the gradient of the op's input, and so those of every layer below.
    /// At the other, terminal sites it changes one gradient of a LoRA pair (of a layer scale, of the patch projection) and
    /// nothing else.
    pub fn propagates(self) -> bool {
        use Site::{AttnIn, AttnOut, LayerScale, LoraXa, MlpIn, MlpOut, Pixels};
        !matches!(self, AttnIn | AttnOut | MlpIn | MlpOut | LoraXa | LayerScale | Pixels)
    }

    /// The name in flags, configuration and reports.
    pub fn name(self) -> &'static str {
        match self {
            Site::Norm => "norm",
            Site::AttnIn => "attn_in",
            Site::AttnOut => "attn_out",
            Site::MlpIn => "mlp_in",
            Site::ActFn => "act_fn",
            Site::MlpOut => "mlp_out",
            Site::CkptAttn => "ckpt_attn",
            Site::CkptMlp => "ckpt_mlp",
            Site::CkptLayer => "ckpt_layer",
            Site::AttnQkv => "attn_qkv",
            Site::LoraXa => "lora_xa",
            Site::RowStats => "row_stats",
            Site::LossGrad => "loss_grad",
            Site::Clamped => "clamped",
            Site::LayerScale => "layer_scale",
            Site::Pixels => "pixels",
        }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Site {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Site::COMPRESSIBLE.into_iter().find(|s| s.name() == text).ok_or_else(|| {
            let known: Vec<_> = Site::COMPRESSIBLE.iter().map(|s| s.name()).collect();
            format!("unknown site `{text}`; the sites are {}", known.join(", "))
        })
    }
}
