//! What is told of one captured matrix A (m×n): its singular values, and what follows from them.
//!
//! The spectrum comes from the Gram matrix in f64, values alone: mn² + 2n³ operations with n the shorter side
//! ([`singular_values`]). Energy is ‖A‖² = Σσ²; what a rank k leaves out is the best possible error of any method.

use loract_autograd::Rank;
use loract_linalg::gallery::optimal_error;
use loract_linalg::{Error, Mat, Par, SvdMethod, singular_values};
use loract_train::capture::Place;
use serde::Serialize;

/// The rank that holds a share of the energy.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct EnergyRank {
    /// Percent of Σσ².
    pub energy: f64,
    /// Least rank that holds it.
    pub rank: usize,
    /// Rank / n.
    pub share: f64,
}

/// The best possible error at a rank.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BestError {
    /// ρ, as in `--rank`.
    pub fraction: &'static str,
    /// k = ⌊ρ·n⌋, at least 1.
    pub rank: usize,
    /// ‖A − A_k‖ / ‖A‖.
    pub relative_error: f64,
}

/// Facts of a matrix.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Facts {
    /// Layer; none for the final norm.
    pub layer: Option<usize>,
    /// Site, or which of its tensors.
    pub site: &'static str,
    /// Tokens.
    pub m: usize,
    /// Features.
    pub n: usize,
    /// ‖A‖ (Frobenius).
    pub norm: f64,
    /// Ranks for energies, in the order asked for.
    pub rank_for_energy: Vec<EnergyRank>,
    /// Best errors at ρ = 1/8 and 1/16.
    pub best_error: [BestError; 2],
    /// Largest column norm / median column norm: 1 for even channels; none if more than half the columns are zero.
    pub outlier_ratio: Option<f64>,
    /// All min(m,n) of them, descending; only in the file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub singular_values: Vec<f64>,
}

impl Facts {
    /// Of the matrix `a`, captured at `place`.
    pub fn of(a: &Mat, place: Place, layer: Option<usize>, energies: &[f64]) -> Result<Self, Error> {
        let sigma = singular_values(a.view(), SvdMethod::Gram, Par::Rayon)?;
        let (m, n) = (a.rows(), a.cols());
        let best = |fraction, den| {
            let rank = Rank::Fraction { num: 1, den }.of(n);
            BestError { fraction, rank, relative_error: optimal_error(&sigma, rank) }
        };
        let rank_for_energy = energies.iter().map(|&energy| {
            let rank = rank_for(&sigma, energy / 100.0);
            EnergyRank { energy, rank, share: rank as f64 / n.max(1) as f64 }
        });
        Ok(Self {
            layer,
            site: place.name(),
            m,
            n,
            norm: sigma.iter().map(|s| s * s).sum::<f64>().sqrt(),
            rank_for_energy: rank_for_energy.collect(),
            best_error: [best("1/8", 8), best("1/16", 16)],
            outlier_ratio: outlier_ratio(a),
            singular_values: sigma,
        })
    }
}

/// The least rank with Σ_{i≤rank} σ² ≥ share·Σσ².
fn rank_for(sigma: &[f64], share: f64) -> usize {
    let wanted = share * sigma.iter().map(|s| s * s).sum::<f64>();
    let mut held = 0.0;
    let mut rank = 0;
    // Summed in the same order as the whole, so that all of it is reached.
    while held < wanted && rank < sigma.len() {
        held += sigma[rank] * sigma[rank];
        rank += 1;
    }
    rank
}

fn outlier_ratio(a: &Mat) -> Option<f64> {
    let n = a.cols();
    let mut squares = vec![0.0f64; n];
    for row in a.data().chunks_exact(n.max(1)) {
        squares.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x) * f64::from(x));
    }
    let mut norms: Vec<f64> = squares.into_iter().map(f64::sqrt).collect();
    norms.sort_by(f64::total_cmp);
    let median = (norms.get(n / 2)? + norms.get(n.saturating_sub(1) / 2)?) / 2.0;
    (median > 0.0).then(|| norms[n - 1] / median)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Column norms 3, 4, 0, 12 with orthogonal columns: the spectrum is 12, 4, 3, 0 and the energy 169.
    #[test]
    fn facts_of_a_matrix_worked_by_hand() -> Result<(), Error> {
        let columns = [3.0, 4.0, 0.0, 12.0];
        let a = Mat::from_fn(5, 4, |i, j| if i == j { columns[j] } else { 0.0 });
        let facts = Facts::of(&a, Place::Gate, Some(2), &[85.0, 90.0, 100.0])?;
        for (got, want) in facts.singular_values.iter().zip([12.0, 4.0, 3.0, 0.0]) {
            assert!((got - want).abs() < 1e-12, "{:?}", facts.singular_values);
        }
        // 144/169 = .852, 160/169 = .947.
        let ranks: Vec<_> = facts.rank_for_energy.iter().map(|e| (e.rank, e.share)).collect();
        assert_eq!(ranks, [(1, 0.25), (2, 0.5), (3, 0.75)]);
        assert!((facts.norm - 13.0).abs() < 1e-12);
        // n/8 and n/16 of 4 features are 1: what is left is 5/13.
        assert!(facts.best_error.iter().all(|e| e.rank == 1 && (e.relative_error - 5.0 / 13.0).abs() < 1e-12));
        assert!(facts.outlier_ratio.is_some_and(|r| (r - 12.0 / 3.5).abs() < 1e-6));
        let zero = Facts::of(&Mat::zeros(3, 2), Place::Q, None, &[99.0])?;
        assert!(zero.rank_for_energy[0].rank == 0 && zero.outlier_ratio.is_none() && zero.norm == 0.0);
        Ok(())
    }
}
