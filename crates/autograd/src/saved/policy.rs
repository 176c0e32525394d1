//! Which form a site gets: a pure function of the settings, the sites and the shape.

use std::collections::BTreeMap;

use loract_linalg::Precision;

use super::{Compress, FactorType, Factored, Form, Quant, Rank, SavedKind, Site, WarmStart};

/// Which segments run forward again in backward instead of keeping what is inside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Recompute {
    /// None.
    #[default]
    None,
    /// Attention and MLP of each layer, from the norm's output, rebuilt.
    Sublayer,
    /// The same straight from the factors of x̂, x̂·W = U·(V·W), without rebuilding it.
    Factored,
    /// Each layer, from its input.
    Layer,
}

/// The settings that decide memory, time and fidelity.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Policy {
    /// Form of each site; sites not named are exact.
    pub forms: BTreeMap<Site, Form>,
    /// Recomputed segments.
    pub recompute: Recompute,
    /// What decompositions start from.
    pub warm_start: WarmStart,
    /// Of products with weights.
    pub precision: Precision,
}

impl Policy {
    /// Everything kept exactly, nothing recomputed.
    pub fn exact() -> Self {
        Self::default()
    }

    /// One form at all of `sites`.
    pub fn uniform(recompute: Recompute, sites: impl IntoIterator<Item = Site>, form: Form) -> Self {
        Self { recompute, forms: sites.into_iter().map(|site| (site, form)).collect(), ..Self::exact() }
    }

    /// This with every form changed by `f`.
    pub fn map_forms(mut self, f: impl Fn(Form) -> Form) -> Self {
        self.forms.values_mut().for_each(|form| *form = f(*form));
        self
    }

    /// The sites that a way of recomputing leaves to compress; without recomputation the paper's, to which `attn_qkv` can
    /// be added.
    pub fn sites_of(recompute: Recompute) -> &'static [Site] {
        match recompute {
            Recompute::None => &[Site::Norm, Site::AttnIn, Site::AttnOut, Site::MlpIn, Site::ActFn, Site::MlpOut],
            Recompute::Sublayer | Recompute::Factored => &[Site::Norm, Site::CkptAttn, Site::CkptMlp],
            Recompute::Layer => &[Site::CkptLayer],
        }
    }

    /// Whether `site` exists when this is recomputed.
    pub fn allows(recompute: Recompute, site: Site) -> bool {
        Self::sites_of(recompute).contains(&site) || (recompute == Recompute::None && site == Site::AttnQkv)
    }

    /// Whether the segment saved at `site` is recomputed.
    pub fn recomputes(&self, site: Site) -> bool {
        match self.recompute {
            Recompute::None => site == Site::AttnQkv && self.form(site) == Form::Again,
            Recompute::Sublayer | Recompute::Factored => matches!(site, Site::CkptAttn | Site::CkptMlp),
            Recompute::Layer => site == Site::CkptLayer,
        }
    }

    /// The form asked for at `site`.
    pub fn form(&self, site: Site) -> Form {
        self.forms.get(&site).copied().unwrap_or_default()
    }

    /// The form of an m×n tensor that is needed at all of `sites`.
    ///
    /// Stored once for all of them, in the finest of their forms. Kept exact if the rank is not below m (a short batch:
    /// the factors would be larger than the tensor and no less exact), or if the codes of so narrow a tensor would be.
    pub fn plan(&self, sites: &[Site], m: usize, n: usize) -> Planned {
        let forms = sites.iter().map(|&site| self.form(site));
        let finest = forms.reduce(|a, b| if b.fineness(n) > a.fineness(n) { b } else { a }).unwrap_or_default();
        let factors = |f: Factored| PlannedFactors {
            method: f.method,
            rank: f.rank,
            most: f.rank.of(n).min(n),
            stored: f.stored,
        };
        let planned = match finest {
            Form::Exact | Form::Again => Planned::Exact,
            Form::Bf16 => Planned::Bf16,
            Form::Quantised(quant) => Planned::Quantised(quant),
            Form::LowRank(f) => Planned::LowRank(factors(f)),
            Form::Hybrid(f, quant) => Planned::Hybrid(factors(f), quant),
        };
        let useless = match planned.factors() {
            Some(factors) => factors.most >= m,
            None => planned.bytes(m, n) >= Planned::Exact.bytes(m, n),
        };
        if useless { Planned::Exact } else { planned }
    }

    /// The policy inside a recomputed segment: it is short-lived, so everything is kept exactly.
    pub(crate) fn inside_segment(precision: Precision) -> Self {
        Self { precision, ..Self::exact() }
    }
}

/// Factors of a tensor whose shape is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlannedFactors {
    /// How they are found.
    pub method: Compress,
    /// As asked for.
    pub rank: Rank,
    /// k; of [`Rank::Auto`] the largest.
    pub most: usize,
    /// What they are stored in.
    pub stored: FactorType,
}

/// What becomes of a tensor whose shape is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Planned {
    /// Kept as it is.
    Exact,
    /// Rounded to bf16.
    Bf16,
    /// Block-quantised.
    Quantised(Quant),
    /// Factors.
    LowRank(PlannedFactors),
    /// Factors, and what they leave over block-quantised.
    Hybrid(PlannedFactors, Quant),
}

impl Planned {
    /// Bytes that it takes for m×n; of a rank that is found, the most.
    pub fn bytes(&self, m: usize, n: usize) -> usize {
        let factors = self.factors().map_or(0, |f| {
            let number = match f.stored {
                FactorType::F32 => 4,
                FactorType::Bf16 => 2,
            };
            number * f.most * (m + n)
        });
        // The pool gives whole f32.
        let quant =
            self.quant().map_or(0, |q| 4 * (m * q.code_bytes(n)).div_ceil(4) + 4 * (m * q.scales(n)).div_ceil(2));
        match self {
            Planned::Exact => 4 * m * n,
            Planned::Bf16 => 4 * (m * n).div_ceil(2),
            _ => factors + quant,
        }
    }

    /// How closely it keeps a tensor of n features, as [`Form::fineness`].
    pub(crate) fn fineness(&self, n: usize) -> f64 {
        let share = self.factors().map_or(0.0, |f| f.most as f64 / n.max(1) as f64);
        match self {
            Planned::Exact => Form::Exact.fineness(n),
            Planned::Bf16 => Form::Bf16.fineness(n),
            _ => self.quant().map_or(0.0, |quant| quant.bits as f64) + share,
        }
    }

    /// Its kind.
    pub fn kind(&self) -> SavedKind {
        match self {
            Planned::Exact => SavedKind::Exact,
            Planned::Bf16 => SavedKind::Bf16,
            Planned::Quantised(_) => SavedKind::Quantised,
            Planned::LowRank(_) => SavedKind::LowRank,
            Planned::Hybrid(..) => SavedKind::Hybrid,
        }
    }

    pub(crate) fn factors(&self) -> Option<PlannedFactors> {
        match self {
            Planned::LowRank(f) | Planned::Hybrid(f, _) => Some(*f),
            _ => None,
        }
    }
    pub(crate) fn quant(&self) -> Option<Quant> {
        match self {
            Planned::Quantised(quant) | Planned::Hybrid(_, quant) => Some(*quant),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(forms: &[(Site, &str)]) -> Policy {
        let forms = forms.iter().filter_map(|(site, form)| Some((*site, form.parse().ok()?))).collect();
        Policy { forms, ..Policy::exact() }
    }

    #[test]
    fn a_shared_tensor_takes_the_finest_of_its_forms() {
        let (norm, both) = ([Site::Norm], [Site::Norm, Site::AttnIn]);
        let one = policy(&[(Site::Norm, "rqb:1/8")]);
        assert_eq!(one.plan(&both, 2048, 576).kind(), SavedKind::Exact);
        assert_eq!(one.plan(&norm, 2048, 576).factors().map(|f| f.most), Some(72));
        assert_eq!(one.plan(&[Site::AttnQkv], 2048, 576).kind(), SavedKind::Exact);
        let two = policy(&[(Site::Norm, "rqb:1/16+q4"), (Site::AttnIn, "rqb:1/8")]);
        assert_eq!(two.plan(&both, 2048, 576).kind(), SavedKind::Hybrid);
    }

    #[test]
    fn a_form_that_saves_nothing_is_not_taken() {
        let low = policy(&[(Site::Norm, "rqb:1/8:f32")]);
        assert_eq!(low.plan(&[Site::Norm], 72, 576), Planned::Exact);
        let codes = policy(&[(Site::Norm, "q8")]);
        assert_eq!(codes.plan(&[Site::Norm], 100, 4), Planned::Exact);
        assert_eq!(codes.plan(&[Site::Norm], 100, 64).bytes(100, 64), 100 * (64 + 4));
    }
}
