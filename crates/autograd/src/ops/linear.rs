//! y = x·Wᵀ + b + s·(drop(x)·Aᵀ)·Bᵀ: a linear layer with its LoRA pair, as one op.
//!
//! Shapes: x m×in, W out×in, b 1×out, A r×in, B out×r, s = alpha/r; y m×out. ΔW = s·B·A is never built.
//!
//! Saves x at its site (only if A or W is trained: what is frozen does not need its input) and, exactly, x·Aᵀ (m×r).
//! Backward, with g = s·dy·B (m×r):
//! dB = s·dyᵀ·(x·Aᵀ) is exact; dA = gᵀ·x straight from the saved form (factors are never multiplied out),
//! for all layers with the same x at once; dx = dy·W + g·A.
//! With DoRA's m (`dora.rs`) all of it but b is scaled, row by row of W + s·B·A.
//! With dropout on the LoRA branch, dA needs elements of x and takes them a tile of rows at a time.

use std::ops::Range;

use loract_linalg::{Accum, Branch, Rng};

use super::dora;
use crate::error::{Error, same};
use crate::kernels::{elementwise, matmul as products};
use crate::ledger::Category;
use crate::param::{Param, Values, Weight};
use crate::saved::{SavedRef, Site, left_mul_tiles};
use crate::tape::{Backprop, Backward, Factors, Tape, Var, VarId};
use crate::tensor::{Memory, Tensor};

/// A LoRA pair.
#[derive(Debug)]
pub struct Lora {
    /// A, r×in. Frozen (LoRA-FA), nothing of the layer's input is kept.
    pub a: Values,
    /// B, out×r.
    pub b: Param,
    /// s.
    pub scale: f32,
    /// m of DoRA, 1×out: the length of each row of W + s·B·A. Without dropout.
    pub magnitude: Option<Param>,
    /// Probability that an element of the branch's input is dropped in training.
    pub dropout: f32,
    /// Tells this pair's dropout from others of the same layer.
    pub tag: u64,
}

impl Lora {
    /// What is trained of it: A, unless it is frozen, B, and m.
    pub fn params(&self) -> impl Iterator<Item = &Param> {
        self.a.trained().into_iter().chain([&self.b]).chain(&self.magnitude)
    }

    /// A and B.
    pub fn factors(&self) -> [&Tensor; 2] {
        [self.a.value(), self.b.value()]
    }

    /// What is trained of it, to update.
    pub fn params_mut(&mut self) -> impl Iterator<Item = &mut Param> {
        self.a.trained_mut().into_iter().chain([&mut self.b]).chain(&mut self.magnitude)
    }
}

/// The weights of a linear layer.
#[derive(Debug)]
pub struct Linear {
    /// W, out×in.
    pub weight: Weight,
    /// b, 1×out.
    pub bias: Option<Values>,
    /// The LoRA pair, if attached.
    pub lora: Option<Lora>,
}

impl Linear {
    fn is_trained(&self) -> bool {
        self.lora.is_some()
            || self.weight.trained().is_some()
            || self.bias.as_ref().is_some_and(|b| b.trained().is_some())
    }
}

struct Node<'m> {
    layer: &'m Linear,
    x_id: Option<VarId>,
    x: Option<SavedRef>,
    xa: Option<SavedRef>,
    /// ‖V‖, for DoRA.
    norms: Option<SavedRef>,
    stream: Rng,
}

/// The layer applied to x (m×in), whose input is saved at `site`.
///
/// # Errors
/// [`Error::Shape`]; [`Error::NonFinite`] if x is to be compressed and is not finite.
pub fn linear<'m>(tape: &mut Tape<'m>, x: &Var, layer: &'m Linear, site: Site) -> Result<Var, Error> {
    let entered = tape.enter("linear", x.needs_grad() || layer.is_trained());
    let (inputs, outputs) = (layer.weight.cols(), layer.weight.rows());
    same(entered.op, "features of the input against the weight's", x.cols(), inputs)?;
    if let Some(bias) = &layer.bias {
        same(entered.op, "bias against output features", bias.value().cols(), outputs)?;
    }
    if let Some(lora) = &layer.lora {
        let (a, b) = (lora.a.value(), lora.b.value());
        same(entered.op, "input features of A against the weight's", a.cols(), inputs)?;
        same(entered.op, "output features of B against the weight's", b.rows(), outputs)?;
        same(entered.op, "ranks of A and B", a.rows(), b.cols())?;
    }
    let stream = tape.stream(layer.lora.as_ref().map_or(0, |l| l.tag));
    let dropout = layer.lora.as_ref().map_or(0.0, |lora| lora.dropout);
    let dora =
        layer.lora.as_ref().and_then(|lora| Some((lora.magnitude.as_ref()?, dora::norms(layer, lora, tape.memory()))));
    let (mut y, kept_xa) = match x.factors() {
        Some(factors) if dropout == 0.0 => factored(tape, factors, layer),
        _ => dense(tape, x.tensor(), layer, stream),
    };
    if let Some((magnitude, norms)) = dora.as_ref().filter(|_| !tape.is_closing()) {
        dora::scale(&mut y, magnitude, norms, tape.memory());
        add_bias(&mut y, layer, tape.memory());
    }
    if !entered.record {
        return Ok(tape.value(y, entered.needs_grad));
    }
    let trains_a = layer.lora.as_ref().is_some_and(|lora| lora.a.trained().is_some());
    let needs_x = trains_a || dora.is_some() || layer.weight.trained().is_some();
    let saved = match x.factors() {
        Some(factors) => needs_x.then(|| factors.saved.clone()),
        None => needs_x.then(|| tape.save(&[site], x.tensor())).transpose()?,
    };
    let xa = kept_xa.map(|xa| tape.save_exact(Site::LoraXa, &xa));
    let norms = dora.map(|(_, norms)| tape.save_exact(Site::RowStats, &norms));
    Ok(tape.record(entered.op, y, Node { layer, x_id: x.grad_id(), x: saved, xa, norms, stream }))
}

impl Linear {
    /// b, if it is added to x·Wᵀ at once: DoRA scales what comes before it.
    fn early_bias(&self) -> Option<&[f32]> {
        let late = self.lora.as_ref().is_some_and(|lora| lora.magnitude.is_some());
        self.bias.as_ref().filter(|_| !late).map(|bias| bias.value().data())
    }
}

/// y, with DoRA before it is scaled, and x·Aᵀ, from x (m×in). Of an output that nobody reads only x·Aᵀ.
fn dense(tape: &Tape<'_>, x: &Tensor, layer: &Linear, stream: Rng) -> (Tensor, Option<Tensor>) {
    let (memory, m, outputs) = (tape.memory(), x.rows(), layer.weight.rows());
    let mut y = (!tape.is_closing()).then(|| memory.stale(m, outputs, Category::Transient));
    let mut xa = layer.lora.as_ref().map(|lora| memory.stale(m, lora.a.value().rows(), Category::Transient));
    let dropped = layer.lora.as_ref().filter(|lora| lora.dropout > 0.0 && tape.is_training()).map(|lora| {
        let mut copy = x.copy(memory);
        elementwise::dropout(copy.slice_mut(), 0, lora.dropout, stream);
        copy
    });
    if memory.is_hollow() {
        return (y.unwrap_or_else(|| memory.absent(m, outputs)), xa);
    }
    let (output, precision) = (y.as_mut().map(Tensor::slice_mut), tape.precision());
    match (layer.lora.as_ref().zip(xa.as_mut()), &dropped) {
        (Some((lora, xa)), None) => {
            let branch = Branch {
                down: lora.a.value().view().t(),
                down_scale: 1.0,
                up: lora.b.value().view().t(),
                up_scale: lora.scale,
                mid: xa.slice_mut(),
            };
            products::times_transposed(x.view(), &layer.weight, precision, Some(branch), layer.early_bias(), output);
        }
        (lora, dropped) => {
            if output.is_some() {
                products::times_transposed(x.view(), &layer.weight, precision, None, layer.early_bias(), output);
            }
            if let (Some((lora, xa)), Some(dropped)) = (lora, dropped) {
                let (a, b) = (lora.a.value().view(), lora.b.value().view());
                products::product(xa.view_mut(), Accum::Replace, dropped.view(), a.t(), 1.0);
                if let Some(y) = &mut y {
                    products::product(y.view_mut(), Accum::Add, xa.view(), b.t(), lora.scale);
                }
            }
        }
    }
    (y.unwrap_or_else(|| memory.absent(m, outputs)), xa)
}

/// The same from x = U·V, U m×k and V k×in: y = U·(V·Wᵀ + s·(V·Aᵀ)·Bᵀ) + b, x·Aᵀ = U·(V·Aᵀ). Instead of 2·m·in·out
/// operations 2·k·(in + m)·out.
fn factored(tape: &Tape<'_>, x: &Factors, layer: &Linear) -> (Tensor, Option<Tensor>) {
    let (memory, m, outputs) = (tape.memory(), x.u.rows(), layer.weight.rows());
    let mut inner = memory.stale(x.v.rows(), outputs, Category::Transient);
    if !memory.is_hollow() {
        products::times_transposed(x.v.view(), &layer.weight, tape.precision(), None, None, Some(inner.slice_mut()));
    }
    let xa = layer.lora.as_ref().map(|lora| {
        let (a, b) = (lora.a.value(), lora.b.value());
        let mut va = memory.stale(x.v.rows(), a.rows(), Category::Transient);
        let mut xa = memory.stale(m, a.rows(), Category::Transient);
        if !memory.is_hollow() {
            products::product(va.view_mut(), Accum::Replace, x.v.view(), a.view().t(), 1.0);
            products::product(inner.view_mut(), Accum::Add, va.view(), b.view().t(), lora.scale);
            products::product(xa.view_mut(), Accum::Replace, x.u.view(), va.view(), 1.0);
        }
        xa
    });
    if tape.is_closing() {
        return (memory.absent(m, outputs), xa);
    }
    let mut y = memory.stale(m, outputs, Category::Transient);
    if !memory.is_hollow() {
        products::product(y.view_mut(), Accum::Replace, x.u.view(), inner.view(), 1.0);
        if let Some(bias) = layer.early_bias() {
            elementwise::add_bias(y.slice_mut(), bias);
        }
    }
    (y, xa)
}

fn add_bias(y: &mut Tensor, layer: &Linear, memory: &Memory) {
    if let Some(bias) = &layer.bias
        && !memory.is_hollow()
    {
        elementwise::add_bias(y.slice_mut(), bias.value().data());
    }
}

impl Backward for Node<'_> {
    fn adds_products(&self) -> bool {
        true
    }

    fn backward(self: Box<Self>, mut dy: Tensor, pass: &mut Backprop<'_>) -> Result<(), Error> {
        let memory = pass.memory.clone();
        let layer = self.layer;
        if let Some(bias) = layer.bias.as_ref().and_then(Values::trained) {
            let sums = pass.params.zeroed(&memory, bias);
            if !memory.is_hollow() {
                elementwise::add_column_sums(dy.data(), sums);
            }
        }
        if let Some(lora) = &layer.lora
            && let (Some(magnitude), Some(x), Some(norms)) = (&lora.magnitude, &self.x, &self.norms)
        {
            let norms = norms.to_dense(&memory);
            dora::backward((layer, lora, magnitude), &dy, x, &norms, pass);
            dy = dy.into_unique(&memory);
            dora::scale(&mut dy, magnitude, &norms, &memory);
        }
        if let (Some(weight), Some(x)) = (layer.weight.trained(), &self.x) {
            let (slot, accum) = pass.params.slot(&memory, weight);
            x.left_mul(&dy, slot, accum, &memory);
        }
        // g = s·dy·B comes out of the product that makes dx, and with it what goes through A, unless some of that is dropped.
        let mut g = layer.lora.as_ref().map(|lora| memory.stale(dy.rows(), lora.a.value().rows(), Category::Transient));
        let mut branch = layer.lora.as_ref().zip(g.as_mut()).filter(|_| !memory.is_hollow());
        // The first contribution to dx is written, later ones are added in place.
        let mut dx = self.x_id.map(|_| {
            let partial = pass.take_partial(self.x_id);
            let accum = if partial.is_some() { Accum::Add } else { Accum::Replace };
            let mut dx = partial.unwrap_or_else(|| memory.stale(dy.rows(), layer.weight.cols(), Category::Transient));
            if !memory.is_hollow() {
                let beside = branch.take_if(|(lora, _)| lora.dropout == 0.0).map(|(lora, g)| Branch {
                    down: lora.b.value().view(),
                    down_scale: lora.scale,
                    up: lora.a.value().view(),
                    up_scale: 1.0,
                    mid: g.slice_mut(),
                });
                products::times(dy.view(), &layer.weight, pass.precision, beside, dx.slice_mut(), accum);
            }
            dx
        });
        if let Some((lora, g)) = branch {
            products::product(g.view_mut(), Accum::Replace, dy.view(), lora.b.value().view(), lora.scale);
        }
        if let (Some(lora), Some(xa), Some(g)) = (&layer.lora, &self.xa, g) {
            let xa = xa.to_dense(&memory);
            let (slot, accum) = pass.params.slot(&memory, &lora.b);
            products::transposed_times(&dy, &xa, slot, lora.scale, accum, &memory);
            drop(dy);
            if let Some(dx) = dx.as_mut().filter(|_| lora.dropout > 0.0) {
                let a = lora.a.value();
                let mut branch = memory.stale(g.rows(), a.cols(), Category::Transient);
                if !memory.is_hollow() {
                    products::product(branch.view_mut(), Accum::Replace, g.view(), a.view(), 1.0);
                }
                elementwise::dropout(branch.slice_mut(), 0, lora.dropout, self.stream);
                elementwise::add(dx.slice_mut(), branch.data());
            }
            match (lora.a.trained(), &self.x) {
                (Some(a), Some(x)) if lora.dropout > 0.0 => {
                    let (slot, accum) = pass.params.slot(&memory, a);
                    left_mul_dropped(x, &g, slot, accum, lora.dropout, self.stream, &memory);
                }
                (Some(a), Some(x)) => pass.add_product(a, g, x.clone()),
                _ => {}
            }
        }
        if let Some(dx) = dx {
            pass.accumulate(self.x_id, dx);
        }
        Ok(())
    }
}

/// gᵀ·drop(x), r×in, a tile of rows of x at a time.
fn left_mul_dropped(
    x: &SavedRef,
    g: &Tensor,
    out: &mut Tensor,
    accum: Accum,
    probability: f32,
    stream: Rng,
    memory: &Memory,
) {
    let (tiles, cols) = (x.tiles(), x.cols());
    let fill = |rows: Range<usize>, out: &mut [f32]| {
        let first = rows.start * cols;
        tiles.fill(rows, out);
        elementwise::dropout_here(out, first, probability, stream);
    };
    left_mul_tiles(x.rows(), cols, fill, g, out, accum, memory);
}
