//! y = x·diag(λ) (m×n), in place: DINOv2's layer scale. Saves nothing, dx = dy·diag(λ), unless λ is trained: then x exactly, at
//! `layer_scale`, for dλ = Σ_rows dy∘x.

use crate::error::{Error, same};
use crate::kernels::{elementwise, norm};
use crate::param::{Param, Values};
use crate::saved::{SavedRef, Site};
use crate::tape::{Backprop, Backward, Tape, Var, VarId};
use crate::tensor::Tensor;

struct Node<'m> {
    x_id: Option<VarId>,
    factors: &'m Values,
    /// If λ is trained, it and x.
    trained: Option<(&'m Param, SavedRef)>,
}

/// Column j of x (m×n) times `factors`_j (1×n), m×n; in place if nobody else holds x.
///
/// # Errors
/// [`Error::Shape`] if there is not a factor for each column; [`Error::NoGradient`] if factors are trained behind
/// [`Tape::closes`], where there is no x to keep.
pub fn scale_columns<'m>(tape: &mut Tape<'m>, x: Var, factors: &'m Values) -> Result<Var, Error> {
    let trained = factors.trained();
    let entered = tape.enter("scale_columns", x.needs_grad() || trained.is_some());
    same(entered.op, "features against factors", x.cols(), factors.value().cols())?;
    same(entered.op, "rows of factors", factors.value().rows(), 1)?;
    if trained.is_some() && tape.is_closing() {
        return Err(Error::NoGradient { op: entered.op, what: "factors of an output that is not computed" });
    }
    let (x_id, memory) = (x.grad_id(), tape.memory().clone());
    let x = x.into_tensor();
    let kept = trained.filter(|_| entered.record).map(|param| (param, tape.save_exact(Site::LayerScale, &x)));
    let mut y = x.into_unique(&memory);
    if !memory.is_hollow() {
        elementwise::scale_columns(y.slice_mut(), factors.value().data());
    }
    Ok(tape.finish(entered, y, Node { x_id, factors, trained: kept }))
}

impl Backward for Node<'_> {
    fn backward(self: Box<Self>, dy: Tensor, pass: &mut Backprop<'_>) -> Result<(), Error> {
        let hollow = pass.memory.is_hollow();
        if let Some((param, x)) = self.trained {
            let gradient = pass.params.zeroed(&pass.memory, param);
            if !hollow {
                norm::weight_gradient(dy.data(), &x.tiles(), gradient);
            }
        }
        if self.x_id.is_some() {
            let mut dx = dy.into_unique(&pass.memory);
            if !hollow {
                elementwise::scale_columns(dx.slice_mut(), self.factors.value().data());
            }
            pass.accumulate(self.x_id, dx);
        }
        Ok(())
    }
}
