//! What is kept, counted by the ledger against sums worked out by hand.

use std::collections::BTreeMap;

use loract_autograd::ops::{Activation, Linear, Norm, attention, cross_entropy, gated, linear, norm};
use loract_autograd::ops::{AttentionShape, Head, Targets, add, dropout};
use loract_autograd::{
    Category, Compress, Frozen, Grads, Memory, Policy, Rank, Recompute, SavedKind, Site, StepKey, Tape, Values, Var,
    Weight,
};

use crate::harness::{KEY, Matrix, Result, assert_close, compressed, lora, param, random, rms, wide};

const M: usize = 40;
const N: usize = 16;
const R: usize = 3;
const K: usize = 4;

fn frozen(memory: &Memory, outputs: usize, inputs: usize) -> Result<Weight> {
    Ok(Weight::Frozen(Frozen::from_f32(memory, outputs, inputs, &random(outputs * inputs, 1))?))
}

fn with_lora(memory: &Memory, outputs: usize, inputs: usize) -> Result<Linear> {
    let lora = Some(lora(memory, inputs, outputs, R, 0.0));
    Ok(Linear { weight: frozen(memory, outputs, inputs)?, bias: None, lora })
}

/// What is kept, by site and form.
fn kept(memory: &Memory) -> BTreeMap<(Site, SavedKind), usize> {
    let saved = |(category, bytes)| match category {
        Category::Saved(site, kind) => Some(((site, kind), bytes)),
        _ => None,
    };
    memory.ledger().live().into_iter().filter_map(saved).collect()
}

fn low_rank() -> Policy {
    compressed(Compress::Rqb, Rank::Count(K))
}

/// Norm and q, k, v, attention, output projection, gate and up, activation, down projection: a whole layer.
#[test]
fn a_layer_keeps_what_is_counted_by_hand() -> Result {
    let memory = Memory::new();
    let ledger = memory.ledger().clone();
    let settings = rms(Values::Frozen(memory.tensor(1, N, random(N, 2), Category::FrozenWeights)));
    let f = 24;
    let [q, k, v] = [N, N / 2, N / 2].map(|out| with_lora(&memory, out, N));
    let (q, k, v, o) = (q?, k?, v?, with_lora(&memory, N, N)?);
    let (gate, up, down) = (with_lora(&memory, f, N)?, with_lora(&memory, f, N)?, with_lora(&memory, N, f)?);
    let shape = AttentionShape::causal(4, 2, 4);
    let sequences = std::iter::once(0..M).collect();
    let dense = |cols| 4 * M * cols;
    let factors = |cols| 4 * K * (M + cols);
    let size = |kind, cols| if kind == SavedKind::Exact { dense(cols) } else { factors(cols) };
    for (policy, kind) in [(Policy::exact(), SavedKind::Exact), (low_rank(), SavedKind::LowRank)] {
        let mut tape = Tape::new(&memory, policy, KEY);
        let x = tape.input(Matrix::random(M, N, 3).tensor(&memory), true);
        let h = norm(&mut tape, &x, &settings, &[Site::Norm, Site::AttnIn])?;
        let qkv = [
            linear(&mut tape, &h, &q, Site::AttnIn)?,
            linear(&mut tape, &h, &k, Site::AttnIn)?,
            linear(&mut tape, &h, &v, Site::AttnIn)?,
        ];
        drop(h);
        let heads = attention(&mut tape, qkv, shape, &sequences)?;
        let y = linear(&mut tape, &heads, &o, Site::AttnOut)?;
        drop(heads);
        let x = add(&mut tape, x, &y)?;
        let h = norm(&mut tape, &x, &settings, &[Site::Norm, Site::MlpIn])?;
        let (g, u) = (linear(&mut tape, &h, &gate, Site::MlpIn)?, linear(&mut tape, &h, &up, Site::MlpIn)?);
        let a = gated(&mut tape, Activation::Silu, g, u)?;
        let z = linear(&mut tape, &a, &down, Site::MlpOut)?;
        drop((a, h, y));
        let want = BTreeMap::from([
            ((Site::Norm, kind), 2 * size(kind, N)),
            ((Site::AttnOut, kind), size(kind, N)),
            ((Site::ActFn, kind), 2 * size(kind, f)),
            ((Site::MlpOut, kind), size(kind, f)),
            ((Site::AttnQkv, kind), size(kind, N) + 2 * size(kind, N / 2)),
            ((Site::LoraXa, SavedKind::Exact), 7 * dense(R)),
            ((Site::RowStats, SavedKind::Exact), 2 * dense(1)),
        ]);
        assert_eq!(kept(&memory), want);
        assert_eq!(ledger.saved_bytes(), want.values().sum::<usize>());
        let out = add(&mut tape, z, &x)?;
        let dy = memory.tensor(M, N, random(M * N, 4), Category::Transient);
        let id = out.id();
        drop((x, out));
        drop(tape.backward(id, dy, &mut Grads::new())?);
        assert_eq!(ledger.activation_bytes(), 0);
    }
    Ok(())
}

type Build = for<'m> fn(&mut Tape<'m>, &Var, &'m Model) -> Result<Var>;

struct Model {
    frozen: Linear,
    bias: Linear,
    first: Linear,
    second: Linear,
    norm: Norm,
    head: Weight,
}

/// Small graphs and what they keep, exactly and compressed.
#[test]
fn each_tensor_is_kept_once_and_only_if_needed() -> Result {
    let memory = Memory::new();
    let bias = Some(Values::Trained(param(&memory, "bias", 1, N, 5)));
    let model = Model {
        frozen: Linear { weight: frozen(&memory, N, N)?, bias: None, lora: None },
        bias: Linear { weight: frozen(&memory, N, N)?, bias, lora: None },
        first: with_lora(&memory, N, N)?,
        second: with_lora(&memory, N, N)?,
        norm: rms(Values::Trained(param(&memory, "norm", 1, N, 6))),
        head: frozen(&memory, 9, N)?,
    };
    let (dense, factors, xa) = (4 * M * N, 4 * K * (M + N), 4 * M * R);
    let graphs: [(&str, Build, [usize; 2]); 8] = [
        ("a frozen weight needs no input", |t, x, m| linear(t, x, &m.frozen, Site::AttnIn), [0, 0]),
        ("a bias needs no input", |t, x, m| linear(t, x, &m.bias, Site::AttnIn), [0, 0]),
        ("one linear", |t, x, m| linear(t, x, &m.first, Site::AttnIn), [dense + xa, factors + xa]),
        ("a site that is not compressed", |t, x, m| linear(t, x, &m.first, Site::LossGrad), [dense + xa; 2]),
        (
            "two linears of one input",
            |t, x, m| {
                let y = linear(t, x, &m.first, Site::AttnIn)?;
                let z = linear(t, x, &m.second, Site::AttnIn)?;
                add(t, y, &z)
            },
            [dense + 2 * xa, factors + 2 * xa],
        ),
        (
            "gate and up that are one tensor",
            |t, x, _| gated(t, Activation::Silu, x.clone(), x.clone()),
            [dense, factors],
        ),
        (
            "a norm whose consumer is not compressed",
            |t, x, m| norm(t, x, &m.norm, &[Site::Norm, Site::LossGrad]),
            [dense + 4 * M; 2],
        ),
        (
            "three trained rows of the loss",
            |t, x, m| {
                let targets = Targets { rows: vec![0, 5, 9], tokens: vec![1, 2, 3] };
                Ok(cross_entropy(t, x.clone(), Head::plain(&m.head), &targets)?.loss)
            },
            [3 * 4 * N; 2],
        ),
    ];
    for (name, build, want) in graphs {
        for (policy, want) in [Policy::exact(), low_rank()].into_iter().zip(want) {
            let mut tape = Tape::new(&memory, policy, StepKey::default());
            let x = tape.input(Matrix::random(M, N, 7).tensor(&memory), true);
            let y = build(&mut tape, &x, &model)?;
            assert_eq!(memory.ledger().saved_bytes(), want, "{name}");
            // The tape goes without backward: nothing is kept, and what the caller holds is no longer counted as kept.
            drop(tape);
            assert_eq!(memory.ledger().saved_bytes(), 0, "{name}");
            drop((x, y));
            assert_eq!(memory.ledger().activation_bytes(), 0, "{name}");
        }
        // In evaluation nothing is kept, not even for a moment.
        memory.ledger().reset_peak();
        let mut tape = Tape::evaluation(&memory);
        let x = tape.input(Matrix::random(M, N, 7).tensor(&memory), true);
        let y = build(&mut tape, &x, &model)?;
        assert!(!y.needs_grad(), "{name}");
        assert!(kept(&memory).is_empty(), "{name}");
        let peak = memory.ledger().peak().by_category;
        assert!(peak.iter().all(|(c, b)| !matches!(c, Category::Saved(..)) || *b == 0), "{name}: {peak:?}");
        drop((tape, x, y));
        assert_eq!(memory.ledger().activation_bytes(), 0, "{name}");
    }
    Ok(())
}

/// Without anything trained below, the input of the first layer gets no gradient and a frozen chain keeps nothing.
#[test]
fn nothing_is_kept_below_the_first_trained_layer() -> Result {
    let memory = Memory::new();
    let (frozen, trained) =
        (Linear { weight: frozen(&memory, N, N)?, bias: None, lora: None }, with_lora(&memory, N, N)?);
    let settings = rms(Values::frozen(&memory, random(N, 2)));
    let mut tape = Tape::new(&memory, Policy::exact(), KEY);
    let x = tape.input(Matrix::random(M, N, 7).tensor(&memory), false);
    let id = x.id();
    let h = norm(&mut tape, &x, &settings, &[Site::Norm, Site::AttnIn])?;
    let h = linear(&mut tape, &h, &frozen, Site::AttnIn)?;
    let h = dropout(&mut tape, h, 0.1, 1)?;
    let h = gated(&mut tape, Activation::Silu, h.clone(), h)?;
    assert_eq!(memory.ledger().saved_bytes(), 0);
    let y = linear(&mut tape, &h, &trained, Site::AttnOut)?;
    let dy = memory.tensor(M, N, random(M * N, 4), Category::Transient);
    let mut grads = Grads::new();
    assert!(tape.backward(y.id(), dy, &mut grads)?.take(id).is_none());
    assert!(
        trained.lora.is_some_and(|pair| pair.params().count() == 2 && pair.params().all(|p| grads.get(p).is_some()))
    );
    Ok(())
}

/// Ops that write in place must not leave the old numbers' factors to be taken for the new ones'.
#[test]
fn numbers_changed_in_place_are_not_taken_for_what_was_kept() -> Result {
    let memory = Memory::new();
    let (first, second) = (with_lora(&memory, N, N)?, with_lora(&memory, N, N)?);
    let full = compressed(Compress::Rqb, Rank::Count(N));
    let run = |policy| -> Result<_> {
        let (mut tape, mut grads) = (Tape::new(&memory, policy, KEY), Grads::new());
        let x = tape.input(Matrix::random(M, N, 7).tensor(&memory), true);
        let y = linear(&mut tape, &x, &first, Site::AttnIn)?;
        // x is held by nobody else: the sum takes its memory.
        let z = add(&mut tape, x, &y)?;
        let out = linear(&mut tape, &z, &second, Site::AttnIn)?;
        let dy = memory.tensor(M, N, random(M * N, 4), Category::Transient);
        tape.backward(out.id(), dy, &mut grads)?;
        let pair = second.lora.as_ref().expect("made with one");
        Ok(grads.get(pair.a.trained().expect("A is trained")).expect("A is trained").to_vec())
    };
    let want = wide(&run(Policy::exact())?);
    // Sums of M rows, rebuilt by two products with sums of N.
    let tolerance = 4.0 * (M + 2 * N) as f64 * f64::from(f32::EPSILON);
    assert_close("dA of the second", &[run(full)?], &[want], tolerance);
    Ok(())
}

/// A tensor kept coarsely at one site and needed exactly at another is kept again, exactly.
#[test]
fn a_coarse_form_does_not_stand_in_for_an_exact_one() -> Result {
    let memory = Memory::new();
    let (coarse, exact) = (with_lora(&memory, N, N)?, with_lora(&memory, N, N)?);
    let policy = Policy::uniform(Recompute::None, [Site::AttnIn], low_rank().form(Site::AttnIn));
    let mut tape = Tape::new(&memory, policy, KEY);
    let x = tape.input(Matrix::random(M, N, 3).tensor(&memory), true);
    linear(&mut tape, &x, &coarse, Site::AttnIn)?;
    linear(&mut tape, &x, &exact, Site::MlpIn)?;
    let kept = kept(&memory);
    assert_eq!(kept.get(&(Site::AttnIn, SavedKind::LowRank)), Some(&(4 * K * (M + N))));
    assert_eq!(kept.get(&(Site::MlpIn, SavedKind::Exact)), Some(&(4 * M * N)));
    Ok(())
}
