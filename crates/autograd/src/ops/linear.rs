//! y = x·Wᵀ + b + s·(drop(x)·Aᵀ)·Bᵀ: a linear layer with its LoRA pair, as one op.
//!
//! Shapes: x m×in, W out×in, b 1×out, A r×in, B out×r, s = alpha/r; y m×out. ΔW = s·B·A is never built.
//!
//! Saves x at its site (only if A or W is trained: a frozen weight does not need its input) and, exactly, x·Aᵀ (m×r).
//! Backward, with g = s·dy·B (m×r):
//! dB = s·dyᵀ·(x·Aᵀ) is exact; dA = gᵀ·x straight from the saved form (factors are never multiplied out); dx = dy·W + g·A.
//! With dropout on the LoRA branch, dA needs elements of x and takes them a tile of rows at a time.

use loract_linalg::{Accum, MatMut, MatRef, Par, Rng, matmul};

use crate::error::{Error, same};
use crate::kernels::{elementwise, matmul as products, scratch};
use crate::ledger::Category;
use crate::param::{Param, Vector, Weight};
use crate::saved::{SavedRef, Site};
use crate::tape::{Backprop, Backward, Tape, Var, VarId};
use crate::tensor::Tensor;

/// A LoRA pair.
#[derive(Debug)]
pub struct Lora {
    /// A, r×in.
    pub a: Param,
    /// B, out×r.
    pub b: Param,
    /// s = alpha/r.
    pub scale: f32,
    /// Probability that an element of the branch's input is dropped in training.
    pub dropout: f32,
    /// Tells this pair's dropout from others of the same layer.
    pub tag: u64,
}

/// The weights of a linear layer.
#[derive(Debug)]
pub struct Linear {
    /// W, out×in.
    pub weight: Weight,
    /// b, 1×out.
    pub bias: Option<Vector>,
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
    stream: Rng,
}

/// The layer applied to x (m×in), whose input is saved at `site`.
///
/// # Errors
/// [`Error::Shape`]; [`Error::NonFinite`] if x is to be compressed and is not finite.
pub fn linear<'m>(tape: &mut Tape<'m>, x: &Var, layer: &'m Linear, site: Site) -> Result<Var, Error> {
    let entered = tape.enter("linear", x.needs_grad() || layer.is_trained());
    let (m, inputs, outputs) = (x.tensor().rows(), layer.weight.cols(), layer.weight.rows());
    same(entered.op, "features of the input against the weight's", x.tensor().cols(), inputs)?;
    if let Some(bias) = &layer.bias {
        same(entered.op, "bias against output features", bias.value().cols(), outputs)?;
    }
    let memory = tape.memory().clone();
    let mut y = memory.stale(m, outputs, Category::Transient);
    products::times_transposed(x.tensor().view(), &layer.weight, y.slice_mut(), Accum::Replace, &memory);
    if let Some(bias) = &layer.bias {
        elementwise::add_bias(y.slice_mut(), bias.value().data());
    }
    let stream = tape.stream(layer.lora.as_ref().map_or(0, |l| l.tag));
    let mut kept_xa = None;
    if let Some(lora) = &layer.lora {
        let (a, b) = (lora.a.value(), lora.b.value());
        same(entered.op, "input features of A against the weight's", a.cols(), inputs)?;
        same(entered.op, "output features of B against the weight's", b.rows(), outputs)?;
        same(entered.op, "ranks of A and B", a.rows(), b.cols())?;
        let mut xa = memory.stale(m, a.rows(), Category::Transient);
        let dropped = (lora.dropout > 0.0 && tape.is_training()).then(|| {
            let mut copy = x.tensor().copy(&memory);
            elementwise::dropout(copy.slice_mut(), 0, lora.dropout, stream);
            copy
        });
        let input = dropped.as_ref().unwrap_or(x.tensor());
        matmul(xa.view_mut(), Accum::Replace, input.view(), a.view().t(), 1.0, Par::Rayon);
        matmul(y.view_mut(), Accum::Add, xa.view(), b.view().t(), lora.scale, Par::Rayon);
        kept_xa = Some(xa);
    }
    if !entered.record {
        return Ok(tape.value(y, entered.needs_grad));
    }
    let needs_x = layer.lora.is_some() || layer.weight.trained().is_some();
    let saved = needs_x.then(|| tape.save(&[site], x.tensor())).transpose()?;
    let xa = kept_xa.map(|xa| tape.save_exact(Site::LoraXa, &xa));
    Ok(tape.record(entered.op, y, Node { layer, x_id: x.grad_id(), x: saved, xa, stream }))
}

impl Backward for Node<'_> {
    fn backward(self: Box<Self>, dy: Tensor, pass: &mut Backprop<'_>) -> Result<(), Error> {
        let memory = pass.memory.clone();
        let layer = self.layer;
        if let Some(bias) = layer.bias.as_ref().and_then(Vector::trained) {
            elementwise::add_column_sums(dy.data(), pass.params.zeroed(&memory, bias));
        }
        if let (Some(weight), Some(x)) = (layer.weight.trained(), &self.x) {
            let (slot, accum) = pass.params.slot(&memory, weight);
            x.left_mul(&dy, slot, accum, &memory);
        }
        // The first contribution to dx is written, later ones are added in place.
        let mut dx = self.x_id.map(|_| {
            let partial = pass.take_partial(self.x_id);
            let accum = if partial.is_some() { Accum::Add } else { Accum::Replace };
            let mut dx = partial.unwrap_or_else(|| memory.stale(dy.rows(), layer.weight.cols(), Category::Transient));
            products::times(dy.view(), &layer.weight, dx.slice_mut(), accum, &memory);
            dx
        });
        if let (Some(lora), Some(x), Some(xa)) = (&layer.lora, &self.x, &self.xa) {
            let (a, b) = (lora.a.value(), lora.b.value());
            let mut g = memory.stale(dy.rows(), a.rows(), Category::Transient);
            matmul(g.view_mut(), Accum::Replace, dy.view(), b.view(), lora.scale, Par::Rayon);
            let xa = xa.to_dense(&memory);
            let (slot, accum) = pass.params.slot(&memory, &lora.b);
            products::transposed_times(&dy, &xa, slot, lora.scale, accum);
            drop(dy);
            let (slot, accum) = pass.params.slot(&memory, &lora.a);
            if lora.dropout > 0.0 {
                left_mul_dropped(x, &g, slot, accum, lora.dropout, self.stream);
            } else {
                x.left_mul(&g, slot, accum, &memory);
            }
            if let Some(dx) = &mut dx {
                if lora.dropout > 0.0 {
                    let mut branch = memory.stale(g.rows(), a.cols(), Category::Transient);
                    matmul(branch.view_mut(), Accum::Replace, g.view(), a.view(), 1.0, Par::Rayon);
                    elementwise::dropout(branch.slice_mut(), 0, lora.dropout, self.stream);
                    elementwise::add(dx.slice_mut(), branch.data());
                } else {
                    matmul(dx.view_mut(), Accum::Add, g.view(), a.view(), 1.0, Par::Rayon);
                }
            }
        }
        if let Some(dx) = dx {
            pass.accumulate(self.x_id, dx);
        }
        Ok(())
    }
}

/// Rows of x rebuilt at once for the gradient through dropout.
const TILE: usize = 64;

/// gᵀ·drop(x), r×in, a tile of rows of x at a time.
fn left_mul_dropped(x: &SavedRef, g: &Tensor, out: &mut Tensor, accum: Accum, probability: f32, stream: Rng) {
    let (rows, cols, r) = (x.rows(), x.cols(), g.cols());
    if accum == Accum::Replace {
        out.slice_mut().fill(0.0);
    }
    for start in (0..rows).step_by(TILE) {
        let range = start..(start + TILE).min(rows);
        let len = range.len();
        scratch::with(2 * TILE * cols, |buffer| {
            let (rebuilt, dropped) = buffer.split_at_mut(TILE * cols);
            let dropped = &mut dropped[..len * cols];
            dropped.copy_from_slice(x.tiles().get(range.clone(), rebuilt));
            if let Some(scale) = &x.column_scale {
                elementwise::scale_columns(dropped, scale.data());
            }
            elementwise::dropout(dropped, range.start * cols, probability, stream);
            let g = MatRef::row_major(&g.data()[range.start * r..range.end * r], len, r);
            let out = MatMut::row_major(out.slice_mut(), r, cols);
            matmul(out, Accum::Add, g.t(), MatRef::row_major(dropped, len, cols), 1.0, Par::Rayon);
        });
    }
}
