//! x (m×C) = rows of a table (V×C) picked by token id. Saves the ids only; they are indices, not activations.

use crate::error::Error;
use crate::ledger::Category;
use crate::param::{Param, Weight};
use crate::tape::{Backprop, Backward, Tape, Var};
use crate::tensor::Tensor;

struct Node<'m> {
    table: &'m Param,
    ids: Vec<u32>,
}

/// Row `ids[i]` of `table` as row i, m×C.
///
/// # Errors
/// [`Error::TokenId`] if an id is not in the table.
pub fn embedding<'m>(tape: &mut Tape<'m>, table: &'m Weight, ids: &[u32]) -> Result<Var, Error> {
    let trained = table.trained();
    let entered = tape.enter("embedding", trained.is_some());
    let (vocabulary, cols) = (table.rows(), table.cols());
    if let Some(&id) = ids.iter().find(|&&id| id as usize >= vocabulary) {
        return Err(Error::TokenId { id, vocabulary });
    }
    let mut x = tape.memory().stale(ids.len(), cols, Category::Transient);
    for (row, &id) in x.slice_mut().chunks_exact_mut(cols).zip(ids) {
        let id = id as usize;
        match table {
            Weight::Frozen(frozen) => frozen.widen_here(id..id + 1, row),
            Weight::Trained(p) => row.copy_from_slice(&p.value().data()[id * cols..(id + 1) * cols]),
        }
    }
    Ok(match trained {
        Some(table) => tape.finish(entered, x, Node { table, ids: ids.to_vec() }),
        None => tape.value(x, false),
    })
}

impl Backward for Node<'_> {
    fn backward(self: Box<Self>, dy: Tensor, pass: &mut Backprop<'_>) -> Result<(), Error> {
        let cols = dy.cols();
        let slot = pass.params.zeroed(&pass.memory, self.table);
        for (&id, dy) in self.ids.iter().zip(dy.data().chunks_exact(cols)) {
            let row = &mut slot[id as usize * cols..(id as usize + 1) * cols];
            row.iter_mut().zip(dy).for_each(|(g, &d)| *g += d);
        }
        Ok(())
    }
}
