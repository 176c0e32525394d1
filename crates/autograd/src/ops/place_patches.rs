//! The rows that a vision transformer works on, N·(S+P)×C, from the patches of N images (N·P×C): each image's S special
//! rows (class token, distillation token), then its patches, with a position added to every row. Saves nothing: the gradient
//! of a patch is that of its row; those of special rows and positions are sums over images.

use crate::error::{Error, same};
use crate::kernels::patches::{self as kernel, ImageRows};
use crate::ledger::Category;
use crate::param::{Param, Values, Weight};
use crate::tape::{Backprop, Backward, Tape, Var, VarId};
use crate::tensor::Tensor;

struct Node<'m> {
    patches: Option<VarId>,
    rows: ImageRows,
    images: usize,
    specials: Vec<Option<&'m Param>>,
    positions: Option<&'m Param>,
}

/// Of `images` images, whose patches lie end to end (N·P×C): for each the `specials` (1×C each), then its patches, with row t
/// of `positions` ((S+P)×C; none: nothing) added to row t of every image. N·(S+P)×C.
///
/// # Errors
/// [`Error::Shape`] if patches are not as many for every image, or rows or features do not fit.
pub fn place_patches<'m>(
    tape: &mut Tape<'m>,
    patches: Var,
    specials: &[&'m Values],
    positions: Option<&'m Weight>,
    images: usize,
) -> Result<Var, Error> {
    let trained = Node {
        patches: patches.grad_id(),
        rows: ImageRows {
            specials: specials.len(),
            patches: patches.rows().checked_div(images).unwrap_or(0),
            cols: patches.cols(),
        },
        images,
        specials: specials.iter().map(|special| special.trained()).collect(),
        positions: positions.and_then(Weight::trained),
    };
    let entered = tape.enter("place_patches", trained.wants_gradients());
    let rows = trained.rows;
    same(entered.op, "patches against those of all images", patches.rows(), images * rows.patches)?;
    for special in specials {
        same(entered.op, "rows of a special row", special.value().rows(), 1)?;
        same(entered.op, "features of a special row against those of patches", special.value().cols(), rows.cols)?;
    }
    if let Some(positions) = positions {
        same(entered.op, "positions against the rows of an image", positions.rows(), rows.tokens())?;
        same(entered.op, "features of positions against those of patches", positions.cols(), rows.cols)?;
    }
    if tape.is_closing() {
        let absent = tape.memory().absent(images * rows.tokens(), rows.cols);
        return Ok(tape.finish(entered, absent, trained));
    }
    let memory = tape.memory().clone();
    let positions = positions.map(|positions| positions.in_f32(&memory));
    let mut y = memory.stale(images * rows.tokens(), rows.cols, Category::Transient);
    if !memory.is_hollow() {
        let specials: Vec<_> = specials.iter().map(|special| special.value().data()).collect();
        let positions = positions.as_ref().map(Tensor::data);
        kernel::place(patches.tensor().data(), rows, &specials, positions, y.slice_mut());
    }
    Ok(tape.finish(entered, y, trained))
}

impl Node<'_> {
    fn wants_gradients(&self) -> bool {
        self.patches.is_some() || self.positions.is_some() || self.specials.iter().any(Option::is_some)
    }
}

impl Backward for Node<'_> {
    fn backward(self: Box<Self>, dy: Tensor, pass: &mut Backprop<'_>) -> Result<(), Error> {
        let (rows, hollow) = (self.rows, pass.memory.is_hollow());
        let specials = self.specials.iter().enumerate().filter_map(|(at, param)| Some(((*param)?, at..at + 1)));
        for (param, tokens) in specials.chain(self.positions.map(|positions| (positions, 0..rows.tokens()))) {
            let sums = pass.params.zeroed(&pass.memory, param);
            if !hollow {
                kernel::add_sums_over_images(dy.data(), rows, tokens, sums);
            }
        }
        if self.patches.is_some() {
            let mut d_patches = pass.stale(self.images * rows.patches, rows.cols);
            if !hollow {
                kernel::patches_of(dy.data(), rows, d_patches.slice_mut());
            }
            drop(dy);
            pass.accumulate(self.patches, d_patches);
        }
        Ok(())
    }
}
