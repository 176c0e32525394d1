//! Times the decomposition against its two matrix products alone, and the orthonormalisation; checks every answer.
//!
//!     cargo run --release -p loract-linalg --example bench
//!
//! Contestants run in turn; the fastest and the median run are printed, with the machine's load.

mod shared;

use std::hint::black_box;

use loract_linalg::gallery::{normal, with_spectrum};
use loract_linalg::{Accum, Mat, Par, QbParams, Rng, TestMatrix, matmul, orthonormal_basis, qb, randomised_svd};
use shared::{defect, error, optimal, power, race};

fn main() -> Result<(), loract_linalg::Error> {
    println!("threads {}, load {}", rayon::current_num_threads(), load());
    println!(
        "\nm x n, k            two products     rqb (ratio)              Gaussian (ratio)         rsvd, s = 8     ms: best / median"
    );
    for (m, n, k, rounds) in [(2048, 576, 72, 60), (2048, 1536, 192, 25), (8192, 2048, 256, 7)] {
        decomposition(m, n, k, rounds)?;
    }
    println!("\northonormal basis of 2048x256, ms: best / median");
    for (name, y) in [
        ("normal numbers", normal(2048, 256, 1)),
        ("condition 1e3", with_spectrum(2048, 256, &geometric(256, 1e3), 1)),
        ("condition 1e6", with_spectrum(2048, 256, &geometric(256, 1e6), 1)),
        ("condition 1e12", with_spectrum(2048, 256, &geometric(256, 1e12), 1)),
    ] {
        let q = orthonormal_basis(y.view(), Par::Rayon);
        assert!(defect(q.view()) <= 4.0 * f64::from(f32::EPSILON) * 16.0, "{name}");
        let times = race(30, &mut [&mut || drop(black_box(orthonormal_basis(y.view(), Par::Rayon)))]);
        println!("{name:<20}{:6.2} / {:.2}", 1e3 * times[0].0, 1e3 * times[0].1);
    }
    println!("load {}", load());
    Ok(())
}

fn decomposition(m: usize, n: usize, k: usize, rounds: usize) -> Result<(), loract_linalg::Error> {
    let sigma = power(n.min(512), 1.0);
    let a = with_spectrum(m, n, &sigma, 7);
    let best = optimal(&sigma, k);
    let sampled = QbParams::new(k);
    let gaussian = QbParams { test_matrix: TestMatrix::Gaussian, ..sampled };
    let rsvd = QbParams::rsvd(k);
    for (params, factor) in [(sampled, 1.25), (gaussian, 1.8)] {
        let (factors, _) = qb(a.view(), &params)?;
        let got = error(&a, &factors);
        assert!(got >= 0.999 * best && got <= factor * best, "{m}x{n} {params:?}: {got}, best {best}");
        assert!(defect(factors.v().view().t()) <= 4.0 * f64::from(f32::EPSILON) * (k as f64).sqrt());
    }
    let got = error(&a, &randomised_svd(a.view(), &rsvd)?.0.into_low_rank());
    assert!(got >= 0.999 * best && got <= 1.8 * best, "rsvd {got}, best {best}");

    let chosen = Rng::new(&[3]).sample(n, k);
    let columns = Mat::from_fn(m, k, |i, j| a[(i, chosen[j])]);
    let q = orthonormal_basis(normal(n, k, 5).view(), Par::Rayon);
    let (mut y, mut u) = (Mat::zeros(n, k), Mat::zeros(m, k));
    let times = race(
        rounds,
        &mut [
            &mut || {
                matmul(y.view_mut(), Accum::Replace, a.view().t(), columns.view(), 1.0, Par::Rayon);
                matmul(u.view_mut(), Accum::Replace, a.view(), q.view(), 1.0, Par::Rayon);
            },
            &mut || drop(black_box(qb(a.view(), &sampled))),
            &mut || drop(black_box(qb(a.view(), &gaussian))),
            &mut || drop(black_box(randomised_svd(a.view(), &rsvd))),
        ],
    );
    let show = |i: usize| format!("{:6.2} / {:6.2}", 1e3 * times[i].0, 1e3 * times[i].1);
    let ratio = |i: usize| format!("({:.2}, {:.2})", times[i].0 / times[0].0, times[i].1 / times[0].1);
    println!(
        "{:<20}{}  {} {}  {} {}  {}",
        format!("{m} x {n}, {k}"),
        show(0),
        show(1),
        ratio(1),
        show(2),
        ratio(2),
        show(3)
    );
    Ok(())
}

fn geometric(count: usize, condition: f32) -> Vec<f32> {
    (0..count).map(|i| condition.powf(-(i as f32) / (count - 1) as f32)).collect()
}

fn load() -> String {
    std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim().to_string()
}
