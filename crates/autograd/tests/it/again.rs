//! `again`: kept of nothing, computed again from what is kept of others.

use std::sync::Arc;

use loract_autograd::ops::{
    Activation, AttentionShape, Linear, RopePairs, RopeTable, activate, add, attention, gated, linear, rope,
};
use loract_autograd::{Category, Form, Frozen, Grads, Memory, Policy, SavedKind, Site, Tape, Var, Weight};
use loract_testkit::oracle;
use loract_testkit::spectrum::{Spectrum, with_spectrum};

use crate::decoder::{Decoder, Options};
use crate::harness::{KEY, Matrix, Result, assert_close, lora, random, wide};
use crate::kept::{forms, probe, saved, seen};

const N: usize = 48;
const R: usize = 3;

fn orthogonal() -> Vec<f32> {
    with_spectrum(N, N, Spectrum::Flat, 40).0
}

/// Rounding of a chain of ten products with sums of N.
const TOLERANCE: f64 = 10.0 * N as f64 * f32::EPSILON as f64;

fn projection(memory: &Memory, outputs: usize, tag: u64, dropout: f32) -> Result<Linear> {
    let numbers: Vec<f32> = random(outputs * N, tag).iter().map(|x| 0.2 * x).collect();
    let mut pair = lora(memory, N, outputs, R, dropout);
    (pair.scale, pair.tag) = (0.1, tag);
    let weight = Weight::Frozen(Frozen::from_f32(memory, outputs, N, &numbers)?);
    Ok(Linear { weight, bias: None, lora: Some(pair) })
}

type Forward<'a> = dyn for<'m> Fn(&mut Tape<'m>, &'m [Linear], Vec<Var>) -> Result<Var> + 'a;

/// A stretch of a model from some inputs, and its layers.
struct Stretch<'a> {
    run: &'a Forward<'a>,
    layers: Vec<Linear>,
    /// Where its inputs are kept.
    site: Site,
}

/// Gradients of inputs, of each layer's A and B in turn; what was kept of the inputs; and the ledger after forward.
struct Outcome {
    inputs: Vec<Vec<f32>>,
    pairs: Vec<Vec<f32>>,
    kept: Vec<Matrix>,
    saved: Vec<((Site, SavedKind), usize)>,
}

impl Stretch<'_> {
    fn through(&self, policy: Policy, inputs: &[Matrix]) -> Result<Outcome> {
        let memory = Memory::new();
        let probes: Vec<_> = inputs.iter().map(|x| probe(&memory, N, x.cols)).collect();
        let (mut tape, mut grads) = (Tape::new(&memory, policy, KEY), Grads::new());
        let vars: Vec<_> = inputs.iter().map(|x| tape.input(x.tensor(&memory), true)).collect();
        let ids: Vec<_> = vars.iter().map(Var::id).collect();
        let mut out = (self.run)(&mut tape, &self.layers, vars.clone())?;
        for (x, probe) in vars.iter().zip(&probes) {
            let z = linear(&mut tape, x, probe, self.site)?;
            out = add(&mut tape, out, &z)?;
        }
        drop(vars);
        let saved = saved(&memory.ledger().live()).into_iter().collect();
        let dy = memory.tensor(N, N, orthogonal(), Category::Transient);
        let mut got = tape.backward(out.id(), dy, &mut grads)?;
        let inputs = ids.into_iter().map(|id| got.take(id).expect("it wants a gradient").to_vec()).collect();
        let pairs = self.layers.iter().filter_map(|l| l.lora.as_ref()).flat_map(|l| l.params());
        let pairs = pairs.map(|p| grads.get(p).expect("it is trained").to_vec()).collect();
        let kept = probes.iter().map(|probe| {
            let seen = oracle::transpose(&wide(&seen(&grads, probe)), N);
            let numbers = oracle::times_transposed(&wide(&orthogonal()), &seen, N);
            Matrix { rows: N, cols: N, numbers: numbers.iter().map(|&x| x as f32).collect() }
        });
        Ok(Outcome { inputs, pairs, kept: kept.collect(), saved })
    }
}

fn close(what: &str, got: &[Vec<f32>], want: &[Vec<f32>]) {
    assert_close(what, got, &want.iter().map(|g| wide(g)).collect::<Vec<_>>(), TOLERANCE);
}

fn policy(forms: &[(Site, Form)]) -> Policy {
    Policy { forms: forms.iter().copied().collect(), ..Policy::exact() }
}

#[test]
fn the_input_of_the_down_projection_comes_from_those_of_the_activation() -> Result {
    let memory = Memory::new();
    let gate_and_up = [Matrix::random(N, N, 1), Matrix::random(N, N, 2)];
    let swiglu: &Forward<'_> = &|tape, layers, inputs| {
        let [gate, up] = inputs.try_into().expect("two inputs");
        let h = gated(tape, Activation::Silu, gate, up)?;
        linear(tape, &h, &layers[0], Site::MlpOut)
    };
    let geglu: &Forward<'_> = &|tape, layers, inputs| {
        let [gate, up] = inputs.try_into().expect("two inputs");
        let h = gated(tape, Activation::Gelu, gate, up)?;
        linear(tape, &h, &layers[0], Site::MlpOut)
    };
    let alone: &Forward<'_> = &|tape, layers, mut inputs| {
        let h = activate(tape, Activation::GeluTanh, inputs.remove(0))?;
        linear(tape, &h, &layers[0], Site::MlpOut)
    };
    for (name, run, inputs, dropout) in [
        ("silu, gated", swiglu, &gate_and_up[..], 0.0),
        ("silu, gated", swiglu, &gate_and_up[..], 0.2),
        ("gelu, gated", geglu, &gate_and_up[..], 0.0),
        ("gelu by tanh", alone, &gate_and_up[..1], 0.0),
        ("gelu by tanh", alone, &gate_and_up[1..], 0.2),
    ] {
        let layers = vec![projection(&memory, N, 5, dropout)?];
        let stretch = Stretch { run, layers, site: Site::ActFn };
        let exact = stretch.through(Policy::exact(), inputs)?;
        for (words, form) in forms(6) {
            let what = format!("{name}, {words}, dropout {dropout}");
            let got = stretch.through(policy(&[(Site::ActFn, form), (Site::MlpOut, Form::Again)]), inputs)?;
            let want = stretch.through(Policy::exact(), &got.kept)?;
            close(&what, &got.inputs, &want.inputs);
            close(&what, &got.pairs[..1], &want.pairs[..1]);
            assert_eq!(got.pairs[1], exact.pairs[1], "{what}: dB is exact");
            let kinds: Vec<_> = got.saved.iter().map(|((site, _), _)| *site).collect();
            assert_eq!(kinds, [Site::ActFn, Site::LoraXa], "{what}");
        }
    }
    Ok(())
}

/// What is not an activation of something kept cannot be computed again: kept exactly, and counted.
#[test]
fn elsewhere_it_is_kept_exactly() -> Result {
    let memory = Memory::new();
    let stretch = Stretch {
        run: &|tape, layers, inputs| linear(tape, &inputs[0], &layers[0], Site::MlpOut),
        layers: vec![projection(&memory, N, 5, 0.0)?],
        site: Site::MlpOut,
    };
    let inputs = [Matrix::random(N, N, 1)];
    let got = stretch.through(policy(&[(Site::MlpOut, Form::Again)]), &inputs)?;
    let sizes = [((Site::MlpOut, SavedKind::Exact), 4 * N * N), ((Site::LoraXa, SavedKind::Exact), 4 * N * R)];
    assert_eq!(got.saved, sizes);
    let exact = stretch.through(Policy::exact(), &inputs)?;
    assert_eq!((got.inputs, got.pairs), (exact.inputs, exact.pairs));
    Ok(())
}

#[test]
fn queries_keys_and_values_come_from_the_input_of_their_projections() -> Result {
    let memory = Memory::new();
    let shape = AttentionShape::causal(4, 2, 12);
    let sequences: Arc<[_]> = [0..20, 20..N].into();
    let table = Arc::new(RopeTable::new(N, 12, RopePairs::Halves, &[&[1.0, 0.5, 0.2, 0.1, 0.05, 0.02]], 1.0));
    let positions: Arc<[u32]> = (0..20).chain(0..N as u32 - 20).collect();
    let stretch = Stretch {
        run: &|tape, layers, mut inputs| {
            let (sequences, table, positions) = (sequences.clone(), table.clone(), positions.clone());
            let [q, k, v, o] = layers else { unreachable!("four layers") };
            let y = tape.segment(
                Site::AttnQkv,
                inputs.remove(0),
                Box::new(move |tape, h| {
                    let q = linear(tape, &h, q, Site::AttnIn)?;
                    let k = linear(tape, &h, k, Site::AttnIn)?;
                    let v = linear(tape, &h, v, Site::AttnIn)?;
                    let q = rope(tape, q, &table, &positions)?;
                    let k = rope(tape, k, &table, &positions)?;
                    attention(tape, [q, k, v], shape, &sequences)
                }),
            )?;
            linear(tape, &y, o, Site::AttnOut)
        },
        layers: vec![
            projection(&memory, N, 1, 0.1)?,
            projection(&memory, N / 2, 2, 0.0)?,
            projection(&memory, N / 2, 3, 0.1)?,
            projection(&memory, N, 4, 0.0)?,
        ],
        site: Site::AttnIn,
    };
    let inputs = [Matrix::random(N, N, 1)];
    let exact = stretch.through(Policy::exact(), &inputs)?;
    for (words, form) in forms(6) {
        let got = stretch.through(policy(&[(Site::AttnIn, form), (Site::AttnQkv, Form::Again)]), &inputs)?;
        let want = stretch.through(Policy::exact(), &got.kept)?;
        close(&words, &got.inputs, &want.inputs);
        // A and B of q, k and v; those of the output projection saw the exact output.
        close(&words, &got.pairs[..6], &want.pairs[..6]);
        assert_eq!(got.pairs[6..], exact.pairs[6..], "{words}");
        let kinds: Vec<_> = got.saved.iter().map(|((site, _), bytes)| (*site, *bytes)).collect();
        let planned = policy(&[(Site::AttnIn, form)]).plan(&[Site::AttnIn], N, N).bytes(N, N);
        assert!(kinds[0].0 == Site::AttnIn && kinds[0].1 <= planned, "{words}: {kinds:?}");
        assert_eq!(kinds[1..], [(Site::AttnOut, 4 * N * N), (Site::LoraXa, 4 * N * R)], "{words}");
        if form == Form::Exact {
            assert_eq!((&got.inputs, &got.pairs), (&exact.inputs, &exact.pairs), "computing again changes no bit");
        }
    }
    Ok(())
}

/// In a whole decoder: the same numbers for less, and nothing counted where nothing is kept.
#[test]
fn a_decoder_keeps_less_and_computes_the_same() -> Result {
    let memory = Memory::new();
    let decoder = Decoder::new(&memory, Options::default())?;
    let exact = decoder.run(&memory, Policy::exact())?;
    for site in [Site::AttnQkv, Site::MlpOut] {
        let got = decoder.run(&memory, policy(&[(site, Form::Again)]))?;
        assert_eq!(got.nll, exact.nll);
        close(site.name(), &got.gradients, &exact.gradients);
        assert!(saved(&exact.live[0]).keys().any(|(at, _)| *at == site));
        assert!(saved(&got.live[0]).keys().all(|(at, _)| *at != site));
        assert!(got.peak.activation_bytes < exact.peak.activation_bytes, "{site}");
    }
    Ok(())
}
