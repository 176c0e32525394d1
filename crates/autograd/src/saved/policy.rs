//! Which form a site gets: a pure function of the settings, the site and the shape.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use loract_linalg::TestMatrix;

use super::Site;

/// How saved activations are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compress {
    /// Not at all.
    #[default]
    None,
    /// Sampling-based orthogonal decomposition (the paper's).
    Rqb,
    /// The same with a Gaussian test matrix.
    Gauss,
}

/// Which segments run forward again in backward instead of keeping what is inside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Recompute {
    /// None.
    #[default]
    None,
    /// Attention and MLP of each layer, from the norm's output.
    Sublayer,
    /// Each layer, from its input.
    Layer,
}

/// Compression rank k: a number, or a fraction ρ of an activation's features, k = ⌊ρ·n⌋ (at least 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
}

impl Rank {
    /// k for an activation with n features.
    pub fn of(self, n: usize) -> usize {
        match self {
            Rank::Count(k) => k,
            Rank::Fraction { num, den } => (n * num / den).max(1),
        }
    }
}

impl fmt::Display for Rank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rank::Count(k) => write!(f, "{k}"),
            Rank::Fraction { num, den } => write!(f, "{num}/{den}"),
        }
    }
}

impl FromStr for Rank {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("rank `{text}` is neither a positive number (72) nor a fraction of at most 1 (1/8)");
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

/// What becomes of a tensor that an op saves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Kept as it is.
    Exact,
    /// Factors of rank `rank`, found with `test_matrix`.
    LowRank {
        /// k.
        rank: usize,
        /// Sketch.
        test_matrix: TestMatrix,
    },
}

/// The settings that decide memory, time and fidelity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Method of compression.
    pub compress: Compress,
    /// Compression rank.
    pub rank: Rank,
    /// Compressed sites.
    pub sites: BTreeSet<Site>,
    /// Recomputed segments.
    pub recompute: Recompute,
}

impl Default for Policy {
    fn default() -> Self {
        Self::exact()
    }
}

impl Policy {
    /// Everything kept exactly, nothing recomputed.
    pub fn exact() -> Self {
        Self {
            compress: Compress::None,
            rank: Rank::Fraction { num: 1, den: 8 },
            sites: BTreeSet::new(),
            recompute: Recompute::None,
        }
    }

    /// The sites that a way of recomputing leaves to compress.
    pub fn sites_of(recompute: Recompute) -> BTreeSet<Site> {
        match recompute {
            Recompute::None => [Site::Norm, Site::AttnIn, Site::AttnOut, Site::MlpIn, Site::ActFn, Site::MlpOut].into(),
            Recompute::Sublayer => [Site::Norm, Site::CkptAttn, Site::CkptMlp].into(),
            Recompute::Layer => [Site::CkptLayer].into(),
        }
    }

    /// Whether the segment saved at `site` is recomputed.
    pub fn recomputes(&self, site: Site) -> bool {
        match self.recompute {
            Recompute::None => false,
            Recompute::Sublayer => matches!(site, Site::CkptAttn | Site::CkptMlp),
            Recompute::Layer => site == Site::CkptLayer,
        }
    }

    /// The form of an m×n tensor that is needed at all of `sites`.
    ///
    /// Stored once for all of them, so it is compressed only if each of them allows it. Kept exact also if k ≥ m (fewer
    /// rows than the rank asked for): the factors would be larger than the tensor and no less exact.
    pub fn plan(&self, sites: &[Site], m: usize, n: usize) -> Form {
        let test_matrix = match self.compress {
            Compress::None => return Form::Exact,
            Compress::Rqb => TestMatrix::SampledVectors,
            Compress::Gauss => TestMatrix::Gaussian,
        };
        let rank = self.rank.of(n).min(n);
        if rank >= m || !sites.iter().all(|site| self.sites.contains(site)) {
            return Form::Exact;
        }
        Form::LowRank { rank, test_matrix }
    }

    /// The policy inside a recomputed segment: it is short-lived, so everything is exact.
    pub(crate) fn inside_segment() -> Self {
        Self::exact()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_tensor_is_compressed_only_if_every_use_allows_it() {
        let mut policy = Policy { compress: Compress::Rqb, sites: [Site::Norm].into(), ..Policy::exact() };
        assert_eq!(policy.plan(&[Site::Norm, Site::AttnIn], 2048, 576), Form::Exact);
        policy.sites.insert(Site::AttnIn);
        let want = Form::LowRank { rank: 72, test_matrix: TestMatrix::SampledVectors };
        assert_eq!(policy.plan(&[Site::Norm, Site::AttnIn], 2048, 576), want);
        assert_eq!(policy.plan(&[Site::Norm], 72, 576), Form::Exact);
        assert_eq!(policy.plan(&[Site::AttnQkv], 2048, 576), Form::Exact);
    }

    #[test]
    fn ranks_are_read_and_refused() {
        assert_eq!("1/8".parse(), Ok(Rank::Fraction { num: 1, den: 8 }));
        assert_eq!("72".parse(), Ok(Rank::Count(72)));
        assert_eq!(Rank::Fraction { num: 1, den: 8 }.of(570), 71);
        assert_eq!(Rank::Fraction { num: 1, den: 8 }.of(5), 1);
        for wrong in ["0", "9/8", "1/0", "x", "", "-1", "0.5"] {
            assert!(wrong.parse::<Rank>().is_err(), "{wrong}");
        }
    }
}
