//! The tape: what ran forward, and what each op kept of it.
//!
//! An op computes its output, asks the tape to save what its backward needs at a [`Site`], and records itself. Nothing
//! else keeps a tensor: a [`Var`] frees its numbers when the model drops it. [`Tape::backward`] runs the ops from the
//! last to the first and frees what each kept as soon as it has run.
//!
//! [`Tape::segment`] records one node for a whole stretch of a model, keeps its input only, and runs it forward again in
//! backward, on a tape of its own.

use std::collections::{HashMap, VecDeque};

mod backprop;
mod save;
mod segment;
mod var;

pub use backprop::InputGrads;
pub(crate) use backprop::{Backprop, Backward};
pub use segment::Segment;
pub(crate) use var::Factors;
pub use var::{Var, VarId};

use loract_linalg::{Precision, Rng};

use crate::cache::KvCache;
use crate::error::{Error, same};
use crate::ledger::Phase;
use crate::param::Grads;
use crate::profile::{self, Part, Span};
use crate::routing::Decision;
use crate::saved::{Background, History, Policy, Site, WeakRef};
use crate::tensor::{BufferId, Memory, Tensor};

/// What names the random numbers of a micro-batch: the same key gives the same numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StepKey {
    /// Seed of the run.
    pub seed: u64,
    /// Optimiser step.
    pub step: u64,
    /// Micro-batch within the step.
    pub micro_batch: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Ops save and record.
    Record,
    /// Inside a segment on its first run: nothing is saved, but which values need gradients is followed.
    Dry,
    /// Nothing will be differentiated.
    Evaluate,
}

struct Node<'m> {
    op: &'static str,
    layer: Option<usize>,
    output: VarId,
    shape: (usize, usize),
    backward: Box<dyn Backward + 'm>,
}

/// How closely a compressed tensor was kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SiteError {
    /// Where.
    pub site: Site,
    /// Layer, counted from 0.
    pub layer: Option<usize>,
    /// ‖X − X̃‖/‖X‖, estimated while compressing, without another pass over X.
    pub relative: f32,
}

/// Looks at tensors as they are saved: the op, site, layer, and the dense numbers.
pub type Observer<'m> = Box<dyn FnMut(&'static str, Site, Option<usize>, &Tensor) + 'm>;

/// The record of one micro-batch; `'m` is the model, whose parameters the ops refer to.
pub struct Tape<'m> {
    memory: Memory,
    policy: Policy,
    key: StepKey,
    mode: Mode,
    layer: Option<usize>,
    nodes: Vec<Node<'m>>,
    known: HashMap<BufferId, WeakRef>,
    /// Tensors kept so far, by layer and site.
    kept: HashMap<(Option<usize>, Site), usize>,
    history: Option<&'m mut History>,
    cache: Option<&'m mut KvCache>,
    background: Option<Background<'m>>,
    observer: Option<Observer<'m>>,
    errors: Vec<SiteError>,
    /// What segments on their first run decide for their second; on the tape of a second run, what is left of that.
    decisions: VecDeque<Decision>,
    /// The segment that this tape runs again.
    rerun: Option<Site>,
    /// Whether what follows only makes the segment's output, which nobody reads when it runs again.
    closing: bool,
}

impl<'m> Tape<'m> {
    /// A tape that records, saving as `policy` says.
    pub fn new(memory: &Memory, policy: Policy, key: StepKey) -> Self {
        memory.ledger().set_phase(Phase::Forward);
        Self::with_mode(memory, policy, key, Mode::Record)
    }

    /// A tape that saves and records nothing.
    pub fn evaluation(memory: &Memory) -> Self {
        Self::with_mode(memory, Policy::exact(), StepKey::default(), Mode::Evaluate)
    }

    /// As [`Tape::evaluation`], of tokens that follow those in `cache`, to which they are added.
    pub fn generation(memory: &Memory, cache: &'m mut KvCache) -> Self {
        Self { cache: Some(cache), ..Self::evaluation(memory) }
    }

    fn with_mode(memory: &Memory, policy: Policy, key: StepKey, mode: Mode) -> Self {
        Self {
            memory: memory.clone(),
            policy,
            key,
            mode,
            layer: None,
            nodes: Vec::new(),
            known: HashMap::new(),
            kept: HashMap::new(),
            history: None,
            cache: None,
            background: None,
            observer: None,
            errors: Vec::new(),
            decisions: VecDeque::new(),
            rerun: None,
            closing: false,
        }
    }

    /// Where tensors come from.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Of products with weights.
    pub(crate) fn precision(&self) -> Precision {
        self.policy.precision
    }

    /// Names the layer that the next ops belong to (for errors and random streams).
    pub fn set_layer(&mut self, layer: Option<usize>) {
        self.layer = layer;
    }

    /// The layer that ops belong to.
    pub fn layer(&self) -> Option<usize> {
        self.layer
    }

    /// Shows every tensor that is saved from now on, once, to `observer`, whatever form it is then kept in.
    pub fn observe(&mut self, observer: Observer<'m>) {
        self.observer = Some(observer);
    }

    /// Compresses with what `history` remembers of earlier micro-batches, and remembers there.
    pub fn recall(&mut self, history: &'m mut History) {
        self.history = Some(history);
    }

    /// How closely each compressed tensor was kept so far.
    pub fn errors(&self) -> &[SiteError] {
        &self.errors
    }

    /// Tells that what follows only makes the output of the segment saved at one of `sites`: when that runs again in
    /// backward, its output is not computed. What follows is one linear layer (the last of each expert in
    /// [`crate::ops::experts`]), and ops that keep nothing of their inputs (add, dropout, gather_rows, place_patches, pool,
    /// rope, scale, scale_columns by frozen factors, slice).
    pub fn closes(&mut self, sites: &[Site]) {
        self.closing = self.rerun.is_some_and(|site| sites.contains(&site));
    }

    /// As [`Tape::closes`] for the ops that follow, or its end; what was before.
    pub(crate) fn set_closing(&mut self, closing: bool) -> bool {
        std::mem::replace(&mut self.closing, closing)
    }

    /// Whether nobody reads the output of this op.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing
    }

    /// Whether dropout and the like are on.
    pub(crate) fn is_training(&self) -> bool {
        self.mode != Mode::Evaluate
    }

    /// Whether ops save.
    pub(crate) fn is_recording(&self) -> bool {
        self.mode == Mode::Record
    }

    /// In a segment that runs again, what was decided next when it first ran.
    pub(crate) fn recall_decision(&mut self) -> Option<Decision> {
        if self.rerun.is_some() { self.decisions.pop_front() } else { None }
    }

    /// In a segment on its first run, keeps a decision for when it runs again.
    pub(crate) fn note_decision(&mut self, decision: &Decision) {
        if self.mode == Mode::Dry {
            self.decisions.push_back(decision.clone());
        }
    }

    /// Earlier tokens that attention sees.
    pub(crate) fn cache(&mut self) -> Option<&mut KvCache> {
        self.cache.as_deref_mut()
    }

    /// A value that no op made.
    pub fn input(&self, tensor: Tensor, needs_grad: bool) -> Var {
        self.value(tensor, needs_grad)
    }

    /// The random stream of something in the current layer, named by `tag`; the same when a segment runs again.
    pub(crate) fn stream(&self, tag: u64) -> Rng {
        let layer = self.layer.map_or(0, |l| l as u64 + 1);
        Rng::new(&[self.key.seed, self.key.step, self.key.micro_batch, layer, tag])
    }

    /// Begins an op: notes its name, and tells whether its output needs a gradient and whether the op must record.
    pub(crate) fn enter(&self, op: &'static str, any_input_needs_grad: bool) -> Entered {
        self.memory.ledger().set_op(op);
        let _span = profile::span(Part::Op(op));
        let needs_grad = any_input_needs_grad && self.mode != Mode::Evaluate;
        Entered { op, needs_grad, record: needs_grad && self.mode == Mode::Record, _span }
    }

    /// Ends an op that does not record.
    pub(crate) fn value(&self, tensor: Tensor, needs_grad: bool) -> Var {
        Var::dense(tensor, needs_grad && self.mode != Mode::Evaluate)
    }

    /// Ends an op that saves nothing: records `backward` if it must.
    pub(crate) fn finish(&mut self, entered: Entered, output: Tensor, backward: impl Backward + 'm) -> Var {
        if entered.record { self.record(entered.op, output, backward) } else { self.value(output, entered.needs_grad) }
    }

    /// Ends an op that records.
    pub(crate) fn record(&mut self, op: &'static str, output: Tensor, backward: impl Backward + 'm) -> Var {
        let shape = (output.rows(), output.cols());
        let output = self.value(output, true);
        self.nodes.push(Node { op, layer: self.layer, output: output.id(), shape, backward: Box::new(backward) });
        output
    }

    /// Whether the policy recomputes the segments saved at `site`.
    pub fn recomputes(&self, site: Site) -> bool {
        self.policy.recomputes(site)
    }

    /// Runs backward from `output`, whose gradient is `seed`: adds to `grads`, frees everything kept, and returns the
    /// gradients of inputs ([`Tape::input`]) that wanted one.
    ///
    /// # Errors
    /// Those of the ops' backward; recomputation can meet whatever forward can.
    pub fn backward(mut self, output: VarId, seed: Tensor, grads: &mut Grads) -> Result<InputGrads, Error> {
        self.settle()?;
        let ledger = self.memory.ledger().clone();
        let before = ledger.set_phase(Phase::Backward);
        let mut pass = Backprop::new(&self.memory, self.policy.precision, grads);
        pass.values.insert(output, seed);
        // Nothing more is saved here that could share what is kept, and what is known of it need not live on.
        self.known.clear();
        let mut nodes = self.nodes;
        while let Some(node) = nodes.pop() {
            if let Some(dy) = pass.values.remove(&node.output) {
                if !node.backward.adds_products() {
                    pass.catch_up();
                }
                ledger.set_op(node.op);
                let _span = profile::span(Part::Op(node.op));
                same(node.op, "rows of the output and of its gradient", node.shape.0, dy.rows())?;
                same(node.op, "features of the output and of its gradient", node.shape.1, dy.cols())?;
                node.backward.backward(dy, &mut pass).map_err(|error| at_layer(error, node.layer))?;
            }
        }
        pass.catch_up();
        ledger.set_phase(before);
        Ok(InputGrads(pass.values))
    }
}

fn at_layer(error: Error, at: Option<usize>) -> Error {
    match error {
        Error::NonFinite { site, layer, row, col, value } => {
            Error::NonFinite { site, layer: layer.or(at), row, col, value }
        }
        other => other,
    }
}

/// What [`Tape::enter`] tells an op.
#[derive(Debug)]
pub(crate) struct Entered {
    /// Its name.
    pub op: &'static str,
    /// Whether its output needs a gradient.
    pub needs_grad: bool,
    /// Whether it must save and record.
    pub record: bool,
    /// Time counts for the op for as long as this lives.
    _span: Span,
}
