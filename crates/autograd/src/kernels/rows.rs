//! Rows of a matrix picked, added and weighed. `places` are ascending, and each `per_row` of them stand for a row.

use loract_linalg::with_buffer;
use rayon::prelude::*;

use super::elementwise::{self, rows_per_task};
use super::simd;
use crate::saved::Tiles;

/// out_i = row places_i of x (rows of `cols` numbers).
pub(crate) fn pick(x: &[f32], cols: usize, places: &[u32], per_row: usize, out: &mut [f32]) {
    let tile = rows_per_task(cols);
    out.par_chunks_mut(tile * cols).zip(places.par_chunks(tile)).for_each(|(out, places)| {
        for (out, &place) in out.chunks_exact_mut(cols).zip(places) {
            let row = place as usize / per_row;
            out.copy_from_slice(&x[row * cols..(row + 1) * cols]);
        }
    });
}

/// Row places_i of out += x_i; no row comes twice.
pub(crate) fn add(x: &[f32], cols: usize, places: &[u32], per_row: usize, out: &mut [f32]) {
    let tile = rows_per_task(cols);
    out.par_chunks_mut(tile * cols).enumerate().for_each(|(at, out)| {
        let first = at * tile;
        let before = |row: usize| places.partition_point(|&place| (place as usize) < row * per_row);
        for i in before(first)..before(first + out.len() / cols) {
            let row = places[i] as usize / per_row - first;
            elementwise::add_scaled_here(&mut out[row * cols..(row + 1) * cols], &x[i * cols..(i + 1) * cols], 1.0);
        }
    });
}

/// Row i of x times w_i.
pub(crate) fn weigh(x: &mut [f32], cols: usize, w: &[f32]) {
    let tile = rows_per_task(cols);
    x.par_chunks_mut(tile * cols).zip(w.par_chunks(tile)).for_each(|(x, w)| weigh_here(x, w));
}

simd::vectorised! {
    /// [`weigh`], by the calling thread.
    pub(crate) fn weigh_here<'a>(x: &'a mut [f32], w: &'a [f32]) -> () {
        let cols = x.len() / w.len().max(1);
        for (x, &w) in x.chunks_exact_mut(cols.max(1)).zip(w) {
            x.iter_mut().for_each(|x| *x *= w);
        }
    }
}

/// out_i = ⟨dy_i, x_i⟩.
pub(crate) fn dots(dy: &[f32], x: &Tiles<'_>, out: &mut [f32]) {
    let cols = x.cols();
    let tile = rows_per_task(cols).max(16);
    out.par_chunks_mut(tile).zip(dy.par_chunks(tile * cols)).enumerate().for_each(|(at, (out, dy))| {
        with_buffer(tile * cols, |buffer| {
            let x = x.get(at * tile..at * tile + out.len(), buffer);
            elementwise::row_dots_here(dy, x, cols, out);
        });
    });
}
