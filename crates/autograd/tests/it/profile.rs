//! Where time goes: parts that exclude each other, the products of a step by shape, and nothing when nobody asks.

use std::time::Instant;

use loract_autograd::{Memory, Part, Policy, Product, Profile, Recompute, Site};

use crate::decoder::{Decoder, HIDDEN, Options, RANK, WIDTH};
use crate::harness::Result;
use crate::kept::{at, form};

/// Parts of a step under `policy`, and the wall time around it.
fn profiled(policy: Policy) -> Result<(Profile, std::time::Duration)> {
    let memory = Memory::new();
    let decoder = Decoder::new(&memory, Options::default())?;
    let begun = Instant::now();
    let (run, profile) = Profile::of(|| decoder.run(&memory, policy));
    let wall = begun.elapsed();
    run.map(|_| (profile, wall))
}

fn count(profile: &Profile, product: Product) -> usize {
    profile.products.get(&product).copied().unwrap_or(0)
}

#[test]
fn parts_exclude_each_other_and_name_what_ran() -> Result {
    let (exact, wall) = profiled(Policy::exact())?;
    assert!(exact.time.values().sum::<std::time::Duration>() <= wall, "{exact:?} in {wall:?}");
    for part in ["linear", "attention", "norm", "gated", "rope", "add", "embedding", "cross_entropy"] {
        assert!(exact.time.contains_key(&Part::Op(part)), "{part}: {exact:?}");
    }
    let forms = |profile: &Profile| -> Vec<Part> {
        let of_forms = |part: &Part| matches!(part, Part::Compress(_) | Part::Read(_));
        profile.time.keys().copied().filter(of_forms).collect()
    };
    assert_eq!(forms(&exact), []);
    let (compressed, wall) = profiled(at(Site::MlpOut, form("rqb:1/8")))?;
    assert!(compressed.time.values().sum::<std::time::Duration>() <= wall, "{compressed:?} in {wall:?}");
    assert_eq!(forms(&compressed), [Part::Compress(Site::MlpOut), Part::Read(Site::MlpOut)]);
    Ok(())
}

#[test]
fn products_are_counted_by_shape() -> Result {
    let (m, weight) = (Options::default().tokens, Some(RANK));
    let gate = Product { m, n: HIDDEN, k: WIDTH, left_transposed: false, right_transposed: true, weight, bits: 24 };
    let back = Product { m, n: WIDTH, k: HIDDEN, left_transposed: false, right_transposed: false, weight, bits: 24 };
    let (exact, _) = profiled(Policy::exact())?;
    // Gate and up in each of two layers; their gradients of the input.
    assert_eq!((count(&exact, gate), count(&exact, back)), (4, 4));
    // In a layer that runs again they run twice; the products of backward are the same.
    let (again, _) = profiled(Policy { recompute: Recompute::Layer, ..Policy::exact() })?;
    assert_eq!((count(&again, gate), count(&again, back)), (8, 4));
    Ok(())
}

#[test]
fn nothing_is_kept_when_nobody_asks() -> Result {
    let memory = Memory::new();
    let decoder = Decoder::new(&memory, Options::default())?;
    decoder.run(&memory, Policy::exact())?;
    let ((), profile) = Profile::of(|| ());
    assert!(profile.products.is_empty() && profile.time.keys().all(|part| *part == Part::Other), "{profile:?}");
    Ok(())
}
