//! Segments run again straight from factors, and without the output that nobody reads.

use loract_autograd::ops::{Linear, add, dropout, linear};
use loract_autograd::{DType, Frozen, Grads, Memory, Policy, Recompute, Site, Tape, Weight};

use crate::decoder::{Decoder, HIDDEN, Options, Run, WIDTH, wide};
use crate::harness::{KEY, Matrix, Result, assert_close, everywhere, lora, random, recomputing};
use crate::kept::{form, forms};

fn run(options: Options, recompute: Recompute, words: &str) -> Result<Run> {
    let memory = Memory::new();
    let decoder = Decoder::new(&memory, options)?;
    decoder.run(&memory, Policy { recompute, ..everywhere(form(words)) })
}

/// (U·V)·W and U·(V·W) differ by sums of up to F products; a layer's recomputation and backward are some ten such products
/// one after another.
fn tolerance(options: Options) -> f64 {
    (10 * options.layers * HIDDEN) as f64 * f64::from(f32::EPSILON)
}

const OPTIONS: [(&str, Options); 4] = [
    ("plain", PLAIN),
    ("bias", Options { bias: true, ..PLAIN }),
    ("bf16 weights", Options { dtype: DType::Bf16, ..PLAIN }),
    ("dropout, which needs elements", Options { dropout: 0.2, ..PLAIN }),
];
const PLAIN: Options = Options { tokens: 90, layers: 2, bias: false, dropout: 0.0, closes: true, dtype: DType::F32 };

#[test]
fn factors_give_what_the_rebuilt_input_gives() -> Result {
    for (name, options) in OPTIONS {
        let exact = run(options, Recompute::None, "exact")?;
        for words in ["rqb:5:f32", "rqb:5", "gauss:12:f32", "rsvd:31:f32", "tsvd:1", "nystrom:9", "rqb:auto@0.4:f32"] {
            let dense = run(options, Recompute::Sublayer, words)?;
            let factored = run(options, Recompute::Factored, words)?;
            let what = format!("{name} {words}");
            assert_eq!((&factored.nll, &factored.errors), (&dense.nll, &dense.errors), "{what}: forward");
            assert_eq!(factored.nll, exact.nll, "{what}: forward is exact");
            assert_close(&what, &factored.gradients, &wide(&dense.gradients), tolerance(options));
            assert!(factored.gradients != exact.gradients, "{what}: something must be lost");
            // What is kept for backward is the same; nothing is dense in between.
            assert_eq!(factored.live, dense.live, "{what}");
        }
    }
    Ok(())
}

/// A form that is not factors alone is rebuilt, as without factored recomputation.
#[test]
fn other_forms_are_rebuilt() -> Result {
    for (words, form) in forms(6) {
        let memory = Memory::new();
        let decoder = Decoder::new(&memory, PLAIN)?;
        let run = |recompute| decoder.run(&memory, Policy { recompute, ..everywhere(form) });
        let (dense, factored) = (run(Recompute::Sublayer)?, run(Recompute::Factored)?);
        if words.contains(':') && !words.starts_with('q') && !words.contains('+') {
            assert_close(&words, &factored.gradients, &wide(&dense.gradients), tolerance(PLAIN));
        } else {
            assert!(factored.gradients == dense.gradients, "{words}");
            assert_eq!(factored.peak, dense.peak, "{words}");
        }
    }
    Ok(())
}

/// At ranks where k·(m + C + F) < m·C, factors and the small product are less than the rebuilt input.
#[test]
fn factors_do_not_raise_the_peak() -> Result {
    for layers in [1, 3] {
        for words in ["rqb:2:f32", "rqb:4", "tsvd:8:f32"] {
            let options = Options { layers, tokens: 200, ..PLAIN };
            let dense = run(options, Recompute::Sublayer, words)?.peak;
            let factored = run(options, Recompute::Factored, words)?.peak;
            assert!(
                factored.activation_bytes <= dense.activation_bytes,
                "{words}, {layers} layers: {factored:?} against {dense:?}"
            );
        }
    }
    Ok(())
}

/// Whether a segment says where its output is made changes no number, and forward not at all; only what running again costs.
#[test]
fn an_output_that_nobody_reads_is_not_missed() -> Result {
    for (name, options) in OPTIONS {
        for recompute in [Recompute::None, Recompute::Sublayer, Recompute::Factored, Recompute::Layer] {
            for words in ["exact", "rqb:5", "rqb:3+q4"] {
                let closed = run(options, recompute, words)?;
                let open = run(Options { closes: false, ..options }, recompute, words)?;
                let what = format!("{name} {recompute:?} {words}");
                assert_eq!(closed.nll, open.nll, "{what}");
                assert!(closed.gradients == open.gradients, "{what}");
                assert_eq!(closed.live, open.live, "{what}");
                assert!(closed.peak.activation_bytes <= open.peak.activation_bytes, "{what}");
            }
        }
    }
    Ok(())
}

/// Kept exactly: a layer that runs again from its input gives the same bits; a half that runs from x̂·w instead of x̂
/// scales before its products instead of after them.
#[test]
fn exact_inputs_give_the_exact_gradients() -> Result {
    for (name, options) in OPTIONS {
        let memory = Memory::new();
        let decoder = Decoder::new(&memory, options)?;
        let whole = decoder.run(&memory, Policy::exact())?;
        assert!(whole.gradients.iter().all(|g| g.iter().any(|&x| x != 0.0)), "{name}: a gradient is zero");
        for recompute in [Recompute::Sublayer, Recompute::Factored, Recompute::Layer] {
            let got = decoder.run(&memory, recomputing(recompute))?;
            let what = format!("{name} {recompute:?}");
            assert_eq!(got.nll, whole.nll, "{what}");
            assert_close(&what, &got.gradients, &wide(&whole.gradients), tolerance(options));
            assert!(recompute != Recompute::Layer || got.gradients == whole.gradients, "{what}: bits");
            assert!(got.peak.activation_bytes < whole.peak.activation_bytes, "{what}");
        }
    }
    Ok(())
}

/// After the output's projection, ops that keep nothing may follow, also when somebody holds what they work on.
#[test]
fn what_follows_the_output_need_not_be_there() -> Result {
    let memory = Memory::new();
    let weight = Weight::Frozen(Frozen::from_f32(&memory, WIDTH, WIDTH, &random(WIDTH * WIDTH, 1))?);
    let layer = Linear { weight, bias: None, lora: Some(lora(&memory, WIDTH, WIDTH, 2, 0.0)) };
    let run = |policy| -> Result<_> {
        let (mut tape, mut grads) = (Tape::new(&memory, policy, KEY), Grads::new());
        let x = tape.input(Matrix::random(20, WIDTH, 2).tensor(&memory), true);
        let id = x.id();
        let y = tape.segment(
            Site::CkptMlp,
            x,
            Box::new(|tape, x| {
                tape.closes(&[Site::CkptMlp]);
                let y = linear(tape, &x, &layer, Site::MlpOut)?;
                let z = dropout(tape, y.clone(), 0.2, 1)?;
                let z = add(tape, z, &y)?;
                add(tape, z.clone(), &z)
            }),
        )?;
        let dy = Matrix::random(20, WIDTH, 3).tensor(&memory);
        let output = y.tensor().to_vec();
        let dx = tape.backward(y.id(), dy, &mut grads)?.take(id).expect("x wants a gradient").to_vec();
        let pair = layer.lora.as_ref().expect("given above");
        let pair: Vec<_> = pair.params().map(|p| grads.get(p).map(|g| g.to_vec())).collect();
        Ok((output, dx, pair))
    };
    assert!(run(recomputing(Recompute::Sublayer))? == run(Policy::exact())?);
    Ok(())
}
