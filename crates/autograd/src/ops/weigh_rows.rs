//! y = w∘x: row i of x (m×n) times w_i (w m×1). Saves x, for dw = Σ_cols dy∘x, and w.
//!
//! Meant for `up` of an expert's gated unit: act(gate)·(w∘up) = w∘(act(gate)·up), so the expert's output is weighed without a
//! copy of anything: up is kept once, at its site, where w∘up, which the unit saves, is had from it.

use crate::error::{Error, same};
use crate::kernels::rows as kernel;
use crate::saved::{RowMap, SavedRef, Site};
use crate::tape::{Backprop, Backward, Tape, Var, VarId};
use crate::tensor::Tensor;

struct Node {
    x_id: Option<VarId>,
    w_id: Option<VarId>,
    /// If w wants a gradient.
    x: Option<SavedRef>,
    w: SavedRef,
}

/// Each row of x (m×n) times its number of w (m×1), m×n; in place if nobody else holds x. x is saved at `site`.
///
/// # Errors
/// [`Error::Shape`]; [`Error::NonFinite`] if x is to be compressed and is not finite.
pub fn weigh_rows(tape: &mut Tape<'_>, x: Var, w: &Var, site: Site) -> Result<Var, Error> {
    let entered = tape.enter("weigh_rows", x.needs_grad() || w.needs_grad());
    let (m, n) = (x.rows(), x.cols());
    same(entered.op, "rows against weights", m, w.rows())?;
    same(entered.op, "weights of a row", w.cols(), 1)?;
    let (x_id, w_id, memory) = (x.grad_id(), w.grad_id(), tape.memory().clone());
    let kept = (entered.record && w_id.is_some()).then(|| tape.save(&[site], x.tensor())).transpose()?;
    let mut y = x.into_tensor().into_unique(&memory);
    if !memory.is_hollow() {
        kernel::weigh(y.slice_mut(), n, w.tensor().data());
    }
    if !entered.record {
        return Ok(tape.value(y, entered.needs_grad));
    }
    if let Some(kept) = &kept {
        tape.share(&y, &kept.with_rows(RowMap::Weighed(w.tensor().clone())));
    }
    let w = tape.save_exact(Site::RowStats, w.tensor());
    Ok(tape.record(entered.op, y, Node { x_id, w_id, x: kept, w }))
}

impl Backward for Node {
    fn backward(self: Box<Self>, dy: Tensor, pass: &mut Backprop<'_>) -> Result<(), Error> {
        let memory = pass.memory.clone();
        if let Some(x) = &self.x {
            let mut dw = pass.stale(dy.rows(), 1);
            if !memory.is_hollow() {
                kernel::dots(dy.data(), &x.tiles(), dw.slice_mut());
            }
            pass.accumulate(self.w_id, dw);
        }
        if self.x_id.is_some() {
            let w = self.w.to_dense(&memory);
            let mut dx = dy.into_unique(&memory);
            if !memory.is_hollow() {
                let cols = dx.cols();
                kernel::weigh(dx.slice_mut(), cols, w.data());
            }
            pass.accumulate(self.x_id, dx);
        }
        Ok(())
    }
}
