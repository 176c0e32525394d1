//! DoRA (arXiv 2402.09353): the rows of V = W + s·B·A have a trained length m. y = c∘(x·Vᵀ) + b with c = m/‖V‖, row by row
//! (1×out).
//!
//! As in the paper and in PEFT, ‖V‖ counts as a constant in backward. dm = ⟨dyᵀ·x, V⟩/‖V‖ row by row, so neither x·Vᵀ nor y
//! is kept; in time it costs another product of the size of a weight's gradient (out×in, freed at once).

use loract_linalg::{Accum, MatMut};

use super::linear::{Linear, Lora};
use crate::kernels::{elementwise, matmul};
use crate::ledger::Category;
use crate::param::Param;
use crate::saved::SavedRef;
use crate::tape::Backprop;
use crate::tensor::{Memory, Tensor};

/// ‖V‖ of each row, 1×out, no number of which is 0.
pub(super) fn norms(layer: &Linear, lora: &Lora, memory: &Memory) -> Tensor {
    let mut norms = memory.stale(1, layer.weight.rows(), Category::Transient);
    let cols = layer.weight.cols();
    for_v(layer, lora, memory, |range, v| {
        elementwise::row_dots(v, v, cols, &mut norms.slice_mut()[range.clone()]);
        for norm in &mut norms.slice_mut()[range] {
            *norm = norm.sqrt().max(f32::MIN_POSITIVE);
        }
    });
    norms
}

/// y (m×out) times c, column by column.
pub(super) fn scale(y: &mut Tensor, magnitude: &Param, norms: &Tensor, memory: &Memory) {
    if !memory.is_hollow() {
        let c: Vec<f32> = magnitude.value().data().iter().zip(norms.data()).map(|(m, norm)| m / norm).collect();
        elementwise::scale_columns(y.slice_mut(), &c);
    }
}

/// Adds dm for dy (m×out) and x (m×in) as it is kept.
pub(super) fn backward(
    (layer, lora, magnitude): (&Linear, &Lora, &Param),
    dy: &Tensor,
    x: &SavedRef,
    norms: &Tensor,
    pass: &mut Backprop<'_>,
) {
    let memory = pass.memory.clone();
    let (rows, cols) = (layer.weight.rows(), layer.weight.cols());
    let mut product = memory.stale(rows, cols, Category::Transient);
    x.left_mul(dy, &mut product, Accum::Replace, &memory);
    let mut dots = memory.stale(1, rows, Category::Transient);
    for_v(layer, lora, &memory, |range, v| {
        let product = &product.data()[range.start * cols..range.end * cols];
        elementwise::row_dots(product, v, cols, &mut dots.slice_mut()[range]);
    });
    let slot = pass.params.zeroed(&memory, magnitude);
    if !memory.is_hollow() {
        for ((slot, dot), norm) in slot.iter_mut().zip(dots.data()).zip(norms.data()) {
            *slot += dot / norm;
        }
    }
}

/// Calls `f` with rows of V in turn.
pub(super) fn for_v(layer: &Linear, lora: &Lora, memory: &Memory, mut f: impl FnMut(std::ops::Range<usize>, &[f32])) {
    let cols = layer.weight.cols();
    let [a, b] = lora.factors();
    matmul::for_rows(&layer.weight, memory, |range, rows| {
        let v = MatMut::row_major(rows, range.len(), cols);
        matmul::product(v, Accum::Add, b.view().row_range(range.clone()), a.view(), lora.scale);
        f(range, rows);
    });
}
