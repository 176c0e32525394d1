//! Routing: the K largest of E logits a row, and a softmax over all or over those.

use rayon::prelude::*;

use super::elementwise::rows_per_task;
use super::simd;

/// The columns of the `top_k` largest numbers of each row, the largest first; of equal ones the first.
pub(crate) fn largest(numbers: &[f32], cols: usize, top_k: usize) -> Vec<u32> {
    let mut chosen = vec![0; numbers.len() / cols * top_k];
    chosen.par_chunks_mut(top_k).zip(numbers.par_chunks(cols)).for_each(|(chosen, row)| {
        for slot in 0..top_k {
            let (before, rest) = chosen.split_at_mut(slot);
            let free = (0..cols).filter(|&col| !before.contains(&(col as u32)));
            let best = free.reduce(|best, col| if row[col] > row[best] { col } else { best });
            rest[0] = best.unwrap_or(0) as u32;
        }
    });
    chosen
}

/// The numbers of each row in its `chosen` columns.
pub(crate) fn pick(numbers: &[f32], cols: usize, chosen: &[u32], top_k: usize, out: &mut [f32]) {
    for ((out, row), chosen) in out.chunks_exact_mut(top_k).zip(numbers.chunks_exact(cols)).zip(chosen.chunks(top_k)) {
        out.iter_mut().zip(chosen).for_each(|(out, &col)| *out = row[col as usize]);
    }
}

/// The other way: each row of `numbers` into its `chosen` columns of `out`.
pub(crate) fn spread(numbers: &[f32], cols: usize, chosen: &[u32], top_k: usize, out: &mut [f32]) {
    for ((out, row), chosen) in out.chunks_exact_mut(cols).zip(numbers.chunks_exact(top_k)).zip(chosen.chunks(top_k)) {
        chosen.iter().zip(row).for_each(|(&col, x)| out[col as usize] = *x);
    }
}

/// Each row of `cols` numbers becomes its softmax.
pub(crate) fn softmax(x: &mut [f32], cols: usize) {
    x.par_chunks_mut(rows_per_task(cols) * cols).for_each(|rows| softmax_here(rows, cols));
}

/// dp, the gradient of each row's softmax p, becomes that of what the softmax is of: p∘(dp − Σ p∘dp).
pub(crate) fn softmax_backward(p: &[f32], dp: &mut [f32], cols: usize) {
    let tile = rows_per_task(cols) * cols;
    dp.par_chunks_mut(tile).zip(p.par_chunks(tile)).for_each(|(dp, p)| softmax_backward_here(p, dp, cols));
}

simd::vectorised! {
    /// [`softmax`] of some rows.
    fn softmax_here<'a>(x: &'a mut [f32], cols: usize) -> () {
        for row in x.chunks_exact_mut(cols) {
            let max = simd::max(row);
            row.iter_mut().for_each(|x| *x = simd::exp(*x - max));
            let factor = 1.0 / simd::sum(row, |x| x);
            row.iter_mut().for_each(|x| *x *= factor);
        }
    }

    /// [`softmax_backward`] of some rows.
    fn softmax_backward_here<'a>(p: &'a [f32], dp: &'a mut [f32], cols: usize) -> () {
        for (dp, p) in dp.chunks_exact_mut(cols).zip(p.chunks_exact(cols)) {
            let dot = simd::sum2(p, dp, |p, dp| p * dp);
            dp.iter_mut().zip(p).for_each(|(dp, &p)| *dp = p * (*dp - dot));
        }
    }
}
