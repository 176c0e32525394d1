//! Logits of hidden states (m×C): the head without a loss, for generation and for evaluation of short inputs.

use std::ops::Range;

use loract_linalg::MatRef;

use crate::error::{Error, same};
use crate::kernels::matmul as products;
use crate::ledger::Category;
use crate::param::Weight;
use crate::tape::{Tape, Var};

/// The rows `rows` of x·headᵀ, rows×V.
///
/// # Errors
/// [`Error::Shape`]; [`Error::NoGradient`] if a gradient would have to pass (train through
/// [`super::cross_entropy`], which never holds all logits).
pub fn project(tape: &mut Tape<'_>, x: &Var, rows: Range<usize>, head: &Weight) -> Result<Var, Error> {
    let entered = tape.enter("project", x.needs_grad() || head.trained().is_some());
    if entered.needs_grad {
        return Err(Error::NoGradient { op: entered.op, what: "hidden states" });
    }
    same(entered.op, "features against the head's", x.tensor().cols(), head.cols())?;
    if rows.start > rows.end || rows.end > x.tensor().rows() {
        let (left, right) = (rows.end, x.tensor().rows());
        return Err(Error::Shape {
            op: entered.op,
            what: "end of the rows asked for against those there",
            left,
            right,
        });
    }
    let memory = tape.memory().clone();
    let mut logits = memory.stale(rows.len(), head.rows(), Category::Transient);
    if !memory.is_hollow() {
        let cols = x.tensor().cols();
        let part = MatRef::row_major(&x.tensor().data()[rows.start * cols..rows.end * cols], rows.len(), cols);
        products::times_transposed_rows(part, head, logits.slice_mut());
    }
    Ok(tape.value(logits, false))
}
