//! Logits (m×V) of hidden states (m×C): the head without a loss, for evaluation of short inputs.

use crate::error::{Error, same};
use crate::kernels::matmul as products;
use crate::ledger::Category;
use crate::param::Weight;
use crate::tape::{Tape, Var};

/// x·headᵀ, m×V.
///
/// # Errors
/// [`Error::Shape`]; [`Error::NoGradient`] if a gradient would have to pass (train through
/// [`super::cross_entropy`], which never holds all logits).
pub fn project(tape: &mut Tape<'_>, x: &Var, head: &Weight) -> Result<Var, Error> {
    let entered = tape.enter("project", x.needs_grad() || head.trained().is_some());
    if entered.needs_grad {
        return Err(Error::NoGradient { op: entered.op, what: "hidden states" });
    }
    same(entered.op, "features against the head's", x.tensor().cols(), head.cols())?;
    let memory = tape.memory().clone();
    let mut logits = memory.stale(x.tensor().rows(), head.rows(), Category::Transient);
    products::times_transposed(x.tensor(), head, &mut logits, &memory);
    Ok(tape.value(logits, false))
}
