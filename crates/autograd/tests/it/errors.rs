//! What is refused, and that the message says what and both sides.

use std::sync::Arc;

use loract_autograd::ops::{
    Activation, AttentionShape, Head, Linear, Mask, Norm, RopePairs, RopeTable, Targets, add, attention, cross_entropy,
    embedding, gated, linear, norm, project, rope,
};
use loract_autograd::{
    Category, Compress, Error, Frozen, Grads, Memory, Param, Policy, Rank, Recompute, Site, StepKey, Tape, Values, Var,
    Weight,
};

use crate::harness::{KEY, Matrix, Result, compressed, lora, param, rms};

fn frozen(memory: &Memory, outputs: usize, inputs: usize) -> Result<Weight> {
    Ok(Weight::Frozen(Frozen::from_f32(memory, outputs, inputs, &vec![1.0; outputs * inputs])?))
}

fn vector(memory: &Memory, len: usize) -> Values {
    Values::frozen(memory, vec![1.0; len])
}

fn message<T>(result: Result<T>) -> String {
    result.err().map_or_else(|| "no error".into(), |e| e.to_string())
}

#[test]
fn shapes_that_do_not_fit_are_named_with_both_sides() -> Result {
    let memory = &Memory::new();
    let norms = [
        ("features left over by whole groups: 1 against 0", Norm { width: 5, ..rms(vector(memory, 6)) }),
        ("features normed together against the least: 0 against 1", Norm { width: 0, ..rms(vector(memory, 6)) }),
        ("weight against features: 5 against 6", Norm { width: 6, ..rms(vector(memory, 5)) }),
        ("weight against features: 4 against 3", Norm { width: 3, ..rms(vector(memory, 4)) }),
        ("bias against features: 2 against 6", Norm { bias: Some(vector(memory, 2)), ..rms(vector(memory, 6)) }),
    ];
    let mut tape = Tape::new(memory, Policy::exact(), StepKey::default());
    let x = |rows, cols| tape.input(Matrix::random(rows, cols, 1).tensor(memory), true);
    let (x46, x48, x36) = (x(4, 6), x(4, 8), x(3, 6));
    let t = &mut tape;
    let check = |got: String, want: &str| assert_eq!(got, want);

    check(message(add(t, x46.clone(), &x36)), "add: rows: 4 against 3");
    check(message(add(t, x46.clone(), &x48)), "add: features: 6 against 8");
    check(message(gated(t, Activation::Silu, x46.clone(), x36.clone())), "gated: rows of gate and up: 4 against 3");
    check(message(gated(t, Activation::Silu, x46.clone(), x48.clone())), "gated: features of gate and up: 6 against 8");
    for (want, settings) in &norms {
        check(message(norm(t, &x46, settings, &[Site::Norm])), &format!("norm: {want}"));
    }

    let head = frozen(memory, 3, 6)?;
    let mut still = Tape::evaluation(memory);
    let y = still.input(Matrix::random(4, 6, 1).tensor(memory), false);
    let beyond = message(project(&mut still, &y, 3..5, Head::plain(&head)));
    check(beyond, "project: end of the rows asked for against those there: 5 against 4");
    let mut refused = |head: Head<'_>| message(project(&mut still, &y, 0..4, head));
    let (plain, bias) = (Head::plain(&head), vector(memory, 6));
    check(refused(Head { bias: Some(&bias), ..plain }), "project: bias against the head's rows: 6 against 3");
    let cap = refused(Head { softcap: Some(-2.0), ..plain });
    check(cap, "project: cap of the logits has to be a finite number above 0, not -2");

    let table = Arc::new(RopeTable::new(10, 6, RopePairs::Halves, &[&[1.0, 0.1, 0.01]], 1.0));
    let mut turn = |x: &Var, positions: &[u32]| message(rope(t, x.clone(), &table, &positions.into()));
    check(turn(&x46, &[0, 1]), "rope: rows against positions: 4 against 2");
    check(turn(&x48, &[0, 1, 2, 3]), "rope: features left over by whole heads: 2 against 0");
    check(turn(&x46, &[0, 1, 10, 3]), "rope: position beyond the table: 10 against 10");
    Ok(())
}

#[test]
fn linear_layers_that_do_not_fit_are_named() -> Result {
    let memory = &Memory::new();
    let x = Matrix::random(4, 6, 1);
    type Change = fn(&mut Linear, &Memory);
    let changes: [(&str, Change); 5] = [
        ("features of the input against the weight's: 6 against 5", |l, m| {
            l.weight = Weight::Trained(param(m, "w", 3, 5, 1))
        }),
        ("bias against output features: 2 against 3", |l, m| l.bias = Some(vector(m, 2))),
        ("input features of A against the weight's: 7 against 6", |l, m| {
            set_pair(l, param(m, "a", 2, 7, 1), param(m, "b", 3, 2, 1))
        }),
        ("output features of B against the weight's: 4 against 3", |l, m| {
            set_pair(l, param(m, "a", 2, 6, 1), param(m, "b", 4, 2, 1))
        }),
        ("ranks of A and B: 2 against 1", |l, m| set_pair(l, param(m, "a", 2, 6, 1), param(m, "b", 3, 1, 1))),
    ];
    for (want, change) in changes {
        let mut layer = Linear { weight: frozen(memory, 3, 6)?, bias: None, lora: Some(lora(memory, 6, 3, 2, 0.0)) };
        change(&mut layer, memory);
        let mut tape = Tape::new(memory, Policy::exact(), StepKey::default());
        let x = tape.input(x.tensor(memory), true);
        assert_eq!(message(linear(&mut tape, &x, &layer, Site::AttnIn)), format!("linear: {want}"));
    }
    Ok(())
}

fn set_pair(layer: &mut Linear, a: Param, b: Param) {
    if let Some(pair) = &mut layer.lora {
        (pair.a, pair.b) = (Values::Trained(a), b);
    }
}

/// An attention of 5 rows that fits, until a case changes it.
struct Attention {
    shape: AttentionShape,
    /// Rows and columns of q, k and v.
    inputs: [(usize, usize); 3],
    /// Start and end.
    sequences: Vec<(usize, usize)>,
}

#[test]
fn attention_that_does_not_fit_is_named() {
    let memory = &Memory::new();
    type Change = fn(&mut Attention);
    let changes: [(&str, Change); 11] = [
        ("heads left over by key/value heads: 1 against 0", |a| a.shape.kv_heads = 3),
        ("heads against key/value heads: 4 against 0", |a| a.shape.kv_heads = 0),
        ("window against the smallest: 0 against 1", |a| a.shape.mask = Mask::Causal { window: Some(0) }),
        ("cap of the scores has to be a finite number above 0, not 0", |a| a.shape.softcap = Some(0.0)),
        ("features of q: 9 against 12", |a| a.inputs[0] = (5, 9)),
        ("features of k or v: 12 against 6", |a| a.inputs[1] = (5, 12)),
        ("rows of k or v: 4 against 5", |a| a.inputs[2] = (4, 6)),
        ("rows covered by sequences: 4 against 5", |a| a.sequences = vec![(0, 1), (1, 4)]),
        ("start of a sequence against the end of the one before: 3 against 2", |a| a.sequences = vec![(0, 2), (3, 5)]),
        ("start of a sequence against the end of the one before: 1 against 0", |a| a.sequences = vec![(1, 5)]),
        ("end of a sequence against its start: 2 against 2", |a| a.sequences = vec![(0, 2), (2, 2), (2, 5)]),
    ];
    for (want, change) in changes {
        let shape = AttentionShape::causal(4, 2, 3);
        let mut case = Attention { shape, inputs: [(5, 12), (5, 6), (5, 6)], sequences: vec![(0, 5)] };
        change(&mut case);
        let mut tape = Tape::new(memory, Policy::exact(), StepKey::default());
        let qkv = case.inputs.map(|(rows, cols)| tape.input(Matrix::random(rows, cols, 1).tensor(memory), true));
        let sequences = case.sequences.iter().map(|&(start, end)| start..end).collect();
        let got = message(attention(&mut tape, qkv, case.shape, &sequences));
        assert_eq!(got, format!("attention: {want}"));
    }
}

#[test]
fn tokens_and_targets_outside_are_named() -> Result {
    let memory = &Memory::new();
    let table = frozen(memory, 9, 6)?;
    let mut tape = Tape::new(memory, Policy::exact(), StepKey::default());
    let outside = Error::TokenId { id: 9, vocabulary: 9 };
    assert_eq!(embedding(&mut tape, &table, &[0, 9]).err(), Some(outside.clone()));
    assert_eq!(outside.to_string(), "token id 9 is outside the vocabulary of 9");
    let mut loss = |cols, rows: &[u32], tokens: &[u32]| {
        let x = tape.input(Matrix::random(4, cols, 1).tensor(memory), true);
        cross_entropy(&mut tape, x, Head::plain(&table), &Targets { rows: rows.to_vec(), tokens: tokens.to_vec() })
            .err()
    };
    assert_eq!(loss(6, &[0], &[9]), Some(outside));
    for (got, want) in [
        (loss(5, &[0], &[1]), "features against the head's: 5 against 6"),
        (loss(6, &[0], &[1, 2]), "target rows against tokens: 1 against 2"),
        (loss(6, &[4], &[1]), "target row beyond the rows: 4 against 4"),
        (loss(6, &[2, 2], &[1, 1]), "target row not after the one before: 2 against 2"),
    ] {
        assert_eq!(got.map(|e| e.to_string()), Some(format!("cross_entropy: {want}")));
    }
    Ok(())
}

/// A broken number is found where it would be compressed, with the layer; kept exactly, it flows on.
#[test]
fn non_finite_activations_name_site_and_layer() -> Result {
    let memory = &Memory::new();
    let (m, n) = (20, 6);
    let layer = Linear { weight: frozen(memory, 3, n)?, bias: None, lora: Some(lora(memory, n, 3, 2, 0.0)) };
    let settings = rms(vector(memory, n));
    type Run<'m> = &'m dyn Fn(&mut Tape<'m>, Var, Var) -> Result<Var>;
    let linear: Run<'_> = &|t, x, _| linear(t, &x, &layer, Site::MlpOut);
    let norm: Run<'_> = &|t, x, _| norm(t, &x, &settings, &[Site::Norm, Site::MlpIn]);
    let gate: Run<'_> = &|t, x, good| gated(t, Activation::Silu, x, good);
    let up: Run<'_> = &|t, x, good| gated(t, Activation::Silu, good, x);
    let segment: Run<'_> = &|t, x, _| t.segment(Site::CkptLayer, x, Box::new(|_, x| Ok(x)));
    // In the norm, one NaN makes its whole row NaN: the first feature is named.
    for (site, col, run) in [
        (Site::MlpOut, 4, linear),
        (Site::Norm, 0, norm),
        (Site::ActFn, 4, gate),
        (Site::ActFn, 4, up),
        (Site::CkptLayer, 4, segment),
    ] {
        let recompute = if site == Site::CkptLayer { Recompute::Layer } else { Recompute::None };
        for compress in [Compress::None, Compress::Rqb, Compress::Gauss] {
            let policy = Policy { recompute, ..compressed(compress, Rank::Count(2)) };
            let mut tape = Tape::new(memory, policy, StepKey::default());
            tape.set_layer(Some(3));
            let mut numbers = Matrix::random(m, n, 1).numbers;
            numbers[11 * n + 4] = f32::NAN;
            let good = tape.input(Matrix::random(m, n, 2).tensor(memory), true);
            let x = tape.input(memory.tensor(m, n, numbers, Category::Transient), true);
            match run(&mut tape, x, good) {
                Ok(_) => assert_eq!(compress, Compress::None, "{site}"),
                Err(Error::NonFinite { site: s, layer, row, col: c, value }) => {
                    assert_eq!((s, layer, row, c), (site, Some(3), 11, col));
                    assert!(value.is_nan());
                }
                Err(other) => panic!("{site}: {other}"),
            }
        }
    }
    let error = Error::NonFinite { site: Site::ActFn, layer: Some(3), row: 11, col: 4, value: f32::INFINITY };
    let text = error.to_string();
    assert!(text.starts_with("non-finite activation inf at site act_fn of layer 3, token row 11, feature 4"), "{text}");
    Ok(())
}

#[test]
fn rank_zero_is_refused() -> Result {
    let memory = &Memory::new();
    let layer = Linear { weight: frozen(memory, 3, 6)?, bias: None, lora: Some(lora(memory, 6, 3, 2, 0.0)) };
    let mut tape = Tape::new(memory, compressed(Compress::Rqb, Rank::Count(0)), StepKey::default());
    let x = tape.input(Matrix::random(20, 6, 1).tensor(memory), true);
    let got = message(linear(&mut tape, &x, &layer, Site::AttnIn));
    assert_eq!(got, "save: rank 0 for a tensor: 20 against 6");
    Ok(())
}

#[test]
fn a_seed_of_another_shape_than_the_output_is_refused() -> Result {
    let memory = Memory::new();
    let mut tape = Tape::new(&memory, Policy::exact(), KEY);
    let input = |rows| tape.input(Matrix::random(rows, 3, 1).tensor(&memory), true);
    let (x, y) = (input(2), input(2));
    let z = add(&mut tape, x, &y)?;
    let seed = Matrix::random(2, 4, 2).tensor(&memory);
    let error = tape.backward(z.id(), seed, &mut Grads::new()).err().map(|e| e.to_string());
    assert_eq!(error.as_deref(), Some("add: features of the output and of its gradient: 3 against 4"));
    Ok(())
}

#[test]
fn a_segment_that_uses_a_value_from_outside_is_refused_in_backward() -> Result {
    let memory = Memory::new();
    let policy = Policy { recompute: Recompute::Layer, ..Policy::exact() };
    let mut tape = Tape::new(&memory, policy, KEY);
    let input = |seed| tape.input(Matrix::random(2, 3, seed).tensor(&memory), true);
    let (x, outside) = (input(1), input(2));
    let y = tape.segment(Site::CkptLayer, x, Box::new(move |tape, x| add(tape, x, &outside)))?;
    let seed = Matrix::random(2, 3, 3).tensor(&memory);
    let error = tape.backward(y.id(), seed, &mut Grads::new()).err().map(|e| e.to_string());
    assert_eq!(error.as_deref(), Some("segment has no gradient for a value from outside it, other than its input"));
    Ok(())
}
