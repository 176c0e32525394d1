//! Head and loss as one op: the logits of a whole batch never exist.
//!
//! Rows that are not trained are dropped first. The others go through the head ([`Head`]) and softmax cross-entropy a chunk
//! at a time; what remains of a chunk is its gradient with respect to the head's input (trained rows × C), saved at
//! `loss_grad` for a loss of weight 1, and the gradients of the head's weight and bias if they are trained.

use loract_linalg::{Accum, MatRef};

use super::head::Head;
use crate::error::{Error, same};
use crate::kernels::{elementwise, head as kernel, matmul as products};
use crate::ledger::Category;
use crate::param::Param;
use crate::saved::{SavedRef, Site};
use crate::tape::{Backprop, Backward, Tape, Var, VarId};
use crate::tensor::Tensor;

/// Logits held at once, in numbers, about: 32 MB, at least one row.
const CHUNK: usize = 1 << 23;

/// Rows that products take at a time: of others a part is computed for nothing.
const UNIT: usize = 32;

/// Rows of a chunk: no last one of a few, for which all of the head's weight would be read.
fn rows_of_chunk(rows: usize, vocabulary: usize) -> usize {
    let most = (CHUNK / vocabulary.max(1)).max(1);
    let most = if most < UNIT { most } else { (most + UNIT / 2) / UNIT * UNIT };
    let even = rows.div_ceil(rows.div_ceil(most).max(1));
    even.next_multiple_of(UNIT).min(most).min(rows).max(1)
}

/// Which rows are trained, and towards what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Targets {
    /// Rows of the head's input, ascending.
    pub rows: Vec<u32>,
    /// The token that each of them shall predict.
    pub tokens: Vec<u32>,
}

/// What [`cross_entropy`] returns.
#[derive(Debug)]
pub struct LossOutput {
    /// Sum of the negative log-likelihoods (natural logarithm), 1×1.
    pub loss: Var,
    /// The negative log-likelihood of each target.
    pub nll: Vec<f32>,
    /// Whether each target is the likeliest token.
    pub hits: Vec<bool>,
}

struct Node<'m> {
    x: Option<VarId>,
    shape: (usize, usize),
    rows: Vec<u32>,
    dx: Option<SavedRef>,
    /// Gradients of the head's weight and bias.
    head: Vec<(&'m Param, SavedRef)>,
}

/// Σ −log softmax(logits) at the target, over the targets; x is m×C, its logits m×V.
///
/// # Errors
/// [`Error::Shape`]; [`Error::TokenId`] if a target is outside the vocabulary; [`Error::NotPositive`] for a cap that is
/// none.
pub fn cross_entropy<'m>(tape: &mut Tape<'m>, x: Var, head: Head<'m>, targets: &Targets) -> Result<LossOutput, Error> {
    let entered = tape.enter("cross_entropy", x.needs_grad() || head.is_trained());
    let (m, cols, vocabulary) = (x.tensor().rows(), x.tensor().cols(), head.weight.rows());
    head.check(entered.op, cols)?;
    same(entered.op, "target rows against tokens", targets.rows.len(), targets.tokens.len())?;
    if let Some(&row) = targets.rows.iter().find(|&&row| row as usize >= m) {
        return Err(Error::Shape { op: entered.op, what: "target row beyond the rows", left: row as usize, right: m });
    }
    if let Some(pair) = targets.rows.windows(2).find(|pair| pair[1] <= pair[0]) {
        let (left, right) = (pair[1] as usize, pair[0] as usize);
        return Err(Error::Shape { op: entered.op, what: "target row not after the one before", left, right });
    }
    if let Some(&id) = targets.tokens.iter().find(|&&id| id as usize >= vocabulary) {
        return Err(Error::TokenId { id, vocabulary });
    }
    let memory = tape.memory().clone();
    let trained_rows = targets.rows.len();
    let mut picked = memory.stale(trained_rows, cols, Category::Transient);
    for (out, &row) in picked.slice_mut().chunks_exact_mut(cols).zip(&targets.rows) {
        out.copy_from_slice(&x.tensor().data()[row as usize * cols..(row as usize + 1) * cols]);
    }
    let x_id = x.grad_id();
    drop(x);
    let wants_dx = entered.record && x_id.is_some();
    let of_head = |param: Option<&'m Param>, rows, cols| {
        let param = param.filter(|_| entered.record)?;
        Some((param, memory.zeros(rows, cols, Category::Transient)))
    };
    let mut weight_gradient = of_head(head.weight.trained(), vocabulary, cols);
    let mut bias_gradient = of_head(head.trained_bias(), 1, vocabulary);
    let step = rows_of_chunk(trained_rows, vocabulary);
    let mut logits = memory.stale(step, vocabulary, Category::Transient);
    let (mut nll, mut hits) = (Vec::with_capacity(trained_rows), Vec::with_capacity(trained_rows));
    if memory.is_hollow() {
        nll.resize(trained_rows, 0.0);
        hits.resize(trained_rows, false);
    }
    for start in (nll.len()..trained_rows).step_by(step) {
        let range = start..(start + step).min(trained_rows);
        let logits = &mut logits.slice_mut()[..range.len() * vocabulary];
        let chunk = &mut picked.slice_mut()[range.start * cols..range.end * cols];
        let view = MatRef::row_major(chunk, range.len(), cols);
        products::times_transposed(view, head.weight, tape.precision(), None, None, Some(&mut *logits));
        let tokens = &targets.tokens[range.clone()];
        for (loss, hit) in kernel::losses(logits, vocabulary, head.finish(), tokens, entered.record) {
            nll.push(loss);
            hits.push(hit);
        }
        if let Some((_, gradient)) = &mut bias_gradient {
            elementwise::add_column_sums(logits, gradient.slice_mut());
        }
        let d_logits = MatRef::row_major(logits, range.len(), vocabulary);
        if let Some((_, gradient)) = &mut weight_gradient {
            products::product(gradient.view_mut(), Accum::Add, d_logits.t(), view, 1.0);
        }
        if wants_dx {
            // The chunk of inputs has served; its gradient takes its place.
            products::times(d_logits, head.weight, tape.precision(), None, chunk, Accum::Replace);
        }
    }
    drop(logits);
    let total = nll.iter().map(|&x| f64::from(x)).sum::<f64>() as f32;
    let total = memory.tensor(1, 1, vec![total], Category::Transient);
    let loss = if entered.record {
        let dx = wants_dx.then(|| tape.save_exact(Site::LossGrad, &picked));
        let gradients = weight_gradient.into_iter().chain(bias_gradient);
        let head = gradients.map(|(param, g)| (param, tape.save_exact(Site::LossGrad, &g))).collect();
        let node = Node { x: x_id, shape: (m, cols), rows: targets.rows.clone(), dx, head };
        tape.record(entered.op, total, node)
    } else {
        tape.value(total, entered.needs_grad)
    };
    Ok(LossOutput { loss, nll, hits })
}

impl Backward for Node<'_> {
    fn backward(self: Box<Self>, dy: Tensor, pass: &mut Backprop<'_>) -> Result<(), Error> {
        // A hollow loss has no number.
        let weight = dy.data().first().copied().unwrap_or(0.0);
        for (param, gradient) in self.head {
            let gradient = gradient.to_dense(&pass.memory);
            pass.params.add(&pass.memory, param, gradient.data(), weight);
        }
        if let Some(saved) = self.dx {
            let (m, cols) = self.shape;
            let picked = saved.to_dense(&pass.memory);
            let mut dx = pass.memory.zeros(m, cols, Category::Transient);
            for (&row, gradient) in self.rows.iter().zip(picked.data().chunks_exact(cols)) {
                let at = row as usize * cols;
                elementwise::scaled_copy(&mut dx.slice_mut()[at..at + cols], gradient, weight);
            }
            pass.accumulate(self.x, dx);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_equal_parts_of_whole_strips() {
        for (rows, vocabulary, want) in [
            (2048, 49_152, 160),
            (2050, 49_152, 160),
            (170, 49_152, 96),
            (100, 49_152, 100),
            (33, 151_936, 33),
            (2048, 151_936, 64),
            (2048, 256_000, 32),
            (2048, 1 << 22, 2),
            (3, 1 << 24, 1),
            (0, 0, 1),
        ] {
            assert_eq!(rows_of_chunk(rows, vocabulary), want, "{rows} rows of {vocabulary}");
        }
    }
}
