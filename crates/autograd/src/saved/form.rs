//! The forms that a saved tensor can take, as asked for (ranks relative to n) and as words of flags and files.
//!
//! ```text
//! exact | bf16 | q8 | q4 | q3 | q2 | METHOD:RANK[:bf16|:f32] | METHOD:RANK…+q4 | again
//! ```
//! METHOD is rqb, gauss, rsvd, tsvd or nystrom; RANK is 72, 1/8 or auto@0.1 (the least rank whose relative error stays
//! under it). `qN` may be followed by `:sym` (symmetric instead of min/max), `:sr` (stochastic rounding) and `:b32`,
//! `:b64`, `:b128` (block). `again` keeps nothing: the tensor is computed again from what is kept of others.

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

/// What a block's codes count from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QuantRange {
    /// From the least to the largest number of the block; two scales a block.
    #[default]
    MinMax,
    /// From minus to plus the largest magnitude; one scale a block.
    Symmetric,
}

/// How a number between two codes is rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rounding {
    /// To the nearest.
    #[default]
    Nearest,
    /// Up or down at random, right in the mean.
    Stochastic,
}

/// Block quantisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quant {
    /// 2, 3, 4 or 8.
    pub bits: usize,
    /// Numbers that share a scale: 32, 64 or 128.
    pub block: usize,
    /// Of the codes.
    pub range: QuantRange,
    /// Of the numbers.
    pub rounding: Rounding,
}

impl Quant {
    /// Min/max per block of 64 (32 for 2 bits), to nearest; `None` if `bits` is not offered.
    pub fn new(bits: usize) -> Option<Self> {
        let block = if bits == 2 { 32 } else { 64 };
        [2, 3, 4, 8].contains(&bits).then_some(Self {
            bits,
            block,
            range: QuantRange::MinMax,
            rounding: Rounding::Nearest,
        })
    }

    /// Scales of a block.
    pub(crate) fn scales_a_block(self) -> usize {
        match self.range {
            QuantRange::MinMax => 2,
            QuantRange::Symmetric => 1,
        }
    }
    /// Bytes of codes of a row of `cols` numbers.
    pub(crate) fn code_bytes(self, cols: usize) -> usize {
        cols.div_ceil(self.block) * self.block * self.bits / 8
    }
    /// Scales of a row of `cols` numbers.
    pub(crate) fn scales(self, cols: usize) -> usize {
        cols.div_ceil(self.block) * self.scales_a_block()
    }
}

/// What becomes of a tensor that an op saves.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Form {
    /// Kept as it is, f32.
    #[default]
    Exact,
    /// Rounded to bf16.
    Bf16,
    /// Block-quantised.
    Quantised(Quant),
    /// Factors of rank k.
    LowRank(Factored),
    /// Factors, and what they leave over block-quantised.
    Hybrid(Factored, Quant),
    /// Not kept: computed again from what is kept of other tensors, where that is possible; else exact.
    Again,
}

impl Form {
    /// Factors and bits together: none of both is exact.
    pub fn of(factors: Option<Factored>, quant: Option<Quant>) -> Self {
        match (factors, quant) {
            (None, None) => Form::Exact,
            (None, Some(quant)) => Form::Quantised(quant),
            (Some(factors), None) => Form::LowRank(factors),
            (Some(factors), Some(quant)) => Form::Hybrid(factors, quant),
        }
    }

    /// This at another rank, if it has factors.
    pub fn with_rank(self, rank: Rank) -> Self {
        match self {
            Form::LowRank(factors) => Form::LowRank(Factored { rank, ..factors }),
            Form::Hybrid(factors, quant) => Form::Hybrid(Factored { rank, ..factors }, quant),
            other => other,
        }
    }

    /// How closely it keeps a tensor of n features, to compare forms with: about bits a number.
    pub(crate) fn fineness(self, n: usize) -> f64 {
        let share = |f: Factored| f.rank.of(n) as f64 / n.max(1) as f64;
        match self {
            Form::Exact | Form::Again => 32.0,
            Form::Bf16 => 16.0,
            Form::Quantised(quant) => quant.bits as f64,
            Form::LowRank(factors) => share(factors),
            Form::Hybrid(factors, quant) => quant.bits as f64 + share(factors),
        }
    }
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

impl fmt::Display for Quant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "q{}", self.bits)?;
        if self.range == QuantRange::Symmetric {
            f.write_str(":sym")?;
        }
        if self.rounding == Rounding::Stochastic {
            f.write_str(":sr")?;
        }
        if Quant::new(self.bits).is_none_or(|usual| usual.block != self.block) {
            write!(f, ":b{}", self.block)?;
        }
        Ok(())
    }
}

impl FromStr for Quant {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split(':');
        let bits = words.next().and_then(|word| word.strip_prefix('q')).and_then(|bits| bits.parse().ok());
        let mut quant = bits
            .and_then(Quant::new)
            .ok_or_else(|| format!("`{text}` is no quantisation; offered are q2, q3, q4 and q8"))?;
        for word in words {
            match word {
                "sym" => quant.range = QuantRange::Symmetric,
                "sr" => quant.rounding = Rounding::Stochastic,
                "b32" => quant.block = 32,
                "b64" => quant.block = 64,
                "b128" => quant.block = 128,
                _ => return Err(format!("`{word}` in `{text}` is none of sym, sr, b32, b64, b128")),
            }
        }
        Ok(quant)
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Form::Exact => f.write_str("exact"),
            Form::Bf16 => f.write_str("bf16"),
            Form::Quantised(quant) => write!(f, "{quant}"),
            Form::LowRank(factors) => write!(f, "{factors}"),
            Form::Hybrid(factors, quant) => write!(f, "{factors}+{quant}"),
            Form::Again => f.write_str("again"),
        }
    }
}

impl FromStr for Form {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "exact" => return Ok(Form::Exact),
            "bf16" => return Ok(Form::Bf16),
            "again" => return Ok(Form::Again),
            _ => {}
        }
        if let Some((factors, quant)) = text.split_once('+') {
            return Ok(Form::Hybrid(factors.parse()?, quant.parse()?));
        }
        if text.starts_with('q') {
            return Ok(Form::Quantised(text.parse()?));
        }
        let known = Compress::NAMES.iter().any(|(name, _)| text.split(':').next() == Some(name));
        if known {
            return Ok(Form::LowRank(text.parse()?));
        }
        Err(format!("unknown form `{text}`; forms are exact, bf16, q2, q3, q4, q8, rqb:1/8, rqb:1/16+q4, again"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_written_as_they_are_read() {
        for text in [
            "exact",
            "bf16",
            "again",
            "q8",
            "q4:sym:sr",
            "q2:b64",
            "rqb:1/8",
            "gauss:72:f32",
            "tsvd:auto@0.25",
            "rqb:1/16+q4",
            "nystrom:1/4:f32+q3:sym",
        ] {
            assert_eq!(text.parse::<Form>().map(|form| form.to_string()).as_deref(), Ok(text));
        }
        assert_eq!("rqb:auto".parse::<Form>().map(|f| f.to_string()).as_deref(), Ok("rqb:auto@0.1"));
    }

    #[test]
    fn wrong_forms_are_told() {
        for (text, want) in [
            ("q5", "offered are q2"),
            ("q4:x", "none of sym"),
            ("rqb", "lacks its rank"),
            ("rqb:0", "neither a positive number"),
            ("rqb:auto@0", "neither a positive number"),
            ("rqb:auto@1.5", "neither a positive number"),
            ("rqb:1/8:f64", "neither bf16 nor f32"),
            ("none:1/8", "makes no factors"),
            ("svd:1/8", "unknown form"),
            ("rqb:1/8+exact", "no quantisation"),
            ("", "unknown form"),
        ] {
            let got = text.parse::<Form>().err().unwrap_or_default();
            assert!(got.contains(want), "{text}: {got}");
        }
        for wrong in ["0", "9/8", "1/0", "x", "", "-1", "0.5", "autox", "auto@", "auto@nan"] {
            assert!(wrong.parse::<Rank>().is_err(), "{wrong}");
        }
        assert_eq!(Rank::Fraction { num: 1, den: 8 }.of(570), 71);
        assert_eq!(Rank::Fraction { num: 1, den: 8 }.of(5), 1);
    }
}
