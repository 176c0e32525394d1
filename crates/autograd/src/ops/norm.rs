//! y = x̂·(w + offset) + b with x̂ = (x − mean)·rstd, rstd = 1/√(mean((x − mean)²) + eps); RMSNorm leaves out the mean.
//!
//! x is m×n, and each group of D of its features is normed by itself (rstd is m×n/D): D = n for the norms of a layer, less
//! for the heads of queries and keys. w and b are 1×D or 1×n.
//!
//! Saves x̂ (not x, not y) and rstd. The projections that follow need y = x̂·diag(w + offset) + 1·bᵀ: they share x̂ and fold
//! the rest in (`method.md`: backward from y would divide by w, and channels with a small w blow any error up). Without w and
//! b, y is x̂.
//! dx = rstd·(g − mean(g) − x̂·mean(g·x̂)), g = dy·(w + offset); RMSNorm leaves out mean(g).

use crate::error::{Error, same};
use crate::kernels::{elementwise, norm as kernel};
use crate::ledger::Category;
use crate::param::Values;
use crate::saved::{ColumnMap, SavedRef, Site};
use crate::tape::{Backprop, Backward, Tape, Var, VarId};
use crate::tensor::{Memory, Tensor};

pub use kernel::NormKind;

/// The weights and settings of a normalisation.
#[derive(Debug)]
pub struct Norm {
    /// What is subtracted and divided by.
    pub kind: NormKind,
    /// D: features normed together. A row is one such group, or several side by side (heads).
    pub width: usize,
    /// Added to the mean square.
    pub eps: f32,
    /// Added to the stored weight, if there is one: 1 in Gemma, which stores w − 1; else 0.
    pub offset: f32,
    /// w: 1×D, the same for every group, or 1×n, a number for each feature of a row (Cohere's heads). None: ones (OLMo).
    pub weight: Option<Values>,
    /// b, of either shape. None: zeros.
    pub bias: Option<Values>,
}

impl Norm {
    /// RMSNorm of groups of as many features as `weight` has.
    pub fn rms(weight: Values, eps: f32) -> Self {
        let width = weight.value().cols();
        Self { kind: NormKind::Rms, width, eps, offset: 0.0, weight: Some(weight), bias: None }
    }

    fn is_trained(&self) -> bool {
        [&self.weight, &self.bias].into_iter().flatten().any(|values| values.trained().is_some())
    }

    /// Whether rows of n features can be normed.
    fn fits(&self, op: &'static str, n: usize) -> Result<(), Error> {
        if self.width == 0 {
            return Err(Error::Shape { op, what: "features normed together against the least", left: 0, right: 1 });
        }
        same(op, "features left over by whole groups", n % self.width, 0)?;
        for (values, what) in [(&self.weight, "weight against features"), (&self.bias, "bias against features")] {
            if let Some(values) = values
                && values.value().cols() != n
            {
                same(op, what, values.value().cols(), self.width)?;
            }
        }
        Ok(())
    }

    /// From x̂ to y.
    fn columns(&self, memory: &Memory) -> ColumnMap {
        let scale = self.weight.as_ref().map(|weight| {
            let w = weight.value();
            if self.offset == 0.0 {
                return w.clone();
            }
            let mut sum = memory.stale(1, w.cols(), Category::Transient);
            kernel::add_offset(w.data(), self.offset, sum.slice_mut());
            sum
        });
        ColumnMap { scale, shift: self.bias.as_ref().map(|bias| bias.value().clone()) }
    }
}

struct Node<'m> {
    x: Option<VarId>,
    norm: &'m Norm,
    x_hat: SavedRef,
    rstd: SavedRef,
    /// w + offset, where that is not w.
    scale: Option<SavedRef>,
}

/// x (m×n) normed. x̂ is stored once, for all of `sites`: that of the norm, and those at which its output will be needed.
///
/// # Errors
/// [`Error::Shape`], or [`Error::NonFinite`] if x̂ is to be compressed and is not finite.
pub fn norm<'m>(tape: &mut Tape<'m>, x: &Var, norm: &'m Norm, sites: &[Site]) -> Result<Var, Error> {
    let entered = tape.enter("norm", x.needs_grad() || norm.is_trained());
    let (m, n) = (x.tensor().rows(), x.tensor().cols());
    norm.fits(entered.op, n)?;
    let memory = tape.memory().clone();
    let mut x_hat = memory.stale(m, n, Category::Transient);
    let mut rstd = memory.stale(m, n / norm.width, Category::Transient);
    kernel::normalise(x.tensor().data(), norm.kind, norm.width, norm.eps, x_hat.slice_mut(), rstd.slice_mut());
    let columns = norm.columns(&memory);
    if !entered.record {
        // A value on its way: x̂ becomes y in place.
        if !memory.is_hollow() {
            columns.apply(x_hat.slice_mut());
        }
        return Ok(tape.value(x_hat, entered.needs_grad));
    }
    let saved = tape.save(sites, &x_hat)?;
    let y = if columns.is_identity() { x_hat } else { weighed(tape, x_hat, &saved, &columns) };
    let rstd = tape.save_exact(Site::RowStats, &rstd);
    let computed = columns.scale.filter(|_| norm.offset != 0.0);
    let scale = computed.map(|scale| tape.save_exact(Site::RowStats, &scale));
    Ok(tape.record(entered.op, y, Node { x: x.grad_id(), norm, x_hat: saved, rstd, scale }))
}

/// y from x̂; who saves y gets `saved` x̂ with the rest folded in. Who writes over y makes other numbers of it, which are
/// known by another [`crate::BufferId`]: rope on normed queries, say.
fn weighed(tape: &mut Tape<'_>, x_hat: Tensor, saved: &SavedRef, columns: &ColumnMap) -> Tensor {
    let memory = tape.memory();
    let mut y = memory.stale(x_hat.rows(), x_hat.cols(), Category::Transient);
    if !memory.is_hollow() {
        kernel::weigh(x_hat.data(), columns.scale(), columns.shift(), y.slice_mut());
    }
    if let Some(mapped) = saved.mapped(columns) {
        tape.share(&y, &mapped);
    }
    y
}

impl Backward for Node<'_> {
    fn backward(self: Box<Self>, dy: Tensor, pass: &mut Backprop<'_>) -> Result<(), Error> {
        let Norm { kind, width, weight, bias, .. } = self.norm;
        if let Some(param) = bias.as_ref().and_then(Values::trained) {
            let sums = pass.params.zeroed(&pass.memory, param);
            if !pass.memory.is_hollow() {
                elementwise::add_column_sums(dy.data(), sums);
            }
        }
        if let Some(param) = weight.as_ref().and_then(Values::trained) {
            let dw = pass.params.zeroed(&pass.memory, param);
            if !pass.memory.is_hollow() {
                kernel::weight_gradient(dy.data(), &self.x_hat.tiles(), dw);
            }
        }
        if self.x.is_some() {
            let mut dx = pass.partial(self.x, dy.rows(), dy.cols());
            let rstd = self.rstd.to_dense(&pass.memory);
            let computed = self.scale.map(|scale| scale.to_dense(&pass.memory));
            let scale = computed.as_ref().or(weight.as_ref().map(Values::value)).map(Tensor::data);
            if !pass.memory.is_hollow() {
                let x_hat = self.x_hat.tiles();
                kernel::backward(dy.data(), &x_hat, rstd.data(), (*kind, *width), scale, dx.slice_mut());
            }
            pass.accumulate(self.x, dx);
        }
        Ok(())
    }
}
