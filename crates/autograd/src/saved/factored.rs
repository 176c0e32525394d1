//! Low-rank factors as asked for: how they are found, at what rank, and in which type they are stored.

use std::fmt;
use std::str::FromStr;

/// How the factors of a low-rank form are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compress {
    /// No factors.
    #[default]
    None,
    /// Sampling-based orthogonal decomposition (the paper's).
    Rqb,
    /// The same with a Gaussian test matrix.
    Gauss,
    /// Randomised SVD: Gaussian, eight vectors more than the rank.
    Rsvd,
    /// Truncated SVD through the Gram matrix: the best there is, and slow.
    Tsvd,
    /// Nyström SVD from sampled rows and columns.
    Nystrom,
}

impl Compress {
    /// Every method with its word.
    pub const NAMES: [(&'static str, Compress); 6] = [
        ("none", Compress::None),
        ("rqb", Compress::Rqb),
        ("gauss", Compress::Gauss),
        ("rsvd", Compress::Rsvd),
        ("tsvd", Compress::Tsvd),
        ("nystrom", Compress::Nystrom),
    ];
}

impl fmt::Display for Compress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(Self::NAMES.iter().find(|(_, method)| method == self).map_or("", |(name, _)| name))
    }
}

impl FromStr for Compress {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::NAMES.iter().find(|(name, _)| *name == text).map(|(_, method)| *method);
        found.ok_or_else(|| {
            let known: Vec<_> = Self::NAMES.iter().map(|(name, _)| *name).collect();
            format!("`{text}` is none of {}", known.join(", "))
        })
    }
}

/// Compression rank k: a number, a fraction ρ of an activation's features, k = ⌊ρ·n⌋ (at least 1), or found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rank {
    /// k itself.
    Count(usize),
    /// ρ = num / den.
    Fraction {
        /// Numerator.
        num: usize,
        /// Denominator.
        den: usize,
    },
    /// The least k for which ‖X − U·V‖ ≤ tolerance·‖X‖, at most n/2.
    Auto {
        /// Relative error, between 0 and 1.
        tolerance: f32,
    },
}

/// The tolerance of `auto` alone.
const AUTO_TOLERANCE: f32 = 0.1;

impl Rank {
    /// k for an activation with n features; of [`Rank::Auto`] the largest.
    pub fn of(self, n: usize) -> usize {
        match self {
            Rank::Count(k) => k,
            Rank::Fraction { num, den } => (n * num / den).max(1),
            Rank::Auto { .. } => (n / 2).max(1),
        }
    }
}

impl fmt::Display for Rank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rank::Count(k) => write!(f, "{k}"),
            Rank::Fraction { num, den } => write!(f, "{num}/{den}"),
            Rank::Auto { tolerance } => write!(f, "auto@{tolerance}"),
        }
    }
}

impl FromStr for Rank {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "rank `{text}` is neither a positive number (72), nor a fraction of at most 1 (1/8), nor auto@TOLERANCE \
                 with a tolerance between 0 and 1 (auto@0.1)"
            )
        };
        if let Some(rest) = text.strip_prefix("auto") {
            let tolerance = match rest.strip_prefix('@') {
                None if rest.is_empty() => AUTO_TOLERANCE,
                None => return Err(wrong()),
                Some(number) => number.parse().map_err(|_| wrong())?,
            };
            return if tolerance > 0.0 && tolerance < 1.0 { Ok(Rank::Auto { tolerance }) } else { Err(wrong()) };
        }
        let number = |t: &str| t.trim().parse::<usize>().ok().filter(|&x| x > 0 && x <= u32::MAX as usize);
        match text.split_once('/') {
            None => Ok(Rank::Count(number(text).ok_or_else(wrong)?)),
            Some((num, den)) => {
                let (num, den) = (number(num).ok_or_else(wrong)?, number(den).ok_or_else(wrong)?);
                if num > den { Err(wrong()) } else { Ok(Rank::Fraction { num, den }) }
            }
        }
    }
}

/// Type that factors are stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FactorType {
    /// Four bytes a number.
    F32,
    /// Two bytes a number, 8 bits of precision.
    #[default]
    Bf16,
}

/// Low-rank factors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Factored {
    /// How they are found; never [`Compress::None`].
    pub method: Compress,
    /// k.
    pub rank: Rank,
    /// What they are stored in.
    pub stored: FactorType,
}

impl fmt::Display for Factored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.method, self.rank)?;
        if self.stored == FactorType::F32 { f.write_str(":f32") } else { Ok(()) }
    }
}

impl FromStr for Factored {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split(':');
        let method: Compress = words.next().unwrap_or_default().parse()?;
        if method == Compress::None {
            return Err("`none` makes no factors; write `exact`, or `q4` for plain quantisation".into());
        }
        let rank = words.next().ok_or_else(|| format!("`{text}` lacks its rank, as in {method}:1/8"))?.parse()?;
        if matches!(rank, Rank::Auto { .. }) && [Compress::Tsvd, Compress::Nystrom].contains(&method) {
            return Err(format!("`{text}`: auto ranks are found by rqb, gauss and rsvd only"));
        }
        let mut factors = Factored { method, rank, stored: FactorType::default() };
        for word in words {
            factors.stored = match word {
                "bf16" => FactorType::Bf16,
                "f32" => FactorType::F32,
                _ => return Err(format!("`{word}` in `{text}` is neither bf16 nor f32")),
            };
        }
        Ok(factors)
    }
}
