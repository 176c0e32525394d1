//! Singular values and errors of the best truncation, from `numpy.linalg.svd` (`crates/testkit/golden/make_svd.py`).

use loract_linalg::{Error, Mat, Par, SvdMethod, truncated_svd};
use loract_testkit::golden::{folder, json, tensors};

use crate::harness::error;

#[test]
fn truncated_svd_equals_numpys() -> Result<(), Error> {
    let folder = folder("svd");
    let (matrices, answers) = (tensors(&folder.join("matrices.safetensors")), json(&folder.join("svd.json")));
    assert!(matrices.len() >= 5);
    for (name, (shape, data)) in matrices {
        let a = Mat::from_vec(data, shape[0], shape[1]);
        let numbers = |key: &str| -> Vec<f64> {
            let list = answers[&name][key].as_array().map_or(&[][..], Vec::as_slice);
            list.iter().filter_map(serde_json::Value::as_f64).collect()
        };
        let (values, errors) = (numbers("singular_values"), numbers("best_error"));
        assert_eq!((values.len(), errors.len()), (shape[0].min(shape[1]), values.len() + 1), "{name}");
        for method in [SvdMethod::Gram, SvdMethod::Direct] {
            let (svd, _) = truncated_svd(a.view(), values.len(), method, Par::Rayon)?;
            // Gram: an absolute error of eps·σ_1² in σ².
            for (i, (&got, &want)) in svd.s.iter().zip(&values).enumerate() {
                let tolerance = match method {
                    SvdMethod::Gram => 1e-13 * values[0] * values[0] / want.max(1e-7 * values[0]) + 1e-12 * want,
                    SvdMethod::Direct => 1e-12 * values[0],
                };
                assert!((got - want).abs() <= tolerance, "{name} {method:?} σ_{i}: {got}, numpy {want}");
            }
            assert!(method == SvdMethod::Gram || values[svd.rank()..].iter().all(|&s| s < 1e-12 * values[0]), "{name}");
            for k in [1, 2.min(values.len()), values.len().div_ceil(2), values.len()] {
                let (svd, info) = truncated_svd(a.view(), k, method, Par::Rayon)?;
                let got = error(a.view(), &svd.into_low_rank());
                assert!((got - errors[k]).abs() <= 2e-6, "{name} {method:?} k={k}: {got}, numpy {}", errors[k]);
                assert!(
                    !info.trustworthy || (info.relative_residual - errors[k]).abs() <= errors[k] / 8.0 + 1e-12,
                    "{name} {method:?} k={k}: {info:?}"
                );
            }
        }
    }
    Ok(())
}
