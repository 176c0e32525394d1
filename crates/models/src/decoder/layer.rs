//! One decoder layer: attention and a gated MLP, each behind an RMSNorm.

use loract_autograd::ops::{self, AttentionShape, Linear, Lora, Norm};
use loract_autograd::{Error, Param, Site, Tape, Values, Var};

use super::batch::RowsOf;

/// The weights of a layer; names mirror the checkpoint's keys. C width, F feed-forward width, H heads, D head width.
#[derive(Debug)]
pub struct Layer {
    /// Norm before attention, 1×C.
    pub(super) input_layernorm: Norm,
    /// H·D×C.
    pub(super) q_proj: Linear,
    /// H_kv·D×C.
    pub(super) k_proj: Linear,
    /// H_kv·D×C.
    pub(super) v_proj: Linear,
    /// C×H·D.
    pub(super) o_proj: Linear,
    /// Norm of each head of q before rope, 1×D, in families that have one.
    pub(super) q_norm: Option<Norm>,
    /// The same of k.
    pub(super) k_norm: Option<Norm>,
    /// Norm before the MLP, 1×C.
    pub(super) post_attention_layernorm: Norm,
    /// F×C.
    pub(super) gate_proj: Linear,
    /// F×C.
    pub(super) up_proj: Linear,
    /// C×F.
    pub(super) down_proj: Linear,
    pub(super) attention: AttentionShape,
}

impl Layer {
    /// x (m×C) through the layer, m×C. Each half may be a recomputed segment, which then starts at the norm's output.
    pub(super) fn forward<'m>(&'m self, tape: &mut Tape<'m>, x: Var, rows: &RowsOf) -> Result<Var, Error> {
        let y = self.norm(tape, &x, &self.input_layernorm, [Site::CkptAttn, Site::AttnIn])?;
        let rows = rows.clone();
        let y = tape.segment(Site::CkptAttn, y, Box::new(move |tape, y| self.self_attn(tape, y, &rows)))?;
        let x = ops::add(tape, x, &y)?;
        drop(y);
        let y = self.norm(tape, &x, &self.post_attention_layernorm, [Site::CkptMlp, Site::MlpIn])?;
        let y = tape.segment(Site::CkptMlp, y, Box::new(move |tape, y| self.mlp(tape, y)))?;
        ops::add(tape, x, &y)
    }

    /// The norm's x̂ is stored once for its own backward and for what follows: a recomputed segment or the projections.
    fn norm<'m>(
        &'m self,
        tape: &mut Tape<'m>,
        x: &Var,
        norm: &'m Norm,
        [segment, projections]: [Site; 2],
    ) -> Result<Var, Error> {
        let consumer = if tape.recomputes(segment) { segment } else { projections };
        ops::norm(tape, x, norm, &[Site::Norm, consumer])
    }

    fn self_attn<'m>(&'m self, tape: &mut Tape<'m>, y: Var, rows: &RowsOf) -> Result<Var, Error> {
        let rows = rows.clone();
        let o = tape.segment(Site::AttnQkv, y, Box::new(move |tape, y| self.attend(tape, y, &rows)))?;
        tape.closes(&[Site::CkptAttn]);
        ops::linear(tape, &o, &self.o_proj, Site::AttnOut)
    }

    fn attend<'m>(&'m self, tape: &mut Tape<'m>, y: Var, rows: &RowsOf) -> Result<Var, Error> {
        let q = ops::linear(tape, &y, &self.q_proj, Site::AttnIn)?;
        let k = ops::linear(tape, &y, &self.k_proj, Site::AttnIn)?;
        let v = ops::linear(tape, &y, &self.v_proj, Site::AttnIn)?;
        drop(y);
        let q = self.head_norm(tape, q, self.q_norm.as_ref())?;
        let k = self.head_norm(tape, k, self.k_norm.as_ref())?;
        let q = ops::rope(tape, q, &rows.rope, &rows.positions)?;
        let k = ops::rope(tape, k, &rows.rope, &rows.positions)?;
        ops::attention(tape, [q, k, v], self.attention, &rows.sequences)
    }

    /// q or k with each head normed, if the family does that.
    fn head_norm<'m>(&'m self, tape: &mut Tape<'m>, x: Var, norm: Option<&'m Norm>) -> Result<Var, Error> {
        match norm {
            None => Ok(x),
            Some(norm) => ops::norm(tape, &x, norm, &[Site::AttnQkv]),
        }
    }

    fn mlp<'m>(&'m self, tape: &mut Tape<'m>, y: Var) -> Result<Var, Error> {
        let gate = ops::linear(tape, &y, &self.gate_proj, Site::MlpIn)?;
        let up = ops::linear(tape, &y, &self.up_proj, Site::MlpIn)?;
        drop(y);
        let h = ops::swiglu(tape, gate, up)?;
        tape.closes(&[Site::CkptMlp, Site::CkptLayer]);
        ops::linear(tape, &h, &self.down_proj, Site::MlpOut)
    }

    /// The weights of the norms.
    pub(super) fn norms(&self) -> impl Iterator<Item = (&'static str, &Values)> {
        let of_heads = [("self_attn.q_norm", self.q_norm.as_ref()), ("self_attn.k_norm", self.k_norm.as_ref())];
        let of_halves = [
            ("input_layernorm", Some(&self.input_layernorm)),
            ("post_attention_layernorm", Some(&self.post_attention_layernorm)),
        ];
        of_halves.into_iter().chain(of_heads).filter_map(|(name, norm)| Some((name, norm?.weight.as_ref()?)))
    }

    pub(super) fn linears(&self) -> [(&'static str, &Linear); 7] {
        [
            ("self_attn.q_proj", &self.q_proj),
            ("self_attn.k_proj", &self.k_proj),
            ("self_attn.v_proj", &self.v_proj),
            ("self_attn.o_proj", &self.o_proj),
            ("mlp.gate_proj", &self.gate_proj),
            ("mlp.up_proj", &self.up_proj),
            ("mlp.down_proj", &self.down_proj),
        ]
    }

    /// Weights of norms, and linear layers, to change.
    pub(super) fn parts_mut(&mut self) -> (Vec<Named<'_, Values>>, [Named<'_, Linear>; 7]) {
        let norms = [
            ("input_layernorm", Some(&mut self.input_layernorm)),
            ("post_attention_layernorm", Some(&mut self.post_attention_layernorm)),
            ("self_attn.q_norm", self.q_norm.as_mut()),
            ("self_attn.k_norm", self.k_norm.as_mut()),
        ];
        let norms = norms.into_iter().filter_map(|(name, norm)| Some((name, norm?.weight.as_mut()?))).collect();
        let linears = [
            ("self_attn.q_proj", &mut self.q_proj),
            ("self_attn.k_proj", &mut self.k_proj),
            ("self_attn.v_proj", &mut self.v_proj),
            ("self_attn.o_proj", &mut self.o_proj),
            ("mlp.gate_proj", &mut self.gate_proj),
            ("mlp.up_proj", &mut self.up_proj),
            ("mlp.down_proj", &mut self.down_proj),
        ];
        (norms, linears)
    }

    pub(super) fn params<'a>(&'a self, all: &mut Vec<&'a Param>) {
        all.extend(self.norms().filter_map(|(_, norm)| norm.trained()));
        for (_, linear) in self.linears() {
            all.extend(linear.weight.trained());
            all.extend(linear.bias.as_ref().and_then(Values::trained));
            all.extend(linear.lora.iter().flat_map(Lora::params));
        }
    }

    pub(super) fn params_mut<'a>(&'a mut self, all: &mut Vec<&'a mut Param>) {
        let (norms, linears) = self.parts_mut();
        all.extend(norms.into_iter().filter_map(|(_, norm)| norm.trained_mut()));
        for (_, linear) in linears {
            all.extend(linear.weight.trained_mut());
            all.extend(linear.bias.as_mut().and_then(Values::trained_mut));
            all.extend(linear.lora.iter_mut().flat_map(Lora::params_mut));
        }
    }
}

/// A part of a layer with its name within it.
type Named<'a, T> = (&'static str, &'a mut T);
