//! The same seed gives the same factors, to the last bit, whatever the number of threads.

use loract_linalg::{Error, Mat, Par, QbParams, Stop, Warm, orthonormal_basis, qb, qb_warm, thin_qr};
use loract_testkit::spectrum::Spectrum;

use crate::harness::{Method, matrix};

fn with_threads<R: Send>(threads: usize, f: impl FnOnce() -> R + Send) -> R {
    match rayon::ThreadPoolBuilder::new().num_threads(threads).build() {
        Ok(pool) => pool.install(f),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn one_two_and_three_threads_agree() -> Result<(), Error> {
    for (m, n) in [(900, 150), (150, 900), (260, 260)] {
        let a = matrix(m, n, Spectrum::Power(1.0), 5);
        let basis = matrix(m.min(n), 20, Spectrum::Flat, 6);
        let all = |threads: usize| {
            with_threads(threads, || -> Result<_, Error> {
                let mut found = Vec::new();
                for method in Method::all() {
                    found.push(method.run(a.view(), 40, 7)?.0);
                }
                let params = QbParams { seed: 7, ..QbParams::with_stop(Stop::Tolerance(0.05)) };
                found.push(qb(a.view(), &params)?.0);
                found.push(qb_warm(a.view(), basis.view(), Warm::Refresh, &params)?.0);
                Ok((found, thin_qr(a.view(), Par::Rayon)?, orthonormal_basis(a.view(), Par::Rayon)))
            })
        };
        let one = all(1)?;
        assert_eq!(one, all(2)?, "{m}x{n}");
        assert_eq!(one, all(3)?, "{m}x{n}");
    }
    Ok(())
}

#[test]
fn serial_is_the_same_and_another_seed_is_not() -> Result<(), Error> {
    let a = matrix(700, 200, Spectrum::Power(0.5), 5);
    let run = |seed, par| qb(a.view(), &QbParams { seed, par, ..QbParams::new(60) });
    assert_eq!(run(1, Par::Rayon)?, run(1, Par::Serial)?);
    assert_ne!(run(1, Par::Rayon)?.0, run(2, Par::Rayon)?.0);
    let basis = |par| -> Mat { orthonormal_basis(a.view(), par) };
    assert_eq!(basis(Par::Rayon), basis(Par::Serial));
    Ok(())
}
