//! Rows taken by an index in any order, each any number of times; and their gradients, brought back by the index turned
//! around: of each row its takers, so that rows are tasks and a sum has one order.

use rayon::prelude::*;

use super::elementwise::{self, rows_per_task};

/// Row i of `out` is row `rows`_i of x, or zeros.
pub(crate) fn take(x: &[f32], cols: usize, rows: &[Option<u32>], out: &mut [f32]) {
    let tile = rows_per_task(cols);
    out.par_chunks_mut(tile * cols.max(1)).zip(rows.par_chunks(tile)).for_each(|(out, rows)| {
        for (out, row) in out.chunks_exact_mut(cols).zip(rows) {
            match row {
                Some(row) => out.copy_from_slice(&x[*row as usize * cols..][..cols]),
                None => out.fill(0.0),
            }
        }
    });
}

/// Row r of `dx` is the sum of the rows of `dy` whose index is r, zeros if there is none.
pub(crate) fn bring_back(dy: &[f32], cols: usize, rows: &[Option<u32>], dx: &mut [f32]) {
    let (starts, takers) = turned_around(rows, dx.len() / cols.max(1));
    let tile = rows_per_task(cols);
    dx.par_chunks_mut(tile * cols.max(1)).enumerate().for_each(|(at, dx)| {
        for (i, dx) in dx.chunks_exact_mut(cols).enumerate() {
            let row = at * tile + i;
            let mut takers = takers[starts[row]..starts[row + 1]].iter().map(|&taker| &dy[taker * cols..][..cols]);
            match takers.next() {
                Some(first) => dx.copy_from_slice(first),
                None => dx.fill(0.0),
            }
            takers.for_each(|dy| elementwise::add_scaled_here(dx, dy, 1.0));
        }
    });
}

/// The places at which each of `count` rows is taken, ascending, end to end; and where those of a row begin.
fn turned_around(rows: &[Option<u32>], count: usize) -> (Vec<usize>, Vec<usize>) {
    let mut starts = vec![0; count + 1];
    for row in rows.iter().flatten() {
        starts[*row as usize + 1] += 1;
    }
    for row in 0..count {
        starts[row + 1] += starts[row];
    }
    let (mut takers, mut next) = (vec![0; starts[count]], starts.clone());
    for (place, row) in rows.iter().enumerate() {
        if let Some(row) = row {
            let at = &mut next[*row as usize];
            takers[*at] = place;
            *at += 1;
        }
    }
    (starts, takers)
}
