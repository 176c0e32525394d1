//! y = x̂·w with x̂ = x·rstd (m×n), rstd = 1/√(mean(x²) + eps) (m×1). A weight of fewer features, D, norms each of the n/D
//! heads of a row by itself (rstd is m×n/D): the norms of queries and keys in Qwen3.
//!
//! Saves x̂ (not x, not y) and rstd. The projections that follow need y = x̂·diag(w): they share x̂ and fold w in
//! (`method.md`: backward from y would divide by w, and channels with a small w blow any error up).
//! dx = rstd·(g − x̂·mean(g·x̂)), g = dy·w.

use crate::error::{Error, same};
use crate::kernels::rms_norm as kernel;
use crate::ledger::Category;
use crate::param::Values;
use crate::saved::{SavedRef, Site};
use crate::tape::{Backprop, Backward, Tape, Var, VarId};
use crate::tensor::Tensor;

struct Node<'m> {
    x: Option<VarId>,
    weight: &'m Values,
    x_hat: SavedRef,
    rstd: SavedRef,
}

/// RMSNorm of x (m×n) by `weight` (1×n, or 1×D for heads of D features). x̂ is stored once, for all of `sites`: that of the
/// norm, and those at which its output will be needed.
///
/// # Errors
/// [`Error::Shape`], or [`Error::NonFinite`] if x̂ is to be compressed and is not finite.
pub fn rms_norm<'m>(tape: &mut Tape<'m>, x: &Var, weight: &'m Values, eps: f32, sites: &[Site]) -> Result<Var, Error> {
    let entered = tape.enter("rms_norm", x.needs_grad() || weight.trained().is_some());
    let (m, n) = (x.tensor().rows(), x.tensor().cols());
    let width = weight.value().cols();
    same(entered.op, "features against weight", n, n / width.max(1) * width)?;
    let heads = n / width.max(1);
    let memory = tape.memory().clone();
    let mut x_hat = memory.stale(m, n, Category::Transient);
    let mut rstd = memory.stale(m, heads, Category::Transient);
    kernel::normalise(x.tensor().data(), width, eps, x_hat.slice_mut(), rstd.slice_mut());
    if !entered.record {
        // A value on its way: x̂ becomes y in place.
        if !memory.is_hollow() {
            crate::kernels::elementwise::scale_columns(x_hat.slice_mut(), weight.value().data());
        }
        return Ok(tape.value(x_hat, entered.needs_grad));
    }
    let saved = tape.save(sites, &x_hat)?;
    let mut y = memory.stale(m, n, Category::Transient);
    if !memory.is_hollow() {
        kernel::weigh(x_hat.data(), weight.value().data(), y.slice_mut());
    }
    drop(x_hat);
    if heads == 1
        && let Some(scaled) = saved.scaled(weight.value())
    {
        tape.share(&y, &scaled);
    }
    let rstd = tape.save_exact(Site::RowStats, &rstd);
    Ok(tape.record(entered.op, y, Node { x: x.grad_id(), weight, x_hat: saved, rstd }))
}

impl Backward for Node<'_> {
    fn backward(self: Box<Self>, dy: Tensor, pass: &mut Backprop<'_>) -> Result<(), Error> {
        if let Some(param) = self.weight.trained() {
            let dw = pass.params.zeroed(&pass.memory, param);
            if !pass.memory.is_hollow() {
                kernel::weight_gradient(dy.data(), &self.x_hat.tiles(), dw);
            }
        }
        if self.x.is_some() {
            let mut dx = pass.partial(self.x, dy.rows(), dy.cols());
            let rstd = self.rstd.to_dense(&pass.memory);
            let w = self.weight.value().data();
            if !pass.memory.is_hollow() {
                kernel::backward(dy.data(), &self.x_hat.tiles(), rstd.data(), w, dx.slice_mut());
            }
            pass.accumulate(self.x, dx);
        }
        Ok(())
    }
}
