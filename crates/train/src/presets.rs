//! Named settings of what is kept for backward.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use loract_autograd::{Compress, Factored, Form, Policy, Quant, Rank, Recompute, Site};

/// A named setting of what is kept for backward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activations {
    /// Everything exact, nothing recomputed: plain LoRA.
    Exact,
    /// Each layer recomputed from its exact input: gradient checkpointing.
    Checkpoint,
    /// The recommended one: factors and a quantised residual where errors propagate (`docs/memory.md`).
    Loract,
    /// The paper's sites compressed, nothing recomputed.
    LoractPaper,
    /// Attention and MLP recomputed from the compressed x̂ of their norm (the reference's `sublayer`).
    LoractSublayer,
    /// Each layer recomputed from its compressed input (the reference's `layer`).
    LoractLayer,
    /// Attention and MLP recomputed straight from the factors of x̂: `loract-sublayer`'s gradients in less time.
    LoractFast,
}

impl Activations {
    /// All presets with their names.
    pub const ALL: [(&'static str, Activations); 7] = [
        ("exact", Activations::Exact),
        ("checkpoint", Activations::Checkpoint),
        ("loract", Activations::Loract),
        ("loract-paper", Activations::LoractPaper),
        ("loract-sublayer", Activations::LoractSublayer),
        ("loract-layer", Activations::LoractLayer),
        ("loract-fast", Activations::LoractFast),
    ];

    /// What is recomputed.
    pub fn recompute(self) -> Recompute {
        match self {
            Activations::Exact | Activations::Loract | Activations::LoractPaper => Recompute::None,
            Activations::Checkpoint | Activations::LoractLayer => Recompute::Layer,
            Activations::LoractSublayer => Recompute::Sublayer,
            Activations::LoractFast => Recompute::Factored,
        }
    }

    /// Method, rank and residual bits of a site that is named without its form.
    pub fn common(self) -> Common {
        let (method, rank, bits) = match self {
            Activations::Exact | Activations::Checkpoint => (Compress::None, 8, 0),
            Activations::Loract => (Compress::Rqb, 16, 4),
            _ => (Compress::Rqb, 8, 0),
        };
        Common { method, rank: Rank::Fraction { num: 1, den: rank }, bits }
    }

    /// The policy of the preset; the paper's forms at its rank, ρ = 1/8.
    pub fn policy(self) -> Policy {
        let recompute = self.recompute();
        match (self, self.common().form()) {
            (Activations::Loract, Some(hybrid)) => Policy { recompute, forms: recommended(hybrid), ..Policy::exact() },
            (_, Some(form)) if form != Form::Exact => {
                Policy::uniform(recompute, Policy::sites_of(recompute).iter().copied(), form)
            }
            _ => Policy { recompute, ..Policy::exact() },
        }
    }
}

/// `hybrid` for x̂, which has outlier channels; 8 bits for q, k and v, whose errors softmax amplifies; 5 bits for gate and
/// up, whose errors propagate; 4 bits for the attention's output; nothing for what gate and up give again. Found by
/// measuring: `docs/memory.md`.
fn recommended(hybrid: Form) -> BTreeMap<Site, Form> {
    let bits = |bits| Quant::new(bits).map_or(Form::Exact, Form::Quantised);
    [
        (Site::Norm, hybrid),
        (Site::AttnIn, hybrid),
        (Site::MlpIn, hybrid),
        (Site::AttnQkv, bits(8)),
        (Site::ActFn, bits(5)),
        (Site::AttnOut, bits(4)),
        (Site::MlpOut, Form::Again),
    ]
    .into()
}

/// What sites share that have no form of their own: `--compress`, `--rank`, `--residual-bits`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Common {
    /// Method of the factors; none = no factors.
    pub method: Compress,
    /// Their rank.
    pub rank: Rank,
    /// Bits of the residual, or of the tensor if there are no factors; 0 = none.
    pub bits: usize,
}

impl Common {
    /// The form; `None` if the bits are not offered.
    pub fn form(self) -> Option<Form> {
        let factors = (self.method != Compress::None).then_some(Factored {
            method: self.method,
            rank: self.rank,
            stored: loract_autograd::FactorType::Bf16,
        });
        let quant = match self.bits {
            0 => None,
            bits => Some(Quant::new(bits)?),
        };
        Some(Form::of(factors, quant))
    }
}

impl FromStr for Activations {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|(name, _)| *name == text).map(|(_, preset)| preset).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|(name, _)| *name).collect();
            format!("unknown preset `{text}`; the presets are {}", known.join(", "))
        })
    }
}

impl fmt::Display for Activations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(Self::ALL.iter().find(|(_, preset)| preset == self).map_or("", |(name, _)| name))
    }
}
