//! Compressing on threads of its own: the same bits, bytes and errors.

use loract_autograd::{Error, History, Memory, Policy, Recompute, Site, WarmStart, Workers};

use crate::decoder::{Decoder, Options, Run};
use crate::harness::{Result, everywhere};
use crate::kept::{form, forms};

/// Three steps, of which each remembers the last.
fn steps(policy: &Policy, workers: Option<&Workers>) -> Result<Vec<Run>> {
    let memory = Memory::new();
    let decoder = Decoder::new(&memory, Options::default())?;
    let mut history = History::default();
    (0..3).map(|_| decoder.run_with(&memory, policy.clone(), &mut history, workers)).collect()
}

#[test]
fn the_bits_do_not_depend_on_the_workers() -> Result {
    for count in [1, 3] {
        let workers = Workers::start(count).expect("threads");
        for recompute in [Recompute::None, Recompute::Sublayer, Recompute::Factored, Recompute::Layer] {
            for (words, form) in forms(4) {
                let policy = Policy { recompute, warm_start: WarmStart::Reuse, ..everywhere(form) };
                let (with, without) = (steps(&policy, Some(&workers))?, steps(&policy, None)?);
                for (with, without) in with.into_iter().zip(without) {
                    let what = format!("{count} workers, {recompute:?} {words}");
                    assert_eq!(with.nll, without.nll, "{what}");
                    assert_eq!(with.gradients, without.gradients, "{what}");
                    assert_eq!(with.errors, without.errors, "{what}");
                    assert_eq!(with.live, without.live, "{what}");
                }
            }
        }
    }
    Ok(())
}

#[test]
fn what_is_not_finite_is_named_as_without_workers() -> Result {
    let workers = Workers::start(2).expect("threads");
    for words in ["rqb:4", "q4", "bf16", "rqb:4+q4"] {
        let run = |workers| {
            let memory = Memory::new();
            let mut decoder = Decoder::new(&memory, Options::default())?;
            decoder.poison();
            decoder.run_with(&memory, everywhere(form(words)), &mut History::default(), workers)
        };
        let named = |error| match error {
            Some(Error::NonFinite { site, layer, row, col, .. }) => (site, layer, row, col),
            other => panic!("{words}: {other:?}"),
        };
        let (with, without) = (named(run(Some(&workers)).err()), named(run(None).err()));
        assert_eq!(with, without, "{words}");
        assert_eq!((with.0, with.1), (Site::Norm, Some(1)), "{words}");
    }
    Ok(())
}
