//! Head and loss as one op: the logits of a whole batch never exist.
//!
//! Rows that are not trained are dropped first. The others go through the head ([`Head`]) and softmax cross-entropy a chunk
//! at a time; what remains of a chunk is its gradient with respect to the head's input (trained rows × C), saved at
//! `loss_grad` for a loss of weight 1, and the gradients of the head's weight and bias if they are trained.

use std::ops::Range;

use loract_linalg::{Accum, MatRef};

use super::head::Head;
use crate::error::{Error, same};
use crate::kernels::{elementwise, head as kernel, matmul as products};
use crate::ledger::Category;
use crate::param::Param;
use crate::saved::{SavedRef, Site};
use crate::tape::{Backprop, Backward, Tape, Var, VarId};
use crate::tensor::Tensor;

/// Logits of a chunk, in numbers, about: 32 MB.
const CHUNK: usize = 1 << 23;

/// Rows that products by AMX take at a time: of others a part is computed for nothing.
const STRIP: usize = 32;

/// The rows in chunks of whole strips, or single rows if those are too long. A rest of less than a strip goes with the last
/// chunk: all of the head's weight is read for each.
fn chunks(rows: usize, vocabulary: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    let most = (CHUNK / vocabulary.max(1)).max(1);
    let unit = if most < STRIP { 1 } else { STRIP };
    let step = (most + unit / 2) / unit * unit;
    let count = (rows / step + usize::from(rows % step >= unit)).max(rows.min(1));
    (0..count).map(move |at| at * step..if at + 1 == count { rows } else { (at + 1) * step })
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
    let chunks = chunks(trained_rows, vocabulary);
    let longest = chunks.clone().map(|range| range.len()).max().unwrap_or(0);
    let mut logits = memory.stale(longest, vocabulary, Category::Transient);
    let (mut nll, mut hits) = (Vec::with_capacity(trained_rows), Vec::with_capacity(trained_rows));
    if memory.is_hollow() {
        nll.resize(trained_rows, 0.0);
        hits.resize(trained_rows, false);
    }
    for range in chunks.filter(|_| !memory.is_hollow()) {
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
    fn chunks_are_whole_strips_and_none_is_of_a_few_rows() {
        for (rows, vocabulary, count, longest, last) in [
            (2048, 49_152, 13, 160, 128),
            (641, 49_152, 4, 161, 161),
            (170, 49_152, 1, 170, 170),
            (192, 49_152, 2, 160, 32),
            (33, 49_152, 1, 33, 33),
            (129, 151_936, 2, 65, 65),
            (2049, 256_000, 64, 33, 33),
            (5, 1 << 22, 3, 2, 1),
            (3, 1 << 24, 3, 1, 1),
            (1, 0, 1, 1, 1),
        ] {
            let found: Vec<_> = chunks(rows, vocabulary).collect();
            assert!(found.windows(2).all(|pair| pair[0].end == pair[1].start), "{found:?}");
            assert_eq!((found[0].start, found[found.len() - 1].end), (0, rows));
            let lens: Vec<usize> = found.iter().map(Range::len).collect();
            let got = (lens.len(), lens.iter().max().copied(), lens.last().copied());
            assert_eq!(got, (count, Some(longest), Some(last)), "{rows} rows of {vocabulary}");
        }
        assert_eq!(chunks(0, 49_152).count(), 0);
    }
}
