//! Rotary positions: which features of a head turn, how fast, and how that is changed for long contexts.

use std::f64::consts::TAU;

use super::ConfigError;

/// How heads of queries and keys are turned by their position (RoPE, arXiv 2104.09864).
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Base of the frequencies, θ.
    pub theta: f64,
    /// Features of each head that turn, its first ones; even. The others stay as they are.
    pub rotated: usize,
    /// How the frequencies are changed.
    pub scaling: RopeScaling,
}

/// How the inverse frequencies θ^(−2i/rotated) are changed.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// They are not.
    None,
    /// All are divided by `factor`.
    Linear {
        /// How many times longer the context is.
        factor: f64,
    },
    /// Long wavelengths are divided by `factor`, short ones kept, those between interpolated.
    Llama3 {
        /// How many times longer the context is.
        factor: f64,
        /// Wavelengths above `original_context / low_freq_factor` are long.
        low_freq_factor: f64,
        /// Wavelengths below `original_context / high_freq_factor` are short.
        high_freq_factor: f64,
        /// Context before the change.
        original_context: usize,
    },
    /// The same idea by the number of the frequency, and cosine and sine grow (YaRN, arXiv 2309.00071).
    Yarn {
        /// How many times longer the context is.
        factor: f64,
        /// Frequencies that turn more often than this within the original context are kept.
        beta_fast: f64,
        /// Those that turn less often are divided by `factor`.
        beta_slow: f64,
        /// Whether the limits between them are whole numbers.
        truncate: bool,
        /// Context before the change.
        original_context: usize,
        /// Multiplies cosine and sine.
        amplitude: f64,
    },
    /// Each frequency is divided by a factor of its own, of which long texts have others (LongRoPE, arXiv 2402.13753).
    Long {
        /// Divisors in texts of at most `original_context` tokens, rotated/2 of them.
        short: Vec<f64>,
        /// Divisors in longer ones.
        long: Vec<f64>,
        /// Context before the change.
        original_context: usize,
        /// Multiplies cosine and sine.
        amplitude: f64,
    },
}

impl Rope {
    /// The rotated/2 frequencies, in radians a position, of texts that are not long.
    pub fn frequencies(&self) -> Vec<f64> {
        let plain = self.plain();
        match &self.scaling {
            RopeScaling::Yarn { factor, beta_fast, beta_slow, truncate, original_context, .. } => {
                let ramp = self.ramp([*beta_fast, *beta_slow], *truncate, *original_context);
                // From `extrapolated` (kept) at 0 to `interpolated` (divided) at 1.
                plain.iter().zip(ramp).map(|(f, ramp)| f / factor * ramp + f * (1.0 - ramp)).collect()
            }
            RopeScaling::Long { short, .. } => plain.iter().zip(short).map(|(f, divisor)| f / divisor).collect(),
            other => plain.iter().map(|&f| f / other.divisor(f)).collect(),
        }
    }

    /// The frequencies of texts of more than so many tokens, where they are others.
    pub fn long_frequencies(&self) -> Option<(usize, Vec<f64>)> {
        let RopeScaling::Long { long, original_context, .. } = &self.scaling else { return None };
        Some((*original_context, self.plain().iter().zip(long).map(|(f, divisor)| f / divisor).collect()))
    }

    /// What multiplies cosine and sine.
    pub fn amplitude(&self) -> f64 {
        match self.scaling {
            RopeScaling::Yarn { amplitude, .. } | RopeScaling::Long { amplitude, .. } => amplitude,
            _ => 1.0,
        }
    }

    fn plain(&self) -> Vec<f64> {
        let d = self.rotated as f64;
        (0..self.rotated / 2).map(|i| self.theta.powf(-2.0 * i as f64 / d)).collect()
    }

    /// How far each frequency is from being kept (0) to being divided (1): `_compute_yarn_parameters` of Transformers.
    fn ramp(&self, betas: [f64; 2], truncate: bool, original_context: usize) -> Vec<f64> {
        let d = self.rotated as f64;
        let number = |turns: f64| d * (original_context as f64 / (turns * TAU)).ln() / (2.0 * self.theta.ln());
        let [mut low, mut high] = betas.map(number);
        if truncate {
            (low, high) = (low.floor(), high.ceil());
        }
        let (low, mut high) = (low.max(0.0), high.min(d - 1.0));
        if low == high {
            high += 0.001;
        }
        (0..self.rotated / 2).map(|i| ((i as f64 - low) / (high - low)).clamp(0.0, 1.0)).collect()
    }

    pub(super) fn check(&self, head_dim: usize) -> Result<(), ConfigError> {
        positive("rope_theta", self.theta)?;
        if self.rotated == 0 || self.rotated > head_dim || !self.rotated.is_multiple_of(2) {
            return Err(ConfigError::Rotated { rotated: self.rotated, head_dim });
        }
        if let RopeScaling::Long { short, long, .. } = &self.scaling {
            for (key, factors) in [("short_factor", short), ("long_factor", long)] {
                if factors.len() != self.rotated / 2 {
                    return Err(ConfigError::LongFactors { key, found: factors.len(), expected: self.rotated / 2 });
                }
                factors.iter().try_for_each(|&factor| positive(key, factor))?;
            }
        }
        self.scaling.check()
    }
}

fn positive(key: &'static str, value: f64) -> Result<(), ConfigError> {
    if value.is_finite() && value > 0.0 { Ok(()) } else { Err(ConfigError::NotPositive { key, value }) }
}

/// What YaRN multiplies cosine and sine with for a context that is `factor` times longer (`get_mscale` of Transformers).
pub(crate) fn yarn_amplitude(factor: f64, mscale: f64) -> f64 {
    if factor <= 1.0 { 1.0 } else { 0.1 * mscale * factor.ln() + 1.0 }
}

/// What LongRoPE multiplies them with.
pub(super) fn long_amplitude(factor: f64, original_context: usize) -> f64 {
    if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / (original_context as f64).ln()).sqrt() }
}

impl RopeScaling {
    /// What the inverse frequency `inverse` is divided by, where that depends on nothing else
    /// (`_compute_llama3_parameters` of Transformers).
    pub(crate) fn divisor(&self, inverse: f64) -> f64 {
        match *self {
            RopeScaling::Linear { factor } => factor,
            RopeScaling::Llama3 { factor, low_freq_factor: low, high_freq_factor: high, original_context } => {
                // Wavelengths of the original context: above `high` they are short, below `low` long.
                let turns = original_context as f64 * inverse / TAU;
                if turns > high {
                    1.0
                } else if turns < low {
                    factor
                } else {
                    let smooth = (turns - low) / (high - low);
                    1.0 / ((1.0 - smooth) / factor + smooth)
                }
            }
            _ => 1.0,
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        match *self {
            RopeScaling::None => {}
            RopeScaling::Linear { factor } => positive("rope factor", factor)?,
            RopeScaling::Llama3 { factor, low_freq_factor: low, high_freq_factor: high, original_context } => {
                positive("rope factor", factor)?;
                positive("low_freq_factor", low)?;
                positive("high_freq_factor", high)?;
                positive("original_max_position_embeddings", original_context as f64)?;
                if low >= high {
                    return Err(ConfigError::RopeLimits { low, high });
                }
            }
            RopeScaling::Yarn { factor, beta_fast, beta_slow, original_context, amplitude, .. } => {
                positive("rope factor", factor)?;
                positive("beta_fast", beta_fast)?;
                positive("beta_slow", beta_slow)?;
                positive("original_max_position_embeddings", original_context as f64)?;
                positive("attention_factor", amplitude)?;
            }
            RopeScaling::Long { original_context, amplitude, .. } => {
                positive("original_max_position_embeddings", original_context as f64)?;
                positive("attention_factor", amplitude)?;
            }
        }
        Ok(())
    }

    /// The scaling behind the divisors that llama.cpp's converter stores for Llama 3.1 and later. The converter keeps no
    /// parameters; all published models of the kind have low 1, high 4, and `factor` is the largest divisor. That is
    /// tried, with `original_context` and with the one that an interpolated divisor tells, and every divisor must agree.
    pub(crate) fn of_factors(factors: &[f32], theta: f64, original_context: usize) -> Result<Self, ConfigError> {
        const LOW: f64 = 1.0;
        const HIGH: f64 = 4.0;
        if factors.iter().all(|&x| x == 1.0) {
            return Ok(RopeScaling::None);
        }
        let factor = factors.iter().fold(0.0f64, |most, &x| most.max(f64::from(x)));
        let inverse = |i: usize| theta.powf(-(i as f64) / factors.len() as f64);
        let told =
            factors.iter().map(|&x| f64::from(x)).enumerate().find(|&(_, x)| x > 1.0 && x < factor).map(|(i, x)| {
                let smooth = (1.0 / x - 1.0 / factor) / (1.0 - 1.0 / factor);
                ((LOW + smooth * (HIGH - LOW)) * TAU / inverse(i)).round() as usize
            });
        let scaling = |original_context| RopeScaling::Llama3 {
            factor,
            low_freq_factor: LOW,
            high_freq_factor: HIGH,
            original_context,
        };
        let agrees = |scaling: &Self| {
            factors.iter().enumerate().all(|(i, &stored)| {
                let want = scaling.divisor(inverse(i));
                // Stored factors are f32 numbers computed in f32.
                (f64::from(stored) - want).abs() <= 1e-4 * want
            })
        };
        let mut tried = [Some(original_context), told].into_iter().flatten().map(scaling);
        tried.find(agrees).ok_or(ConfigError::RopeFactors { original_context })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_of_llama_3_are_recognised() -> Result<(), ConfigError> {
        let llama32 =
            RopeScaling::Llama3 { factor: 32.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 8192 };
        let mut factors: Vec<f32> =
            (0..32).map(|i| llama32.divisor(5e5f64.powf(-f64::from(i) / 32.0)) as f32).collect();
        assert_eq!((factors[0], factors[31]), (1.0, 32.0));
        assert_eq!(RopeScaling::of_factors(&factors, 5e5, 8192)?, llama32);
        // A wrong context is made good by the divisors that are interpolated.
        assert_eq!(RopeScaling::of_factors(&factors, 5e5, 4096)?, llama32);
        factors[16] += 0.5;
        assert!(RopeScaling::of_factors(&factors, 5e5, 8192).is_err());
        assert_eq!(RopeScaling::of_factors(&[1.0; 4], 1e4, 8192)?, RopeScaling::None);
        Ok(())
    }
}
