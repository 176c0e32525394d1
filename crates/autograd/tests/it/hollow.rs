//! A hollow memory foresees the ledger of a real one.

use loract_autograd::{DType, Form, Memory, Policy, Recompute, Site};

use crate::decoder::{Decoder, Options, Run};
use crate::harness::{Result, everywhere};
use crate::kept::{form, forms};

const RECOMPUTE: [Recompute; 4] = [Recompute::None, Recompute::Sublayer, Recompute::Factored, Recompute::Layer];

fn both(options: Options, policy: &Policy) -> Result<[Run; 2]> {
    let run = |memory: Memory| Decoder::new(&memory, options)?.run(&memory, policy.clone());
    Ok([run(Memory::new())?, run(Memory::hollow())?])
}

fn check(what: &str, options: Options, policy: &Policy) -> Result {
    let [real, hollow] = both(options, policy)?;
    assert_eq!(hollow.live[0], real.live[0], "{what}: after forward");
    assert_eq!(hollow.live[1], real.live[1], "{what}: after backward");
    assert_eq!(hollow.peak, real.peak, "{what}: peak");
    assert_eq!(hollow.nll.len(), real.nll.len(), "{what}");
    assert!(hollow.gradients.iter().all(Vec::is_empty), "{what}: a hollow gradient has no numbers");
    assert!(hollow.errors.is_empty(), "{what}: nothing hollow has an error");
    Ok(())
}

#[test]
fn the_ledger_is_foreseen_whatever_is_recomputed_and_however_it_is_kept() -> Result {
    for recompute in RECOMPUTE {
        for (words, form) in forms(4).into_iter().filter(|(words, _)| !words.contains("auto")) {
            let policy = Policy { recompute, ..everywhere(form) };
            check(&format!("{recompute:?} {words}"), Options::default(), &policy)?;
        }
    }
    Ok(())
}

#[test]
fn other_decoders() -> Result {
    let others = [
        ("odd", Options { tokens: 61, layers: 3, ..Options::default() }),
        ("several tiles of rows", Options { tokens: 600, layers: 1, ..Options::default() }),
        ("few tokens", Options { tokens: 5, ..Options::default() }),
        ("bias", Options { bias: true, ..Options::default() }),
        ("dropout", Options { dropout: 0.1, ..Options::default() }),
        ("outputs that nobody reads", Options { closes: false, ..Options::default() }),
        ("bf16 weights", Options { dtype: DType::Bf16, ..Options::default() }),
    ];
    for (name, options) in others {
        for recompute in RECOMPUTE {
            for words in ["exact", "rqb:3", "rqb:3+q4", "q4:sym"] {
                let policy = Policy { recompute, ..everywhere(form(words)) };
                check(&format!("{name} {recompute:?} {words}"), options, &policy)?;
            }
        }
    }
    Ok(())
}

/// Forms that differ between sites, and what is computed again.
#[test]
fn mixed_forms() -> Result {
    let mixed = [
        (Site::Norm, "rqb:2+q4"),
        (Site::AttnIn, "q2"),
        (Site::AttnOut, "bf16"),
        (Site::ActFn, "q4"),
        (Site::MlpOut, "again"),
        (Site::AttnQkv, "again"),
    ];
    let forms = mixed.into_iter().map(|(site, words)| (site, form(words))).collect();
    check("mixed", Options::default(), &Policy { forms, recompute: Recompute::None })?;
    let again = [Site::MlpOut, Site::AttnQkv].map(|site| (site, Form::Again));
    let policy = Policy { forms: again.into(), recompute: Recompute::None };
    check("again", Options { dropout: 0.1, ..Options::default() }, &policy)
}
