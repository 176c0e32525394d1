//! Rotary position embedding of q or k (m×heads·D), in place. Saves nothing: its gradient is the inverse turn.

use std::sync::Arc;

use crate::error::{Error, same};
use crate::kernels::rope as kernel;
use crate::tape::{Backprop, Backward, Tape, Var, VarId};
use crate::tensor::Tensor;

/// Cosines and sines of position·frequency, `positions`×D/2 each.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeTable {
    head_dim: usize,
    positions: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl RopeTable {
    /// For positions 0..`positions` and the given D/2 frequencies (radians a position). Angles in f64.
    pub fn new(positions: usize, frequencies: &[f64]) -> Self {
        let angles = (0..positions).flat_map(|p| frequencies.iter().map(move |f| p as f64 * f));
        let (cos, sin) = angles.map(|a| (a.cos() as f32, a.sin() as f32)).unzip();
        Self { head_dim: 2 * frequencies.len(), positions, cos, sin }
    }
    /// Positions that the table covers.
    pub fn positions(&self) -> usize {
        self.positions
    }
}

struct Node {
    x: Option<VarId>,
    table: Arc<RopeTable>,
    positions: Arc<[u32]>,
}

/// Turns each head of x (m×heads·D) by its row's position.
///
/// # Errors
/// [`Error::Shape`] if rows and positions differ in number, features are not whole heads, or a position is beyond the
/// table.
pub fn rope(tape: &mut Tape<'_>, x: Var, table: &Arc<RopeTable>, positions: &Arc<[u32]>) -> Result<Var, Error> {
    let entered = tape.enter("rope", x.needs_grad());
    let (rows, cols) = (x.tensor().rows(), x.tensor().cols());
    same(entered.op, "rows against positions", rows, positions.len())?;
    same(entered.op, "features left over by whole heads", cols.checked_rem(table.head_dim).unwrap_or(cols), 0)?;
    let last = positions.iter().copied().max().unwrap_or(0) as usize;
    if last >= table.positions && rows > 0 {
        return Err(Error::Shape {
            op: entered.op,
            what: "position beyond the table",
            left: last,
            right: table.positions,
        });
    }
    let node = Node { x: x.grad_id(), table: Arc::clone(table), positions: Arc::clone(positions) };
    let mut y = x.into_tensor().into_unique(tape.memory());
    kernel::rotate(y.slice_mut(), cols, table.head_dim, positions, &table.cos, &table.sin, 1.0);
    Ok(tape.finish(entered, y, node))
}

impl Backward for Node {
    fn backward(self: Box<Self>, dy: Tensor, pass: &mut Backprop<'_>) -> Result<(), Error> {
        let mut dx = dy.into_unique(&pass.memory);
        let (cols, table) = (dx.cols(), &self.table);
        kernel::rotate(dx.slice_mut(), cols, table.head_dim, &self.positions, &table.cos, &table.sin, -1.0);
        pass.accumulate(self.x, dx);
        Ok(())
    }
}
