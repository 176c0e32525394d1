//! Mixtures of experts: what they keep, what they read from it, and that a segment that runs again chooses as at first.

use std::cell::RefCell;
use std::collections::BTreeMap;

use loract_autograd::ops::{Linear, Norm, NormKind, Shares, add, experts, linear, norm, route, weigh_rows};
use loract_autograd::{
    Category, Form, Frozen, Grads, Memory, Param, Policy, Recompute, SavedKind, Site, Tape, Values, Var, Weight,
};

use crate::expert::Expert;
use crate::harness::{EPS, KEY, Matrix, Result, assert_close, everywhere, param, random, rms, wide};
use crate::kept::{form, forms, probe, saved, seen};

const M: usize = 60;
/// C.
const N: usize = 16;
/// F.
const HIDDEN: usize = 10;
/// Of an expert's LoRA pairs.
const R: usize = 2;
const EXPERTS: usize = 5;
const TOP_K: usize = 2;

/// A router and its experts.
#[derive(Debug)]
struct Mixture {
    router: Linear,
    experts: Vec<Expert>,
    shares: Shares,
}

/// The weights that each expert saw, in the order of the calls.
type Log = RefCell<Vec<(usize, Vec<f32>)>>;

impl Mixture {
    fn new(memory: &Memory, shares: Shares, seed: u64) -> Result<Self> {
        let router = Weight::Frozen(Frozen::from_f32(memory, EXPERTS, N, &random(EXPERTS * N, seed))?);
        let experts = (0..EXPERTS as u64).map(|at| Expert::new(memory, N, HIDDEN, 10 * seed + at));
        let experts = experts.collect::<Result<_>>()?;
        Ok(Self { router: Linear { weight: router, bias: None, lora: None }, experts, shares })
    }

    fn forward<'m>(&'m self, tape: &mut Tape<'m>, y: &Var, closes: &[Site], log: &Log) -> Result<Var> {
        let logits = linear(tape, y, &self.router, Site::MlpIn)?;
        let routed = route(tape, &logits, TOP_K, self.shares)?;
        experts(tape, y, &routed, &[Site::MlpIn], |tape, number, input| {
            log.borrow_mut().push((number, input.weights.tensor().to_vec()));
            self.experts[number].run(tape, &input.x, &input.weights, closes)
        })
    }
}

/// x + a(norm x) + b(norm x) for mixtures a and b, laid out in segments as a model has it.
struct Block {
    norm: Norm,
    mixtures: [Mixture; 2],
    closes: &'static [Site],
}

struct Outcome {
    output: Vec<f32>,
    gradients: Vec<Vec<f32>>,
    kept: BTreeMap<(Site, SavedKind), usize>,
    log: Vec<(usize, Vec<f32>)>,
}

impl Block {
    fn new(memory: &Memory) -> Result<Self> {
        let norm = rms(Values::Trained(param(memory, "norm", 1, N, 1)));
        let mixtures = [Mixture::new(memory, Shares::OfAll, 2)?, Mixture::new(memory, Shares::OfChosen, 3)?];
        Ok(Self { norm, mixtures, closes: &[Site::CkptMlp, Site::CkptLayer] })
    }

    fn mlp<'m>(&'m self, tape: &mut Tape<'m>, y: Var, log: &Log) -> Result<Var> {
        let [first, last] = &self.mixtures;
        let z = first.forward(tape, &y, &[], log)?;
        let y = last.forward(tape, &y, self.closes, log)?;
        add(tape, z, &y)
    }

    fn forward<'m>(&'m self, tape: &mut Tape<'m>, x: Var, log: &'m Log) -> Result<Var> {
        tape.segment(
            Site::CkptLayer,
            x,
            Box::new(move |tape, x| {
                let consumer = if tape.recomputes(Site::CkptMlp) { Site::CkptMlp } else { Site::MlpIn };
                let y = norm(tape, &x, &self.norm, &[Site::Norm, consumer])?;
                let y = tape.segment(Site::CkptMlp, y, Box::new(move |tape, y| self.mlp(tape, y, log)))?;
                add(tape, x, &y)
            }),
        )
    }

    fn params(&self) -> impl Iterator<Item = &Param> {
        let norm = self.norm.weight.as_ref().and_then(Values::trained);
        norm.into_iter().chain(self.mixtures.iter().flat_map(|m| &m.experts).flat_map(Expert::params))
    }

    fn run(&self, policy: Policy) -> Result<Outcome> {
        let (memory, log) = (Memory::new(), Log::default());
        let (mut tape, mut grads) = (Tape::new(&memory, policy, KEY), Grads::new());
        let x = tape.input(Matrix::random(M, N, 5).tensor(&memory), true);
        let id = x.id();
        let y = self.forward(&mut tape, x, &log)?;
        let (output, out) = (y.tensor().to_vec(), y.id());
        drop(y);
        let kept = saved(&memory.ledger().live());
        let dy = memory.tensor(M, N, random(M * N, 6), Category::Transient);
        let dx = tape.backward(out, dy, &mut grads)?.take(id).expect("x wants a gradient").to_vec();
        assert_eq!(memory.ledger().activation_bytes(), 0, "activations left after backward");
        let of = |p: &Param| grads.get(p).unwrap_or_else(|| panic!("no gradient of {}", p.name())).to_vec();
        let gradients = std::iter::once(dx).chain(self.params().map(of)).collect();
        Ok(Outcome { output, gradients, kept, log: log.into_inner() })
    }
}

/// A chain of some ten products with sums of M.
const TOLERANCE: f64 = 10.0 * M as f64 * f32::EPSILON as f64;

/// Bytes of M rows, or of the rows of all experts, of `cols` numbers.
const fn rows(times: usize, cols: usize) -> usize {
    4 * times * M * cols
}

#[test]
fn the_input_of_the_experts_is_kept_once() -> Result {
    let memory = Memory::new();
    let block = Block::new(&memory)?;
    let statistics = |shares: usize| {
        // Of the norm; softmax, who chose whom and where each expert's end, and the experts' weights of two mixtures.
        rows(1, 1) + rows(1, shares) + 2 * (rows(TOP_K, 1) + rows(TOP_K, 1) + 8 * EXPERTS)
    };
    let common = [
        ((Site::LoraXa, SavedKind::Exact), 2 * 3 * rows(TOP_K, R)),
        ((Site::RowStats, SavedKind::Exact), statistics(EXPERTS + TOP_K)),
    ];
    let gate_and_up = ((Site::ActFn, SavedKind::Exact), 2 * 2 * rows(TOP_K, HIDDEN));
    let down = ((Site::MlpOut, SavedKind::Exact), 2 * rows(TOP_K, HIDDEN));
    let x_hat = ((Site::Norm, SavedKind::Exact), rows(1, N));
    let exact = block.run(Policy::exact())?;
    assert_eq!(exact.kept, BTreeMap::from_iter(common.into_iter().chain([gate_and_up, down, x_hat])));

    let factors = ((Site::Norm, SavedKind::LowRank), 4 * 3 * (M + N));
    let policy = Policy::uniform(Recompute::None, [Site::Norm, Site::MlpIn], form("rqb:3:f32"));
    let kept = block.run(policy)?.kept;
    assert_eq!(kept, BTreeMap::from_iter(common.into_iter().chain([gate_and_up, down, factors])));

    // The input of down comes from gate, up and the weights.
    let again = block.run(Policy::uniform(Recompute::None, [Site::MlpOut], Form::Again))?;
    assert_eq!(again.kept, BTreeMap::from_iter(common.into_iter().chain([gate_and_up, x_hat])));
    assert_eq!(again.output, exact.output);
    let want: Vec<_> = exact.gradients.iter().map(|g| wide(g)).collect();
    assert_close("again", &again.gradients, &want, TOLERANCE);
    Ok(())
}

/// Each expert reads its rows of what is kept of x, and of no other: as one layer for all rows reads them.
#[test]
fn experts_read_their_rows_of_what_is_kept() -> Result {
    let memory = Memory::new();
    let behind = Norm {
        kind: NormKind::Layer,
        width: N,
        eps: EPS,
        offset: 0.5,
        weight: Some(Values::frozen(&memory, random(N, 2))),
        bias: Some(Values::frozen(&memory, random(N, 3))),
    };
    for (words, form) in forms(6) {
        let memory = Memory::new();
        let (whole, parts) = (probe(&memory, M, N), [(); EXPERTS].map(|()| probe(&memory, M, N)));
        let (mut tape, mut grads) = (Tape::new(&memory, everywhere(form), KEY), Grads::new());
        let x = tape.input(Matrix::random(M, N, 1).tensor(&memory), true);
        let logits = tape.input(Matrix::random(M, EXPERTS, 4).tensor(&memory), false);
        let y = norm(&mut tape, &x, &behind, &[Site::Norm, Site::MlpIn])?;
        let of_all = linear(&mut tape, &y, &whole, Site::MlpIn)?;
        let routed = route(&mut tape, &logits, TOP_K, Shares::OfAll)?;
        let of_parts = experts(&mut tape, &y, &routed, &[Site::MlpIn], |tape, number, input| {
            linear(tape, &input.x, &parts[number], Site::MlpIn)
        })?;
        let out = add(&mut tape, of_all, &of_parts)?;
        let one = (0..M * M).map(|i| f32::from(u8::from(i % (M + 1) == 0))).collect();
        tape.backward(out.id(), memory.tensor(M, M, one, Category::Transient), &mut grads)?;
        let whole = wide(&seen(&grads, &whole));
        for (number, part) in parts.iter().enumerate() {
            let mut want = vec![0.0; M * N];
            for (row, slot) in routed.choices.of(number) {
                assert!(slot < TOP_K);
                want[row * N..(row + 1) * N].copy_from_slice(&whole[row * N..(row + 1) * N]);
            }
            // Products with sums of M zeros and a one, and of up to N.
            let tolerance = (N + 8) as f64 * f64::from(f32::EPSILON);
            assert_close(&format!("{words} {number}"), &[seen(&grads, part)], &[want], tolerance);
        }
    }
    Ok(())
}

/// With dropout on the branches, A's gradient needs elements of what is kept: of an expert's rows, and of the weighed product.
#[test]
fn dropout_takes_elements_of_what_is_kept() -> Result {
    let memory = Memory::new();
    let mut block = Block::new(&memory)?;
    for expert in block.mixtures.iter_mut().flat_map(|mixture| &mut mixture.experts) {
        for pair in [&mut expert.gate, &mut expert.up, &mut expert.down].into_iter().filter_map(|l| l.lora.as_mut()) {
            pair.dropout = 0.3;
        }
    }
    let exact = block.run(Policy::exact())?;
    let want: Vec<_> = exact.gradients.iter().map(|g| wide(g)).collect();
    for words in ["exact", "rqb:16:f32", "rqb:16:f32+q8"] {
        let forms = [(Site::Norm, form(words)), (Site::MlpIn, form(words)), (Site::MlpOut, Form::Again)];
        let got = block.run(Policy { forms: forms.into(), ..Policy::exact() })?;
        assert_eq!(got.output, exact.output, "{words}");
        assert_close(words, &got.gradients, &want, TOLERANCE);
    }
    Ok(())
}

/// Rows chosen by nobody but one expert, and the others' gradients: zeros, but there.
#[test]
fn experts_without_rows_have_gradients_of_zeros() -> Result {
    let memory = Memory::new();
    let all: Vec<_> = (0..4).map(|seed| Expert::new(&memory, N, HIDDEN, seed)).collect::<Result<_>>()?;
    for policy in [Policy::exact(), everywhere(form("rqb:3")), everywhere(form("q4"))] {
        let (mut tape, mut grads) = (Tape::new(&memory, policy, KEY), Grads::new());
        let x = tape.input(Matrix::random(M, N, 1).tensor(&memory), true);
        let logits = tape.input(memory.tensor(M, 4, [0.0, 0.0, 1.0, 0.0].repeat(M), Category::Transient), false);
        let routed = route(&mut tape, &logits, 1, Shares::OfChosen)?;
        let y = experts(&mut tape, &x, &routed, &[Site::MlpIn], |tape, number, input| {
            all[number].run(tape, &input.x, &input.weights, &[])
        })?;
        let dy = memory.tensor(M, N, random(M * N, 6), Category::Transient);
        tape.backward(y.id(), dy, &mut grads)?;
        for (number, expert) in all.iter().enumerate() {
            for param in expert.params() {
                let gradient = grads.get(param).expect("every pair has a gradient").to_vec();
                assert_eq!(gradient.iter().any(|&g| g != 0.0), number == 2, "{number} {}", param.name());
            }
        }
    }
    Ok(())
}

/// From an input of rank 1 the router would choose quite differently.
#[test]
fn a_segment_that_runs_again_chooses_and_weighs_as_at_first() -> Result {
    let memory = Memory::new();
    let block = Block::new(&memory)?;
    let whole = block.run(Policy::exact())?;
    for recompute in [Recompute::Sublayer, Recompute::Factored, Recompute::Layer] {
        for words in ["exact", "rqb:1:f32", "rqb:1+q2", "q4", "q2"] {
            let what = format!("{recompute:?} {words}");
            let got = block.run(Policy { recompute, ..everywhere(form(words)) })?;
            assert_eq!(got.output, whole.output, "{what}: forward");
            assert_eq!(got.log.len(), 2 * whole.log.len(), "{what}");
            let (first, again) = got.log.split_at(whole.log.len());
            assert_eq!(first, whole.log, "{what}");
            assert_eq!(again, whole.log, "{what}");
            let want: Vec<_> = whole.gradients.iter().map(|g| wide(g)).collect();
            match words {
                "exact" => assert_close(&what, &got.gradients, &want, TOLERANCE),
                _ => assert!(got.gradients != whole.gradients, "{what}: something must be lost"),
            }
            let open = Block { closes: &[], ..Block::new(&memory)? };
            let open = open.run(Policy { recompute, ..everywhere(form(words)) })?;
            assert!(open.gradients == got.gradients, "{what}: an output that nobody reads is not missed");
        }
    }
    Ok(())
}

#[test]
fn in_evaluation_only_chosen_experts_run_and_nothing_is_kept() -> Result {
    let memory = Memory::new();
    let block = Block::new(&memory)?;
    let want = block.run(Policy::exact())?.output;
    let (of_step, log) = (Memory::new(), Log::default());
    let mut tape = Tape::evaluation(&of_step);
    let x = tape.input(Matrix::random(M, N, 5).tensor(&of_step), true);
    let y = block.forward(&mut tape, x, &log)?;
    assert_eq!(y.tensor().to_vec(), want);
    let peak = of_step.ledger().peak().by_category;
    assert!(peak.iter().all(|(c, b)| !matches!(c, Category::Saved(..)) || *b == 0), "{peak:?}");
    drop(y);
    // One row: as many experts as it chooses, in each mixture.
    log.borrow_mut().clear();
    let x = tape.input(Matrix::random(1, N, 5).tensor(&of_step), true);
    block.forward(&mut tape, x, &log)?;
    assert_eq!(log.borrow().len(), 2 * TOP_K);
    Ok(())
}

/// Experts are chosen in turn where there are no logits: all rows of all experts together are as many.
#[test]
fn a_hollow_memory_foresees_what_is_kept() -> Result {
    for recompute in [Recompute::None, Recompute::Sublayer, Recompute::Factored, Recompute::Layer] {
        for words in ["exact", "bf16", "q4"] {
            let run = |of_step: &Memory| -> Result<_> {
                let memory = if of_step.is_hollow() { Memory::hollow() } else { Memory::new() };
                let (block, log) = (Block::new(&memory)?, Log::default());
                let mut grads = Grads::new();
                let mut tape = Tape::new(of_step, Policy { recompute, ..everywhere(form(words)) }, KEY);
                let x = tape.input(Matrix::random(M, N, 5).tensor(of_step), true);
                let y = block.forward(&mut tape, x, &log)?;
                let out = y.id();
                drop(y);
                let forward = of_step.ledger().live();
                let dy = of_step.tensor(M, N, random(M * N, 6), Category::Transient);
                drop(tape.backward(out, dy, &mut grads)?);
                Ok((forward, of_step.ledger().live()))
            };
            assert_eq!(run(&Memory::hollow())?, run(&Memory::new())?, "{recompute:?} {words}");
        }
    }
    Ok(())
}

#[test]
fn equally_likely_experts_are_chosen_in_their_order() -> Result {
    let memory = Memory::new();
    let mut tape = Tape::evaluation(&memory);
    let logits = vec![0.5, 0.5, 0.5, 0.5, 1.0, 0.0, 2.0, 1.0];
    let logits = tape.input(memory.tensor(2, 4, logits, Category::Transient), false);
    let routed = route(&mut tape, &logits, 2, Shares::OfChosen)?;
    let chosen: Vec<Vec<_>> = (0..4).map(|expert| routed.choices.of(expert).collect()).collect();
    assert_eq!(chosen, [vec![(0, 0), (1, 1)], vec![(0, 1)], vec![(1, 0)], vec![]]);
    let e = std::f64::consts::E;
    assert_close(
        "weights",
        &[routed.weights.tensor().to_vec()],
        &[vec![0.5, 0.5, e / (e + 1.0), 1.0 / (e + 1.0)]],
        1e-6,
    );
    Ok(())
}

#[test]
fn what_does_not_fit_is_named() -> Result {
    let memory = Memory::new();
    let mut tape = Tape::new(&memory, Policy::exact(), KEY);
    let x = |rows, cols| tape.input(Matrix::random(rows, cols, 1).tensor(&memory), true);
    let (x, logits, w, wide) = (x(4, 6), x(3, 5), x(3, 1), x(4, 2));
    let message = |error: Option<loract_autograd::Error>| error.map_or_else(|| "no error".into(), |e| e.to_string());
    for top_k in [0, 6] {
        let got = message(route(&mut tape, &logits, top_k, Shares::OfAll).err());
        assert_eq!(got, format!("route: experts of a row against those there: {top_k} against 5"));
    }
    let routed = route(&mut tape, &logits, 2, Shares::OfAll)?;
    let got = experts(&mut tape, &x, &routed, &[], |_, _, input| Ok(input.x)).err();
    assert_eq!(message(got), "experts: rows against choices: 4 against 3");
    let got = weigh_rows(&mut tape, x.clone(), &w, Site::ActFn).err();
    assert_eq!(message(got), "weigh_rows: rows against weights: 4 against 3");
    let got = weigh_rows(&mut tape, x, &wide, Site::ActFn).err();
    assert_eq!(message(got), "weigh_rows: weights of a row: 2 against 1");
    Ok(())
}
