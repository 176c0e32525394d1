//! Block quantisation as asked for: bits, block, range and rounding.

use std::fmt;
use std::str::FromStr;

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
    /// 2, 3, 4, 5, 6 or 8.
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
        [2, 3, 4, 5, 6, 8].contains(&bits).then_some(Self {
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
            .ok_or_else(|| format!("`{text}` is no quantisation; offered are q2, q3, q4, q5, q6 and q8"))?;
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
