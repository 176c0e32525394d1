//! Every method on the same matrices: error over that of the best truncation, and time.
//!
//!     cargo run --release -p loract-linalg --example methods
//!
//! 2048×576, k = 72, mean of 5 seeds. `even`: spectrum i^−p, random singular vectors. `outliers`: the same (p = 1) with 12
//! channels 30 times as large. `copies`: the same with 40 large channels that are nearly copies of 4.

mod shared;

use std::hint::black_box;

use loract_linalg::gallery::Kind;
use loract_linalg::{
    Draw, Error, LowRank, Mat, NystromParams, Par, QbParams, SvdMethod, TestMatrix, Warm, nystrom, qb, qb_warm,
    randomised_svd, truncated_svd,
};
use shared::{error, race};

const K: usize = 72;

type Run = Box<dyn Fn(&Mat, u64) -> Result<LowRank, Error>>;

fn main() -> Result<(), Error> {
    let (m, n) = (2048, 576);
    let matrices = [
        ("even p=.5", Kind::Power(0.5)),
        ("even p=1", Kind::Power(1.0)),
        ("even p=2", Kind::Power(2.0)),
        ("outliers", Kind::Outliers),
        ("copies", Kind::Copies),
    ]
    .map(|(name, kind)| (name, kind.matrix(m, n, 5)));
    print!("{:<40}{:>10}", "method", "ms");
    matrices.iter().for_each(|(name, _)| print!("{name:>12}"));
    println!();
    let mut best = Vec::new();
    for (name, run, seeds) in methods() {
        let timed = &matrices[1].1;
        let rounds = if seeds == 1 { 2 } else { 20 };
        let times = race(rounds, &mut [&mut || drop(black_box(run(timed, 0)))]);
        print!("{name:<40}{:>10.2}", 1e3 * times[0].0);
        for (at, (_, a)) in matrices.iter().enumerate() {
            let mut mean = 0.0;
            for seed in 0..seeds {
                mean += error(a, &run(a, seed)?) / seeds as f64;
            }
            if best.len() == at {
                print!("{:>12}", format!("{mean:.2e}"));
                best.push(mean);
            } else {
                print!("{:>12}", format!("{:.2} x", mean / best[at]));
            }
        }
        println!();
    }
    println!("load {}", std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());
    Ok(())
}

/// (name, run, seeds); the first is the best possible.
fn methods() -> Vec<(&'static str, Run, u64)> {
    let of = |params: QbParams| -> Run { Box::new(move |a, seed| Ok(qb(a.view(), &QbParams { seed, ..params })?.0)) };
    let sampled = QbParams::new(K);
    let weighted = QbParams { test_matrix: TestMatrix::NormWeightedVectors, ..sampled };
    let gaussian = QbParams { test_matrix: TestMatrix::Gaussian, ..sampled };
    let svd =
        |method| -> Run { Box::new(move |a, _| Ok(truncated_svd(a.view(), K, method, Par::Rayon)?.0.into_low_rank())) };
    let rsvd = |params: QbParams| -> Run {
        Box::new(move |a, seed| Ok(randomised_svd(a.view(), &QbParams { seed, ..params })?.0.into_low_rank()))
    };
    let nystrom_with = |draw, oversampling| -> Run {
        let params = NystromParams { draw, oversampling, ..NystromParams::new(K) };
        Box::new(move |a, seed| Ok(nystrom(a.view(), &NystromParams { seed, ..params })?.0))
    };
    let warm = |how| -> Run {
        Box::new(move |a, seed| {
            let cold = qb(a.view(), &QbParams { seed, ..sampled })?.0;
            Ok(qb_warm(a.view(), cold.v().view().t(), how, &sampled)?.0)
        })
    };
    vec![
        ("truncated SVD, Gram (error)", svd(SvdMethod::Gram), 1),
        ("truncated SVD, direct", svd(SvdMethod::Direct), 1),
        ("qb, sampled", of(sampled), 5),
        ("qb, norm-weighted", of(weighted), 5),
        ("qb, Gaussian", of(gaussian), 5),
        ("qb, sampled, s = 8", of(QbParams { oversampling: 8, ..sampled }), 5),
        ("qb, sampled, s = 72", of(QbParams { oversampling: K, ..sampled }), 5),
        ("qb, sampled, 1 power pass", of(QbParams { power_passes: 1, ..sampled }), 5),
        ("qb, Gaussian, 1 power pass", of(QbParams { power_passes: 1, ..gaussian }), 5),
        ("cold, then warm: reuse (both timed)", warm(Warm::Reuse), 5),
        ("cold, then warm: refresh (both timed)", warm(Warm::Refresh), 5),
        ("randomised SVD, s = 8", rsvd(QbParams::rsvd(K)), 5),
        ("randomised SVD, s = 8, 2 power passes", rsvd(QbParams { power_passes: 2, ..QbParams::rsvd(K) }), 5),
        ("Nystrom, s = 72", nystrom_with(Draw::Uniform, K), 5),
        ("Nystrom, s = 288, norm-weighted", nystrom_with(Draw::NormWeighted, 4 * K), 5),
    ]
}
