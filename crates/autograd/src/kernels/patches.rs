//! The rows of images: special rows, which are the same in every image, and below them an image's patches.

use std::ops::Range;

use rayon::prelude::*;

use super::elementwise::{self, rows_per_task};

/// Rows of every image, of as many numbers each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ImageRows {
    /// S: special rows, the first.
    pub specials: usize,
    /// P: patches.
    pub patches: usize,
    /// C: numbers of a row.
    pub cols: usize,
}

impl ImageRows {
    /// S + P.
    pub(crate) fn tokens(self) -> usize {
        self.specials + self.patches
    }

    /// `f` for each row of `out`, with the image and the place within `rows` that it is of.
    fn for_each(self, rows: usize, out: &mut [f32], f: impl Fn(usize, usize, &mut [f32]) + Sync) {
        let tile = rows_per_task(self.cols);
        out.par_chunks_mut(tile * self.cols.max(1)).enumerate().for_each(|(at, out)| {
            for (i, out) in out.chunks_exact_mut(self.cols).enumerate() {
                let row = at * tile + i;
                f(row / rows, row % rows, out);
            }
        });
    }
}

/// Row t of every image: special row t, or a patch of the image; with row t of `positions` added.
pub(crate) fn place(patches: &[f32], rows: ImageRows, specials: &[&[f32]], positions: Option<&[f32]>, out: &mut [f32]) {
    let cols = rows.cols;
    rows.for_each(rows.tokens(), out, |image, token, out| {
        out.copy_from_slice(match token.checked_sub(rows.specials) {
            None => specials[token],
            Some(patch) => &patches[(image * rows.patches + patch) * cols..][..cols],
        });
        if let Some(positions) = positions {
            elementwise::add_scaled_here(out, &positions[token * cols..][..cols], 1.0);
        }
    });
}

/// The patches among the rows x of images.
pub(crate) fn patches_of(x: &[f32], rows: ImageRows, out: &mut [f32]) {
    let cols = rows.cols;
    rows.for_each(rows.patches, out, |image, patch, out| {
        out.copy_from_slice(&x[(image * rows.tokens() + rows.specials + patch) * cols..][..cols]);
    });
}

/// out_t += Σ_images row t of x, for the rows `tokens` of an image; images in their order.
pub(crate) fn add_sums_over_images(x: &[f32], rows: ImageRows, tokens: Range<usize>, out: &mut [f32]) {
    let (cols, image) = (rows.cols, rows.tokens() * rows.cols);
    rows.for_each(rows.tokens(), out, |_, token, out| {
        for x in x.chunks_exact(image) {
            elementwise::add_scaled_here(out, &x[(tokens.start + token) * cols..][..cols], 1.0);
        }
    });
}
