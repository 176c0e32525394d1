//! The forms that a saved tensor can take, as asked for (ranks relative to n) and as words of flags and files.
//!
//! ```text
//! exact | bf16 | q8 | q6 | q5 | q4 | q3 | q2 | METHOD:RANK[:bf16|:f32] | METHOD:RANK…+q4 | again
//! ```
//! METHOD is rqb, gauss, rsvd, tsvd or nystrom; RANK is 72, 1/8 or auto@0.1 (the least rank whose relative error stays
//! under it). `qN` may be followed by `:sym` (symmetric instead of min/max), `:sr` (stochastic rounding) and `:b32`,
//! `:b64`, `:b128` (block). `again` keeps nothing: the tensor is computed again from what is kept of others.

use std::fmt;
use std::str::FromStr;

use super::factored::{Compress, Factored};
use super::quant::Quant;

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
        Err(format!("unknown form `{text}`; forms are exact, bf16, q2 to q6, q8, rqb:1/8, rqb:1/16+q4, again"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Rank;
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
            "rsvd:auto@0.25",
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
            ("q7", "offered are q2"),
            ("q4:x", "none of sym"),
            ("rqb", "lacks its rank"),
            ("rqb:0", "neither a positive number"),
            ("rqb:auto@0", "neither a positive number"),
            ("rqb:auto@1.5", "neither a positive number"),
            ("rqb:1/8:f64", "neither bf16 nor f32"),
            ("none:1/8", "makes no factors"),
            ("tsvd:auto@0.1", "rqb, gauss and rsvd only"),
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
