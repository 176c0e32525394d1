//! Attention of a layer: projections of one input, in one matrix or three, norms of heads, turns, softmax, and the projection of what
//! comes out.

use std::sync::Arc;

use loract_autograd::ops::{self, AttentionShape, Linear, Norm};
use loract_autograd::{Error, Site, Tape, Var, Weight};

use super::parts::{Named, Part, PartMut, Shaped};
use super::rows::{Rows, Turning};

/// H heads of queries, H_kv of keys and values, each D wide.
#[derive(Debug)]
pub(crate) struct Attention {
    pub(crate) qkv: Qkv,
    /// C×H·D.
    pub(crate) o: Named<Linear>,
    /// Norms of q and k before they turn, in families that have them.
    pub(crate) head_norms: Option<[Named<Norm>; 2]>,
    pub(crate) shape: AttentionShape,
    /// q, k and v are cut off at ± this.
    pub(crate) clip: Option<f32>,
    pub(crate) turn: Turn,
    /// What is added to scores for each two places of a window, (2w − 1)²×H, in families that have windows of images.
    pub(crate) table: Option<Shaped<Weight>>,
}

/// The projections of the input.
#[derive(Debug)]
pub(crate) enum Qkv {
    /// q (H·D×C), k and v (H_kv·D×C).
    Apart(Box<[Named<Linear>; 3]>),
    /// The three below each other.
    Fused(Box<Named<Linear>>),
}

/// How heads turn by their position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Not at all.
    Never,
    /// As in most layers.
    Global,
    /// As in layers with a window, where that is another way.
    Local,
}

impl Attention {
    /// From y (m×C), m×C. `ends_segment` tells that nothing of its output is needed in backward.
    pub(crate) fn forward<'m>(
        &'m self,
        tape: &mut Tape<'m>,
        y: Var,
        rows: &Rows,
        ends_segment: bool,
    ) -> Result<Var, Error> {
        let rows = rows.clone();
        let o = tape.segment(Site::AttnQkv, y, Box::new(move |tape, y| self.attend(tape, y, &rows)))?;
        if ends_segment {
            tape.closes(&[Site::CkptAttn]);
        }
        ops::linear(tape, &o, &self.o.part, Site::AttnOut)
    }

    fn attend<'m>(&'m self, tape: &mut Tape<'m>, y: Var, rows: &Rows) -> Result<Var, Error> {
        let [mut q, mut k, mut v] = self.project(tape, y)?;
        if let Some([q_norm, k_norm]) = &self.head_norms {
            q = ops::norm(tape, &q, &q_norm.part, &[Site::AttnQkv])?;
            k = ops::norm(tape, &k, &k_norm.part, &[Site::AttnQkv])?;
        }
        if let Some(limit) = self.clip {
            q = ops::clamp(tape, q, limit)?;
            k = ops::clamp(tape, k, limit)?;
            v = ops::clamp(tape, v, limit)?;
        }
        if let Some(Turning { table, places }) = rows.turn(self.turn) {
            q = ops::rope(tape, q, table, places)?;
            k = ops::rope(tape, k, table, places)?;
        }
        match self.table.as_ref().zip(rows.windows.as_ref()) {
            None => ops::attention(tape, [q, k, v], self.shape, &rows.sequences),
            Some((table, windows)) => {
                let (index, regions) = (Arc::clone(&windows.index), windows.regions.clone());
                let windows = ops::Windows { table: &table.part, index, regions };
                ops::window_attention(tape, [q, k, v], self.shape, &rows.sequences, windows)
            }
        }
    }

    fn project<'m>(&'m self, tape: &mut Tape<'m>, y: Var) -> Result<[Var; 3], Error> {
        match &self.qkv {
            Qkv::Apart(three) => {
                let [q, k, v] = &**three;
                let mut project = |layer: &'m Named<Linear>| ops::linear(tape, &y, &layer.part, Site::AttnIn);
                Ok([project(q)?, project(k)?, project(v)?])
            }
            Qkv::Fused(one) => {
                let all = ops::linear(tape, &y, &one.part, Site::AttnIn)?;
                drop(y);
                let (q, kv) = (self.shape.heads * self.shape.head_dim, self.shape.kv_heads * self.shape.head_dim);
                let mut part = |columns| ops::slice(tape, &all, columns);
                Ok([part(0..q)?, part(q..q + kv)?, part(q + kv..q + 2 * kv)?])
            }
        }
    }

    pub(crate) fn parts<'a>(&'a self, all: &mut Vec<Part<'a>>) {
        all.extend(self.head_norms.iter().flatten().map(Part::Norm));
        match &self.qkv {
            Qkv::Apart(three) => all.extend(three.iter().map(Part::Linear)),
            Qkv::Fused(one) => all.push(Part::Linear(one)),
        }
        all.push(Part::Linear(&self.o));
        all.extend(self.table.as_ref().map(Part::Table));
    }

    pub(crate) fn parts_mut<'a>(&'a mut self, all: &mut Vec<PartMut<'a>>) {
        all.extend(self.head_norms.iter_mut().flatten().map(PartMut::Norm));
        match &mut self.qkv {
            Qkv::Apart(three) => all.extend(three.iter_mut().map(PartMut::Linear)),
            Qkv::Fused(one) => all.push(PartMut::Linear(one)),
        }
        all.push(PartMut::Linear(&mut self.o));
        all.extend(self.table.as_mut().map(PartMut::Table));
    }
}
