//! What a form keeps of a tensor, seen from outside.

use std::collections::BTreeMap;

use loract_autograd::ops::{Linear, linear};
use loract_autograd::{
    Category, Form, Grads, History, Memory, Param, Policy, Recompute, SavedKind, Site, SiteError, StepKey, Tape, Weight,
};

use crate::harness::{Matrix, Result};

/// Every kind of form; `RANK` is replaced.
const FORMS: [&str; 22] = [
    "exact",
    "bf16",
    "q8",
    "q4",
    "q3",
    "q2",
    "q8:sr",
    "q4:sym",
    "q2:sym:sr",
    "q3:sr:b32",
    "q4:b128",
    "rqb:RANK:f32",
    "rqb:RANK",
    "gauss:RANK:f32",
    "rsvd:RANK:f32",
    "tsvd:RANK",
    "nystrom:RANK:f32",
    "rqb:auto@0.3",
    "rqb:RANK+q4",
    "tsvd:RANK:f32+q2:sr",
    "gauss:RANK+q3:sym:b32",
    "nystrom:RANK:f32+q8",
];

/// A form by its words.
pub fn form(text: &str) -> Form {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Every kind of form with its words, of this rank.
pub fn forms(rank: usize) -> Vec<(String, Form)> {
    let named = FORMS.iter().map(|text| text.replace("RANK", &rank.to_string()));
    named.map(|text| (text.clone(), form(&text))).collect()
}

/// One site in one form, nothing recomputed.
pub fn at(site: Site, form: Form) -> Policy {
    Policy::uniform(Recompute::None, [site], form)
}

/// What is kept, by site and form.
pub fn saved(live: &BTreeMap<Category, usize>) -> BTreeMap<(Site, SavedKind), usize> {
    let saved = |(category, bytes): (&Category, &usize)| match category {
        Category::Saved(site, kind) => Some(((*site, *kind), *bytes)),
        _ => None,
    };
    live.iter().filter_map(saved).collect()
}

/// A trained W of zeros, m×n: adds nothing to the output or to dx, but its gradient is dyᵀ·x̃, dy being m×m.
pub fn probe(memory: &Memory, m: usize, n: usize) -> Linear {
    let weight = Param::new(memory, "probe", m, n, vec![0.0; m * n]);
    Linear { weight: Weight::Trained(weight), bias: None, lora: None }
}

/// The gradient of a probe.
pub fn seen(grads: &Grads, probe: &Linear) -> Vec<f32> {
    probe.weight.trained().and_then(|p| grads.get(p)).expect("the probe is trained").to_vec()
}

/// X̃ and how it was kept.
#[derive(Debug)]
pub struct Kept {
    /// X̃, bit by bit: the probe's gradient for dy = 1.
    pub numbers: Vec<f32>,
    pub kind: SavedKind,
    pub bytes: usize,
    pub error: Option<SiteError>,
}

/// Keeps x in `form`.
pub fn keep(x: &Matrix, form: Form, key: StepKey) -> Result<Kept> {
    keep_with(x, at(Site::AttnIn, form), key, &mut History::default())
}

/// Keeps x with what is remembered of earlier times.
pub fn keep_with(x: &Matrix, policy: Policy, key: StepKey, history: &mut History) -> Result<Kept> {
    let (memory, m) = (Memory::new(), x.rows);
    let probe = probe(&memory, m, x.cols);
    let (mut tape, mut grads) = (Tape::new(&memory, policy, key), Grads::new());
    tape.recall(history);
    tape.set_layer(Some(2));
    let input = tape.input(x.tensor(&memory), false);
    let y = linear(&mut tape, &input, &probe, Site::AttnIn)?;
    drop(input);
    let kept = saved(&memory.ledger().live());
    let ((_, kind), bytes) = kept.into_iter().next().expect("something is kept");
    let error = tape.errors().first().copied();
    let one = (0..m * m).map(|i| f32::from(u8::from(i % (m + 1) == 0))).collect();
    tape.backward(y.id(), memory.tensor(m, m, one, Category::Transient), &mut grads)?;
    Ok(Kept { numbers: seen(&grads, &probe), kind, bytes, error })
}
