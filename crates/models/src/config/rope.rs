//! Changes of the rotary frequencies for long contexts.

use std::f64::consts::TAU;

use super::ConfigError;

/// How the inverse frequencies θ^(−2i/D) are changed.
#[derive(Debug, Clone, Copy, PartialEq)]
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
}

impl RopeScaling {
    /// What the inverse frequency `inverse` is divided by (`_compute_llama3_parameters` of Transformers).
    pub fn divisor(self, inverse: f64) -> f64 {
        match self {
            RopeScaling::None => 1.0,
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
        }
    }

    pub(super) fn check(self) -> Result<(), ConfigError> {
        let positive = |key, value: f64| {
            if value.is_finite() && value > 0.0 { Ok(()) } else { Err(ConfigError::NotPositive { key, value }) }
        };
        match self {
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
        }
        Ok(())
    }

    /// The scaling behind the divisors that llama.cpp's converter stores for Llama 3.1 and later. The converter keeps no
    /// parameters; all published models of the kind have low 1, high 4, and `factor` is the largest divisor. That is
    /// tried, and every divisor must agree.
    pub(super) fn of_factors(factors: &[f32], theta: f64, original_context: usize) -> Result<Self, ConfigError> {
        let factor = factors.iter().fold(0.0f64, |most, &x| most.max(f64::from(x)));
        let scaling = RopeScaling::Llama3 { factor, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context };
        let agrees = |(i, &stored): (usize, &f32)| {
            let want = scaling.divisor(theta.powf(-(i as f64) / factors.len() as f64));
            // Stored factors are f32 numbers computed in f32.
            (f64::from(stored) - want).abs() <= 1e-4 * want
        };
        if factors.iter().all(|&x| x == 1.0) {
            Ok(RopeScaling::None)
        } else if factors.iter().enumerate().all(agrees) {
            Ok(scaling)
        } else {
            Err(ConfigError::RopeFactors { original_context })
        }
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
        factors[16] += 0.5;
        assert!(RopeScaling::of_factors(&factors, 5e5, 8192).is_err());
        assert_eq!(RopeScaling::of_factors(&[1.0; 4], 1e4, 8192)?, RopeScaling::None);
        Ok(())
    }
}
