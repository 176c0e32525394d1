//! Rotary position embedding of q or k (m×heads·D), in place. Saves nothing: its gradient is the inverse turn.

use std::sync::Arc;

use crate::error::{Error, same};
use crate::kernels::rope as kernel;
use crate::tape::{Backprop, Backward, Tape, Var, VarId};
use crate::tensor::Tensor;

/// Which features of a head turn together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopePairs {
    /// Feature i and i + half of those that turn (Hugging Face's `rotate_half`).
    Halves,
    /// Feature 2i and 2i + 1.
    Neighbours,
}

/// Cosines and sines of position·frequency, a row for each position; of the D features of a head the first turn, two for each
/// frequency.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeTable {
    head_dim: usize,
    rotated: usize,
    pairs: RopePairs,
    rows: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl RopeTable {
    /// For positions 0..`positions` and the given frequencies (radians a position), at most D/2. Of several sets of
    /// frequencies, equally long, the rows are below each other: position p of set s is row s·`positions` + p. Cosines and
    /// sines are multiplied by `amplitude`. Angles in f64.
    ///
    /// # Panics
    /// If the sets are not equally long.
    pub fn new(positions: usize, head_dim: usize, pairs: RopePairs, sets: &[&[f64]], amplitude: f64) -> Self {
        assert!(sets.windows(2).all(|pair| pair[0].len() == pair[1].len()), "sets of frequencies are equally long");
        let angles = sets.iter().flat_map(|set| {
            (0..positions).flat_map(move |position| set.iter().map(move |frequency| position as f64 * frequency))
        });
        let (cos, sin) = angles.map(|a| ((amplitude * a.cos()) as f32, (amplitude * a.sin()) as f32)).unzip();
        let rotated = sets.first().map_or(0, |set| 2 * set.len());
        Self { head_dim, rotated, pairs, rows: sets.len() * positions, cos, sin }
    }
    fn turn(&self, x: &mut [f32], cols: usize, places: &[u32], direction: f32) {
        let shape = kernel::Shape { cols, head_dim: self.head_dim, rotated: self.rotated, pairs: self.pairs };
        kernel::rotate(x, shape, places, (&self.cos, &self.sin), direction);
    }

    /// Rows: positions times sets.
    pub fn rows(&self) -> usize {
        self.rows
    }
}

struct Node {
    x: Option<VarId>,
    table: Arc<RopeTable>,
    positions: Arc<[u32]>,
}

/// Turns each head of x (m×heads·D) by the angles of its row's place in the table.
///
/// # Errors
/// [`Error::Shape`] if rows and positions differ in number, features are not whole heads, or a position is beyond the
/// table.
pub fn rope(tape: &mut Tape<'_>, x: Var, table: &Arc<RopeTable>, positions: &Arc<[u32]>) -> Result<Var, Error> {
    let entered = tape.enter("rope", x.needs_grad());
    let (rows, cols) = (x.tensor().rows(), x.tensor().cols());
    same(entered.op, "rows against positions", rows, positions.len())?;
    same(entered.op, "features left over by whole heads", cols.checked_rem(table.head_dim).unwrap_or(cols), 0)?;
    if table.rotated > table.head_dim {
        let (left, right) = (table.rotated, table.head_dim);
        return Err(Error::Shape { op: entered.op, what: "features that turn against those of a head", left, right });
    }
    let last = positions.iter().copied().max().unwrap_or(0) as usize;
    if last >= table.rows && rows > 0 {
        return Err(Error::Shape { op: entered.op, what: "position beyond the table", left: last, right: table.rows });
    }
    let node = Node { x: x.grad_id(), table: Arc::clone(table), positions: Arc::clone(positions) };
    let mut y = x.into_tensor().into_unique(tape.memory());
    table.turn(y.slice_mut(), cols, positions, 1.0);
    Ok(tape.finish(entered, y, node))
}

impl Backward for Node {
    fn backward(self: Box<Self>, dy: Tensor, pass: &mut Backprop<'_>) -> Result<(), Error> {
        let mut dx = dy.into_unique(&pass.memory);
        let cols = dx.cols();
        self.table.turn(dx.slice_mut(), cols, &self.positions, -1.0);
        pass.accumulate(self.x, dx);
        Ok(())
    }
}
