//! Mixture of experts: y_i = Σ over the K experts e that row i of x (m×C) chose of expert_e(x_i, w_ie).
//!
//! Each expert sees only its rows (m_e×C). Where its layers would save them, they share what is kept of x for all experts:
//! K times less than the rows one by one, and no more than a layer without experts keeps. Its output is added to y at once, so
//! that the outputs of all never exist together.
//!
//! | file | is |
//! |---|---|
//! | `route.rs` | the choice and the weights, from the router's logits |
//! | `rows.rs` | the rows of an expert: taken out, their weights, added to the sum |

mod route;
mod rows;

use std::sync::Arc;

pub use route::{Routed, Shares, route};

use crate::error::{Error, same};
pub use crate::routing::Choices;
use crate::routing::Places;
use crate::saved::Site;
use crate::tape::{Tape, Var};

/// What an expert works on.
#[derive(Debug)]
pub struct ExpertInput {
    /// Its rows of x, m_e×C.
    pub x: Var,
    /// The weight of its output in each of them, m_e×1 ([`super::weigh_rows`]).
    pub weights: Var,
}

/// The sum of what `expert` makes of the rows that chose it, m×C: it is called for each expert in turn with the expert's
/// number. x is saved once, for all of `sites`, at which the experts need their rows; for none, if they need them nowhere.
///
/// In training an expert without rows is called too, with none, so that its parameters have a gradient, of zeros.
/// [`Tape::closes`] is to be called by each expert, if at all, and nothing that it does not allow may follow.
///
/// # Errors
/// [`Error::Shape`] if x and the choices differ in rows, or outputs in shape; [`Error::NonFinite`] if x is to be compressed
/// and is not finite; those of `expert`.
pub fn experts<'m>(
    tape: &mut Tape<'m>,
    x: &Var,
    routed: &Routed,
    sites: &[Site],
    mut expert: impl FnMut(&mut Tape<'m>, usize, ExpertInput) -> Result<Var, Error>,
) -> Result<Var, Error> {
    let Routed { weights, choices } = routed;
    same("experts", "rows against choices", x.rows(), choices.rows())?;
    // Lives until every expert has taken its share.
    let kept = rows::keep(tape, x, sites)?;
    let (mut sum, mut closing) = (None, tape.set_closing(false));
    for number in 0..choices.experts() {
        let places = Places { choices: Arc::clone(choices), expert: number };
        let last_chance = sum.is_none() && number + 1 == choices.experts();
        if places.len() == 0 && !tape.is_training() && !last_chance {
            continue;
        }
        let x = rows::gather(tape, x, &places, kept.as_ref())?;
        let weights = rows::pick_weights(tape, weights, &places)?;
        let y = expert(tape, number, ExpertInput { x, weights })?;
        sum = Some(rows::add_to(tape, sum, y, &places)?);
        closing |= tape.set_closing(false);
    }
    tape.set_closing(closing);
    sum.ok_or(Error::Shape { op: "experts", what: "experts against the least", left: 0, right: 1 })
}
