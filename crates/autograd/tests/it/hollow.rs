//! A hollow memory foresees the ledger of a real one.

use loract_autograd::ops::{Head, Targets, cross_entropy, dropout, project};
use loract_autograd::{
    Bytes, Category, DType, Form, Frozen, Grads, Memory, Param, Policy, Recompute, Site, Tape, Values, Weight,
    to_bf16_bytes,
};

use crate::decoder::{Decoder, Options, Run};
use crate::harness::{KEY, Matrix, Result, everywhere, random};
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
    check("mixed", Options::default(), &Policy { forms, ..Policy::exact() })?;
    let again = [Site::MlpOut, Site::AttnQkv].map(|site| (site, Form::Again));
    let policy = Policy { forms: again.into(), ..Policy::exact() };
    check("again", Options { dropout: 0.1, ..Options::default() }, &policy)
}

/// Loss, dropout, logits without a loss: with no target, with a head that is trained, in evaluation.
#[test]
fn heads() -> Result {
    let (m, n, vocabulary) = (12, 16, 40);
    for (name, trained, rows, evaluate) in [
        ("no target", false, 0..0, false),
        ("some targets", false, 3..9, false),
        ("trained, no target", true, 0..0, false),
        ("trained", true, 1..12, false),
        ("evaluation", false, 1..12, true),
    ] {
        let run = |memory: &Memory| -> Result<_> {
            let numbers = random(vocabulary * n, 1);
            let weight = match trained {
                true => Weight::Trained(Param::new(memory, "head", vocabulary, n, numbers)),
                false => {
                    let bytes = Bytes::owned(to_bf16_bytes(&numbers));
                    Weight::Frozen(Frozen::new(memory, DType::Bf16, vocabulary, n, bytes)?)
                }
            };
            let bias = Values::Trained(Param::new(memory, "bias", 1, vocabulary, random(vocabulary, 3)));
            let all = Head { bias: Some(&bias), scale: 0.5, softcap: Some(2.0), ..Head::plain(&weight) };
            let head = if trained { all } else { Head::plain(&weight) };
            let rows: Vec<u32> = rows.clone().collect();
            let targets = Targets { tokens: rows.clone(), rows };
            let mut tape = match evaluate {
                true => Tape::evaluation(memory),
                false => Tape::new(memory, Policy::exact(), KEY),
            };
            let x = tape.input(Matrix::random(m, n, 2).tensor(memory), true);
            // Held, so that dropout copies.
            let y = dropout(&mut tape, x.clone(), 0.5, 1)?;
            if evaluate {
                project(&mut tape, &y, 0..m, head)?;
                project(&mut tape, &y, m - 1..m, head)?;
            }
            let out = cross_entropy(&mut tape, y, head, &targets)?;
            let forward = memory.ledger().live();
            if !evaluate {
                let dy = memory.tensor(1, 1, vec![1.0], Category::Transient);
                drop(tape.backward(out.loss.id(), dy, &mut Grads::new())?);
            }
            drop((x, out.loss));
            assert_eq!(memory.ledger().activation_bytes(), 0, "{name}");
            Ok((forward, memory.ledger().live(), memory.ledger().peak(), out.nll.len(), out.hits.len()))
        };
        assert_eq!(run(&Memory::hollow())?, run(&Memory::new())?, "{name}");
    }
    Ok(())
}
