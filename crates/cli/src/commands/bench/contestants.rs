//! The methods that are compared; the naive one, a truncated SVD, is among them.

use loract_linalg::{
    Error, LowRank, MatRef, NystromParams, Par, QbParams, SvdMethod, TestMatrix, nystrom, qb, randomised_svd,
    truncated_svd,
};

/// A method: factors of `a` of rank k, with a seed.
pub struct Contestant {
    /// Its name in tables, charts and files.
    pub name: &'static str,
    /// What it is.
    pub what: &'static str,
    /// Runs it.
    pub run: fn(MatRef<'_>, usize, u64) -> Result<LowRank, Error>,
}

/// All of them; parameters are those of `loract-linalg`'s defaults where nothing else is said.
pub const ALL: [Contestant; 7] = [
    Contestant {
        name: "qb-sampled",
        what: "QB, test matrix of sampled columns (the paper's)",
        run: |a, k, seed| qb_with(a, QbParams { seed, ..QbParams::new(k) }),
    },
    Contestant {
        name: "qb-weighted",
        what: "QB, columns sampled by their squared norm",
        run: |a, k, seed| {
            qb_with(a, QbParams { seed, test_matrix: TestMatrix::NormWeightedVectors, ..QbParams::new(k) })
        },
    },
    Contestant {
        name: "qb-gaussian",
        what: "QB, Gaussian test matrix",
        run: |a, k, seed| qb_with(a, QbParams { seed, test_matrix: TestMatrix::Gaussian, ..QbParams::new(k) }),
    },
    Contestant {
        name: "qb-power",
        what: "QB, sampled columns, one power pass",
        run: |a, k, seed| qb_with(a, QbParams { seed, power_passes: 1, ..QbParams::new(k) }),
    },
    Contestant {
        name: "rsvd",
        what: "randomised SVD, Gaussian, oversampling 8",
        run: |a, k, seed| Ok(randomised_svd(a, &QbParams { seed, ..QbParams::rsvd(k) })?.0.into_low_rank()),
    },
    Contestant {
        name: "tsvd",
        what: "truncated SVD through the Gram matrix",
        run: |a, k, _| Ok(truncated_svd(a, k, SvdMethod::Gram, Par::Rayon)?.0.into_low_rank()),
    },
    Contestant {
        name: "nystrom",
        what: "Nystrom from 2k rows and columns",
        run: |a, k, seed| Ok(nystrom(a, &NystromParams { seed, ..NystromParams::new(k) })?.0),
    },
];

fn qb_with(a: MatRef<'_>, params: QbParams) -> Result<LowRank, Error> {
    Ok(qb(a, &params)?.0)
}
