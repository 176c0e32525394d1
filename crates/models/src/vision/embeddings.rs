//! From pixels to the rows of the first layer: patches projected, tokens put before them, positions added, normed in some families.

use loract_autograd::ops::{self, Linear, Norm};
use loract_autograd::{Error, Memory, Site, Tape, Values, Var, Weight};

use super::batch::ImageBatch;
use super::config::VisionConfig;
use crate::layers::parts::{Named, Shaped};

/// C width, p×q pixels of a patch, P patches of an image and S tokens before them.
#[derive(Debug)]
pub(super) struct Embeddings {
    /// C×(channels·p·q), stored as C×channels×p×q.
    pub(super) projection: Shaped<Linear>,
    /// S rows of 1×C.
    pub(super) tokens: Vec<Shaped<Values>>,
    /// (S + P)×C.
    pub(super) positions: Option<Shaped<Weight>>,
    pub(super) norm: Option<FirstNorm>,
}

/// A norm before the first layer.
#[derive(Debug)]
pub(super) enum FirstNorm {
    /// Of the patches, before positions are added (Swin).
    Patches(Named<Norm>),
    /// Of all rows, after that (CLIP).
    Rows(Named<Norm>),
}

impl FirstNorm {
    pub(super) fn norm(&self) -> &Named<Norm> {
        match self {
            FirstNorm::Patches(norm) | FirstNorm::Rows(norm) => norm,
        }
    }
    pub(super) fn norm_mut(&mut self) -> &mut Named<Norm> {
        match self {
            FirstNorm::Patches(norm) | FirstNorm::Rows(norm) => norm,
        }
    }
}

impl Embeddings {
    /// m×C, m = N·(S + P).
    pub(super) fn forward<'m>(
        &'m self,
        tape: &mut Tape<'m>,
        batch: &ImageBatch,
        config: &VisionConfig,
    ) -> Result<Var, Error> {
        let memory: Memory = tape.memory().clone();
        let pixels = tape.input(batch.patches(&memory, config), false);
        let mut x = ops::linear(tape, &pixels, &self.projection.part, Site::Pixels)?;
        drop(pixels);
        if let Some(FirstNorm::Patches(norm)) = &self.norm {
            x = ops::norm(tape, &x, &norm.part, &[Site::Norm])?;
        }
        let tokens: Vec<&'m Values> = self.tokens.iter().map(|token| &token.part).collect();
        let positions = self.positions.as_ref().map(|table| &table.part);
        if !tokens.is_empty() || positions.is_some() {
            x = ops::place_patches(tape, x, &tokens, positions, batch.images())?;
        }
        match &self.norm {
            Some(FirstNorm::Rows(norm)) => ops::norm(tape, &x, &norm.part, &[Site::Norm]),
            _ => Ok(x),
        }
    }
}
