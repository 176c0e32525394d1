//! Changes of the rotary frequencies for long contexts, as GGUF files say them.
//!
//! | scaling | file |
//! |---|---|
//! | linear | `rope.scaling.type` `linear` (or absent), `.factor` |
//! | YaRN | `.type` `yarn`, `.factor`, `.original_context_length`, `.yarn_beta_fast`, `.yarn_beta_slow`; cosine and sine times 0.1·ln(factor) + 1 and `.attn_factor` |
//! | Llama 3 | tensor `rope_freqs.weight`: divisors of the inverse frequencies |
//! | LongRoPE | tensors `rope_factors_short.weight` and `rope_factors_long.weight`, `rope.scaling.original_context_length`; cosine and sine times `.attn_factor` |

use super::architecture::Architecture;
use super::config::THETA;
use crate::config::{ConfigError, DecoderConfig, Rope, RopeScaling, yarn_amplitude};
use crate::error::Error;
use crate::weights::gguf::write::{Entries, Entry};
use crate::weights::gguf::{Gguf, GgufError};

/// Context of Llama 3 before it was made longer; llama.cpp's converter takes it for granted too.
const LLAMA3_CONTEXT: usize = 8192;
/// YaRN's `beta_fast` and `beta_slow`, where a file says nothing.
const BETAS: [f64; 2] = [32.0, 1.0];
/// Divisors of the inverse frequencies of Llama 3.
const KEPT: &str = "rope_freqs.weight";
/// Those of LongRoPE, in short texts and in long ones.
const SHORT: &str = "rope_factors_short.weight";
const LONG: &str = "rope_factors_long.weight";

/// Tensors that are no weights but say how heads are turned.
pub(super) const FACTORS: [&str; 3] = [KEPT, SHORT, LONG];

/// What a file says.
pub(super) fn read(architecture: &Architecture, gguf: &Gguf) -> Result<Result<RopeScaling, ConfigError>, Error> {
    let said = Said::read(architecture, gguf).map_err(|reason| gguf.damaged(reason))?;
    if let Some(factors) = gguf.vector(KEPT)? {
        let original_context = said.original_context.unwrap_or(LLAMA3_CONTEXT);
        return Ok(RopeScaling::of_factors(&factors, said.theta, original_context));
    }
    let wide = |factors: Vec<f32>| factors.into_iter().map(f64::from).collect();
    if let (Some(short), Some(long)) = (gguf.vector(SHORT)?, gguf.vector(LONG)?) {
        return Ok(Ok(RopeScaling::Long {
            short: wide(short),
            long: wide(long),
            original_context: said.original_context.unwrap_or(said.context),
            amplitude: said.amplitude,
        }));
    }
    Ok(said.scaling())
}

/// The metadata of the scaling.
struct Said {
    kind: Option<String>,
    factor: Option<f64>,
    theta: f64,
    context: usize,
    original_context: Option<usize>,
    amplitude: f64,
    betas: [f64; 2],
}

impl Said {
    fn read(architecture: &Architecture, gguf: &Gguf) -> Result<Self, GgufError> {
        let (metadata, key) = (gguf.metadata(), |end: &str| architecture.key(&format!("rope.{end}")));
        let float = |end: &str| metadata.float(&key(end));
        let factor = match float("scaling.factor")? {
            Some(factor) => Some(factor),
            None => float("scale_linear")?,
        };
        let kind = metadata.text(&key("scaling.type"))?.map(str::to_owned);
        Ok(Self {
            kind,
            factor: factor.filter(|&factor| factor != 0.0),
            theta: float("freq_base")?.unwrap_or(THETA),
            context: metadata.size(&architecture.key("context_length"))?.unwrap_or(0),
            original_context: metadata.size(&key("scaling.original_context_length"))?,
            amplitude: float("scaling.attn_factor")?.unwrap_or(1.0),
            betas: [
                float("scaling.yarn_beta_fast")?.unwrap_or(BETAS[0]),
                float("scaling.yarn_beta_slow")?.unwrap_or(BETAS[1]),
            ],
        })
    }

    fn scaling(self) -> Result<RopeScaling, ConfigError> {
        // Before there was a type, a factor alone meant linear.
        match (self.kind.as_deref(), self.factor) {
            (Some("none"), _) | (None, None | Some(1.0)) => Ok(RopeScaling::None),
            (Some("linear") | None, Some(factor)) => Ok(RopeScaling::Linear { factor }),
            (Some("yarn"), Some(factor)) => Ok(RopeScaling::Yarn {
                factor,
                beta_fast: self.betas[0],
                beta_slow: self.betas[1],
                truncate: true,
                original_context: self.original_context.unwrap_or(self.context),
                amplitude: yarn_amplitude(factor, 1.0) * self.amplitude,
            }),
            (Some("linear" | "yarn"), None) => Err(ConfigError::Missing { key: "rope.scaling.factor" }),
            (Some(found), _) => Err(ConfigError::RopeType { found: found.to_owned() }),
        }
    }
}

/// Writes the keys of `rope`.
pub(super) fn set(architecture: &Architecture, rope: &Rope, entries: &mut Entries) {
    let mut set = |end: &str, entry: Entry| entries.set(architecture.key(&format!("rope.{end}")), entry);
    set("dimension_count", Entry::U32(rope.rotated as u32));
    set("freq_base", Entry::F32(rope.theta as f32));
    let kind = |name: &str| Entry::Text(name.to_owned());
    match &rope.scaling {
        RopeScaling::None => {}
        RopeScaling::Linear { factor } => {
            set("scaling.type", kind("linear"));
            set("scaling.factor", Entry::F32(*factor as f32));
        }
        RopeScaling::Yarn { factor, beta_fast, beta_slow, original_context, amplitude, .. } => {
            set("scaling.type", kind("yarn"));
            set("scaling.factor", Entry::F32(*factor as f32));
            set("scaling.original_context_length", Entry::U32(*original_context as u32));
            set("scaling.yarn_beta_fast", Entry::F32(*beta_fast as f32));
            set("scaling.yarn_beta_slow", Entry::F32(*beta_slow as f32));
            let more = (amplitude / yarn_amplitude(*factor, 1.0)) as f32;
            if more != 1.0 {
                set("scaling.attn_factor", Entry::F32(more));
            }
        }
        // llama.cpp takes the factors; of what they were made the reader needs to know this.
        RopeScaling::Llama3 { original_context, .. } => {
            set("scaling.original_context_length", Entry::U32(*original_context as u32));
        }
        RopeScaling::Long { original_context, amplitude, .. } => {
            set("scaling.original_context_length", Entry::U32(*original_context as u32));
            set("scaling.attn_factor", Entry::F32(*amplitude as f32));
        }
    }
}

/// What llama.cpp makes of `rope` otherwise than it is written.
pub(super) fn note(rope: &Rope) -> Option<String> {
    let RopeScaling::Yarn { beta_fast, beta_slow, .. } = rope.scaling else { return None };
    ([beta_fast, beta_slow] != BETAS).then(|| {
        let [fast, slow] = BETAS;
        format!(
            "llama.cpp takes YaRN's beta_fast for {fast} and beta_slow for {slow} in this architecture, which are {beta_fast} and \
             {beta_slow} here: its logits will differ"
        )
    })
}

/// The tensors of a file that say how heads are turned: name and numbers.
pub(super) fn stored_factors(gguf: &Gguf) -> Result<Vec<(&'static str, Vec<f32>)>, Error> {
    let stored = FACTORS.into_iter().map(|name| Ok(gguf.vector(name)?.map(|factors| (name, factors))));
    Ok(stored.collect::<Result<Vec<_>, Error>>()?.into_iter().flatten().collect())
}

/// The same of a configuration.
pub(super) fn factors(config: &DecoderConfig) -> Vec<(&'static str, Vec<f32>)> {
    let narrow = |factors: &[f64]| factors.iter().map(|&x| x as f32).collect();
    match &config.rope.scaling {
        // What llama.cpp's converter writes for Llama 3.1 and later.
        scaling @ RopeScaling::Llama3 { .. } => {
            let half = config.rope.rotated / 2;
            let inverse = |i: usize| config.rope.theta.powf(-(i as f64) / half as f64);
            vec![(KEPT, (0..half).map(|i| scaling.divisor(inverse(i)) as f32).collect())]
        }
        RopeScaling::Long { short, long, .. } => vec![(SHORT, narrow(short)), (LONG, narrow(long))],
        _ => Vec::new(),
    }
}
