//! Logits of hidden states (m×C): the head without a loss, for generation and for evaluation of short inputs.

use std::ops::Range;

use loract_linalg::MatRef;

use super::head::{Head, within};
use crate::error::Error;
use crate::kernels::{head as kernel, matmul as products};
use crate::ledger::Category;
use crate::tape::{Tape, Var};

/// The logits of the rows `rows` of x, rows×V.
///
/// # Errors
/// [`Error::Shape`]; [`Error::NotPositive`] for a cap that is none; [`Error::NoGradient`] if a gradient would have to pass (train through
/// [`super::cross_entropy`], which never holds all logits).
pub fn project(tape: &mut Tape<'_>, x: &Var, rows: Range<usize>, head: Head<'_>) -> Result<Var, Error> {
    let entered = tape.enter("project", x.needs_grad() || head.is_trained());
    if entered.needs_grad {
        return Err(Error::NoGradient { op: entered.op, what: "hidden states" });
    }
    head.check(entered.op, x.tensor().cols())?;
    within(entered.op, &rows, x.tensor().rows())?;
    let memory = tape.memory().clone();
    let mut logits = memory.stale(rows.len(), head.weight.rows(), Category::Transient);
    if !memory.is_hollow() {
        let cols = x.tensor().cols();
        let part = MatRef::row_major(&x.tensor().data()[rows.start * cols..rows.end * cols], rows.len(), cols);
        products::times_transposed(part, head.weight, tape.precision(), None, None, Some(logits.slice_mut()));
        kernel::finish(logits.slice_mut(), head.weight.rows(), head.finish());
    }
    Ok(tape.value(logits, false))
}
