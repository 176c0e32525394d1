//! The head of a language model, from hidden states x (m×C) to logits (m×V): z = (x·Wᵀ + b)·scale, and with a cap
//! cap·tanh(z/cap).

use std::ops::Range;

use crate::error::{Error, same};
use crate::kernels::head::Finish;
use crate::param::{Values, Weight};

/// The head's weights and what follows them. V vocabulary, C width.
#[derive(Debug, Clone, Copy)]
pub struct Head<'m> {
    /// W, V×C.
    pub weight: &'m Weight,
    /// b, 1×V (Phi).
    pub bias: Option<&'m Values>,
    /// Multiplies logits, the bias included (Cohere's `logit_scale`, the inverse of Granite's `logits_scaling`).
    pub scale: f32,
    /// If given, logits z become cap·tanh(z/cap) (Gemma 2).
    pub softcap: Option<f32>,
}

impl<'m> Head<'m> {
    /// A weight alone, as in most families.
    pub fn plain(weight: &'m Weight) -> Self {
        Self { weight, bias: None, scale: 1.0, softcap: None }
    }

    /// Whether something of it is trained.
    pub(super) fn is_trained(&self) -> bool {
        self.weight.trained().is_some() || self.trained_bias().is_some()
    }

    /// b, if trained.
    pub(super) fn trained_bias(&self) -> Option<&'m crate::param::Param> {
        self.bias.and_then(Values::trained)
    }

    /// What makes logits of products with W.
    pub(super) fn finish(&self) -> Finish<'m> {
        Finish { bias: self.bias.map(|bias| bias.value().data()), scale: self.scale, softcap: self.softcap }
    }

    /// Whether it fits inputs of `cols` features, and within itself.
    pub(super) fn check(&self, op: &'static str, cols: usize) -> Result<(), Error> {
        same(op, "features against the head's", cols, self.weight.cols())?;
        if let Some(bias) = self.bias {
            same(op, "bias against the head's rows", bias.value().cols(), self.weight.rows())?;
        }
        match self.softcap {
            None => Ok(()),
            Some(cap) => Error::if_not_positive(op, "cap of the logits", cap),
        }
    }
}

/// `Ok` if `rows` are some of `there`.
pub(super) fn within(op: &'static str, rows: &Range<usize>, there: usize) -> Result<(), Error> {
    if rows.start > rows.end || rows.end > there {
        let what = "end of the rows asked for against those there";
        return Err(Error::Shape { op, what, left: rows.end, right: there });
    }
    Ok(())
}
