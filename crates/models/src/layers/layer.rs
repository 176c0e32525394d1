//! One layer: attention and an MLP, with norms before or after them.

use loract_autograd::ops::{self, Norm};
use loract_autograd::{Error, Site, Tape, Values, Var};

use super::attention::Attention;
use super::experts::Experts;
use super::mlp::Mlp;
use super::parts::{Named, Part, PartMut, Shaped};
use super::rows::Rows;
use crate::config::Block;

/// The weights of a layer. C is the width of the residual stream.
#[derive(Debug)]
pub struct Layer {
    pub(crate) block: Block,
    pub(crate) norms: LayerNorms,
    pub(crate) attention: Attention,
    pub(crate) mlp: FeedForward,
    /// What attention and MLP add is multiplied by this.
    pub(crate) residual_scale: f32,
    /// And feature by feature by these (1×C, of attention and of the MLP), in families that have them.
    pub(crate) scales: Option<[Shaped<Values>; 2]>,
}

/// What follows attention.
#[derive(Debug)]
pub(crate) enum FeedForward {
    /// An MLP.
    Dense(Box<Mlp>),
    /// Several, of which each token takes a few.
    Experts(Box<Experts>),
}

/// The norms of a layer, each 1×C; which there are, the family knows.
#[derive(Debug)]
pub(crate) struct LayerNorms {
    pub(crate) before_attention: Option<Named<Norm>>,
    pub(crate) after_attention: Option<Named<Norm>>,
    pub(crate) before_mlp: Option<Named<Norm>>,
    pub(crate) after_mlp: Option<Named<Norm>>,
}

impl Layer {
    /// x (m×C) through the layer, m×C. Each half may be a recomputed segment, which then starts at the output of the norm
    /// before it.
    pub(crate) fn forward<'m>(&'m self, tape: &mut Tape<'m>, x: Var, rows: &Rows) -> Result<Var, Error> {
        let consumer = |tape: &Tape<'_>, segment, input| if tape.recomputes(segment) { segment } else { input };
        let of_attention = consumer(tape, Site::CkptAttn, Site::AttnIn);
        let of_mlp = consumer(tape, Site::CkptMlp, Site::MlpIn);
        match self.block {
            Block::Sequential => {
                // Rows that move into windows are others than those of the norm.
                let sites: &[Site] = if rows.move_to_windows() { &[Site::Norm] } else { &[Site::Norm, of_attention] };
                let y = norm(tape, &x, self.norms.before_attention.as_ref(), sites)?;
                let y = self.attend(tape, y, rows)?;
                let x = ops::add(tape, x, &y)?;
                drop(y);
                let y = norm(tape, &x, self.norms.before_mlp.as_ref(), &[Site::Norm, of_mlp])?;
                let y = self.feed_forward(tape, y)?;
                ops::add(tape, x, &y)
            }
            Block::Parallel => {
                let y = norm(tape, &x, self.norms.before_attention.as_ref(), &[Site::Norm, of_attention, of_mlp])?;
                let attended = self.attend(tape, y.clone(), rows)?;
                let x = ops::add(tape, x, &attended)?;
                drop(attended);
                let fed = self.feed_forward(tape, y)?;
                ops::add(tape, x, &fed)
            }
        }
    }

    fn attend<'m>(&'m self, tape: &mut Tape<'m>, y: Var, rows: &Rows) -> Result<Var, Error> {
        let y = rows.enter_windows(tape, y)?;
        let within = rows.clone();
        let after = self.norms.after_attention.as_ref();
        let attention = move |tape: &mut Tape<'m>, y| {
            let y = self.attention.forward(tape, y, &within, self.leaves_as_it_is(after, 0))?;
            self.leave(tape, y, after, 0)
        };
        let y = tape.segment(Site::CkptAttn, y, Box::new(attention))?;
        rows.leave_windows(tape, y)
    }

    fn feed_forward<'m>(&'m self, tape: &mut Tape<'m>, y: Var) -> Result<Var, Error> {
        let after = self.norms.after_mlp.as_ref();
        let mlp = move |tape: &mut Tape<'m>, y| {
            let ends_segment = self.leaves_as_it_is(after, 1);
            let y = match &self.mlp {
                FeedForward::Dense(mlp) => mlp.forward(tape, y, ends_segment)?,
                FeedForward::Experts(experts) => experts.forward(tape, y, ends_segment)?,
            };
            self.leave(tape, y, after, 1)
        };
        tape.segment(Site::CkptMlp, y, Box::new(mlp))
    }

    /// Whether backward needs nothing of what attention (0) or the MLP (1) comes to.
    fn leaves_as_it_is(&self, after: Option<&Named<Norm>>, half: usize) -> bool {
        let trained = self.scales.as_ref().is_some_and(|scales| scales[half].part.trained().is_some());
        after.is_none() && !trained
    }

    /// What attention (0) or the MLP (1) adds to the residual stream.
    fn leave<'m>(
        &'m self,
        tape: &mut Tape<'m>,
        y: Var,
        after: Option<&'m Named<Norm>>,
        half: usize,
    ) -> Result<Var, Error> {
        let mut y = norm(tape, &y, after, &[Site::Norm])?;
        if let Some(scales) = &self.scales {
            y = ops::scale_columns(tape, y, &scales[half].part)?;
        }
        ops::scale(tape, y, self.residual_scale)
    }

    /// Its parts, norms first.
    pub(crate) fn parts(&self) -> Vec<Part<'_>> {
        let LayerNorms { before_attention, after_attention, before_mlp, after_mlp } = &self.norms;
        let norms = [before_attention, after_attention, before_mlp, after_mlp];
        let mut all: Vec<_> = norms.into_iter().flatten().map(Part::Norm).collect();
        self.attention.parts(&mut all);
        match &self.mlp {
            FeedForward::Dense(mlp) => mlp.parts(&mut all),
            FeedForward::Experts(experts) => experts.parts(&mut all),
        }
        all.extend(self.scales.iter().flatten().map(Part::Row));
        all
    }

    /// As [`Layer::parts`], to change.
    pub(crate) fn parts_mut(&mut self) -> Vec<PartMut<'_>> {
        let LayerNorms { before_attention, after_attention, before_mlp, after_mlp } = &mut self.norms;
        let norms = [before_attention, after_attention, before_mlp, after_mlp];
        let mut all: Vec<_> = norms.into_iter().flatten().map(PartMut::Norm).collect();
        self.attention.parts_mut(&mut all);
        match &mut self.mlp {
            FeedForward::Dense(mlp) => mlp.parts_mut(&mut all),
            FeedForward::Experts(experts) => experts.parts_mut(&mut all),
        }
        all.extend(self.scales.iter_mut().flatten().map(PartMut::Row));
        all
    }
}

/// x normed, if there is a norm here. x̂ is stored once for the norm's own backward and for what follows: a recomputed segment or
/// projections.
fn norm<'m>(tape: &mut Tape<'m>, x: &Var, norm: Option<&'m Named<Norm>>, sites: &[Site]) -> Result<Var, Error> {
    match norm {
        Some(norm) => ops::norm(tape, x, &norm.part, sites),
        None => Ok(x.clone()),
    }
}
