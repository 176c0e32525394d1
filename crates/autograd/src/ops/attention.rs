//! Grouped-query attention, causal or not: o (m×H·D) from q (m×H·D), k and v (m×H_kv·D).
//!
//! Saves q, k, v at `attn_qkv`; neither a T×T matrix nor the output nor the rows' log-sum-exp, which come from the
//! scores' block in backward.

use std::ops::Range;
use std::sync::Arc;

use super::sequences::end_to_end;
use super::windows::Windows;
use crate::error::{Error, same};
use crate::kernels::attention::{self as kernel, Inputs, Layout, Mask, Outputs, WindowScores};
use crate::ledger::Category;
use crate::saved::{SavedRef, Site};
use crate::tape::{Backprop, Backward, Tape, Var, VarId};
use crate::tensor::Tensor;

/// Shape of an attention layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionShape {
    /// H.
    pub heads: usize,
    /// Key/value heads; divides H.
    pub kv_heads: usize,
    /// D.
    pub head_dim: usize,
    /// Multiplies q·k; 1/√D in most families.
    pub scale: f32,
    /// If given, scores s become cap·tanh(s/cap) before softmax (Gemma 2).
    pub softcap: Option<f32>,
    /// Which keys a query sees.
    pub mask: Mask,
}

impl AttentionShape {
    /// As in most families: scale 1/√D, no cap, each token sees itself and all before it.
    pub fn causal(heads: usize, kv_heads: usize, head_dim: usize) -> Self {
        let scale = 1.0 / (head_dim as f32).sqrt();
        Self { heads, kv_heads, head_dim, scale, softcap: None, mask: Mask::Causal { window: None } }
    }

    fn layout<'a>(&self, sequences: &'a [Range<usize>], past: usize, windows: Option<WindowScores<'a>>) -> Layout<'a> {
        Layout {
            sequences,
            past,
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            mask: self.mask,
            scale: self.scale,
            softcap: self.softcap,
            windows,
        }
    }
}

struct Node<'m> {
    shape: AttentionShape,
    windows: Option<Windows<'m>>,
    sequences: Arc<[Range<usize>]>,
    ids: [Option<VarId>; 3],
    saved: [SavedRef; 3],
}

/// softmax(scale·q·kᵀ, capped, masked within each sequence)·v, m×H·D. `sequences` are the row ranges of the micro-batch's
/// sequences, end to end. On a tape of [`Tape::generation`] there is one, which goes on from the tokens of the cache.
///
/// # Errors
/// [`Error::Shape`] if shapes, heads or sequences do not fit; [`Error::NotPositive`] for a cap that is none.
pub fn attention(
    tape: &mut Tape<'_>,
    qkv: [Var; 3],
    shape: AttentionShape,
    sequences: &Arc<[Range<usize>]>,
) -> Result<Var, Error> {
    attend(tape, "attention", qkv, shape, sequences, None)
}

/// Attention, in windows or not.
pub(super) fn attend<'m>(
    tape: &mut Tape<'m>,
    op: &'static str,
    [q, k, v]: [Var; 3],
    shape: AttentionShape,
    sequences: &Arc<[Range<usize>]>,
    windows: Option<Windows<'m>>,
) -> Result<Var, Error> {
    let trained = windows.as_ref().is_some_and(|windows| windows.table.trained().is_some());
    let entered = tape.enter(op, q.needs_grad() || k.needs_grad() || v.needs_grad() || trained);
    let rows = q.tensor().rows();
    let wrong = |what, left, right| Err(Error::Shape { op: entered.op, what, left, right });
    if shape.kv_heads == 0 {
        return wrong("heads against key/value heads", shape.heads, 0);
    }
    if shape.mask == (Mask::Causal { window: Some(0) }) {
        return wrong("window against the smallest", 0, 1);
    }
    if let Some(cap) = shape.softcap {
        Error::if_not_positive(entered.op, "cap of the scores", cap)?;
    }
    same(entered.op, "heads left over by key/value heads", shape.heads % shape.kv_heads, 0)?;
    same(entered.op, "features of q", q.tensor().cols(), shape.heads * shape.head_dim)?;
    for other in [&k, &v] {
        same(entered.op, "features of k or v", other.tensor().cols(), shape.kv_heads * shape.head_dim)?;
        same(entered.op, "rows of k or v", other.tensor().rows(), rows)?;
    }
    end_to_end(entered.op, sequences, rows)?;
    if let Some(windows) = &windows {
        windows.check(entered.op, shape.heads, sequences, rows)?;
    }
    let memory = tape.memory().clone();
    let layer = tape.layer().unwrap_or(0);
    let mut o = memory.stale(rows, q.tensor().cols(), Category::Transient);
    let scratch = kernel::scratch_bytes(&shape.layout(sequences, 0, None));
    memory.ledger().uses_scratch(scratch);
    let (qd, kd, vd) = (q.tensor().data(), k.tensor().data(), v.tensor().data());
    if let Some(cache) = tape.cache() {
        if shape.mask == Mask::None || windows.is_some() {
            // What earlier tokens gave would change with each that follows.
            return wrong("tokens that see later ones, and earlier ones in a cache", rows, cache.tokens());
        }
        same(entered.op, "sequences that follow those of a cache", sequences.len(), 1)?;
        let (kd, vd, past) = cache.extend(layer, k.tensor(), v.tensor(), &memory)?;
        let all = 0..past + rows;
        kernel::forward(&shape.layout(std::slice::from_ref(&all), past, None), qd, kd, vd, o.slice_mut());
    } else {
        let bias = windows.as_ref().map(|windows| (windows, windows.bias(&memory)));
        if !memory.is_hollow() {
            let scores = bias.as_ref().map(|(windows, bias)| windows.scores(bias));
            kernel::forward(&shape.layout(sequences, 0, scores), qd, kd, vd, o.slice_mut());
        }
    }
    if !entered.record {
        return Ok(tape.value(o, entered.needs_grad));
    }
    let ids = [q.grad_id(), k.grad_id(), v.grad_id()];
    let mut keep = |x: &Var| tape.save(&[Site::AttnQkv], x.tensor());
    let saved = [keep(&q)?, keep(&k)?, keep(&v)?];
    Ok(tape.record(entered.op, o, Node { shape, windows, sequences: Arc::clone(sequences), ids, saved }))
}

impl Backward for Node<'_> {
    fn backward(self: Box<Self>, dy: Tensor, pass: &mut Backprop<'_>) -> Result<(), Error> {
        let (rows, q_cols) = (dy.rows(), dy.cols());
        let kv_cols = self.shape.kv_heads * self.shape.head_dim;
        let [q, k, v] = self.saved.map(|s| s.to_dense(&pass.memory));
        let at_once = kernel::rows_at_once(&self.shape.layout(&self.sequences, 0, None));
        let mut by_head = [(); 3].map(|()| pass.stale(at_once, q_cols));
        let [mut dq, mut dk, mut dv] = [q_cols, kv_cols, kv_cols].map(|cols| pass.stale(rows, cols));
        let bias = self.windows.as_ref().map(|windows| (windows, windows.bias(&pass.memory)));
        let trained = bias.as_ref().filter(|(windows, _)| windows.table.trained().is_some());
        let mut d_bias = trained.map(|(_, bias)| pass.stale(bias.rows(), bias.cols()));
        if !pass.memory.is_hollow() {
            let scores = bias.as_ref().map(|(windows, bias)| windows.scores(bias));
            kernel::backward(
                &self.shape.layout(&self.sequences, 0, scores),
                Inputs { q: q.data(), k: k.data(), v: v.data(), d_out: dy.data() },
                by_head.each_mut().map(Tensor::slice_mut),
                Outputs {
                    dq: dq.slice_mut(),
                    dk: dk.slice_mut(),
                    dv: dv.slice_mut(),
                    d_bias: d_bias.as_mut().map_or(&mut [], Tensor::slice_mut),
                },
            );
        }
        if let (Some(windows), Some(d_bias)) = (&self.windows, &d_bias) {
            windows.add_gradient(d_bias, pass);
        }
        for (id, gradient) in self.ids.into_iter().zip([dq, dk, dv]) {
            pass.accumulate(id, gradient);
        }
        Ok(())
    }
}
