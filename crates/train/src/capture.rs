//! Capture of the activations of one micro-batch: every tensor that training would save, seen as it is saved.
//!
//! One forward pass under [`Policy::exact`] with an observer on the tape; no backward, nothing is trained. A tensor is
//! named by its layer and its [`Place`], which is finer than a [`Site`]: the two norms of a layer apart, q, k, v apart,
//! gate and up apart, the norms of heads from the heads. Of a mixture of experts only what all of them share is named. What is seen is what a compression would be given: x̂ of a norm before its weight, q and k after
//! their rotation. Tensors shared between sites are seen once: the projections after a norm share its x̂.
//!
//! What training saves depends on what is trained: a layer without a LoRA pair does not need its input, and a norm with
//! nothing trained below it needs nothing. So the first norm of layer 0 never shows (only frozen embeddings lie below
//! it); in its place q, k and v save their own input, at [`Place::AttnIn`].
//!
//! Cost: a forward pass, its loss, and the memory that exact training needs between forward and backward. No copy is
//! made; a [`Tensor`] that the caller clones shares its memory.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use loract_autograd::{Memory, Policy, Site, StepKey, Tape, Tensor};
use loract_models::{Classifier, Decoder, DecoderConfig, ImageBatch, Layers, Model, TokenBatch, VisionConfig};

use crate::error::Error;

/// A place of a layer where a tensor is saved; m = tokens of the micro-batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// x̂ of the norm before attention (m×C).
    NormAttn,
    /// Input of the q, k, v projections, where the norm itself saves nothing (m×C).
    AttnIn,
    /// x̂ of the norm of q's heads, in families that have one (m×H·D).
    QNorm,
    /// The same of k (m×H_kv·D).
    KNorm,
    /// q after its rotation (m×H·D).
    Q,
    /// k after its rotation (m×H_kv·D).
    K,
    /// v (m×H_kv·D).
    V,
    /// Input of the output projection (m×H·D).
    AttnOut,
    /// x̂ of the norm after attention, in families that have one (m×C).
    NormAttnAfter,
    /// x̂ of the norm before the MLP (m×C).
    NormMlp,
    /// Input of gate and up, where the norm itself saves nothing (m×C).
    MlpIn,
    /// Gate, before its activation (m×F).
    Gate,
    /// Up, or of an MLP without a gate what goes into its activation (m×F).
    Up,
    /// Input of the down projection (m×F).
    MlpOut,
    /// x̂ of the norm after the MLP, in families that have one (m×C).
    NormMlpAfter,
    /// x̂ of the norm after the last layer (m×C); it belongs to no layer.
    NormFinal,
}

impl Place {
    /// All, in the order of a layer.
    pub const ALL: [Place; 16] = [
        Place::NormAttn,
        Place::AttnIn,
        Place::QNorm,
        Place::KNorm,
        Place::Q,
        Place::K,
        Place::V,
        Place::AttnOut,
        Place::NormAttnAfter,
        Place::NormMlp,
        Place::MlpIn,
        Place::Gate,
        Place::Up,
        Place::MlpOut,
        Place::NormMlpAfter,
        Place::NormFinal,
    ];

    /// Its name in flags and reports: its site's, and which of the site's tensors it is.
    pub fn name(self) -> &'static str {
        match self {
            Place::NormAttn => "norm.attn",
            Place::AttnIn => "attn_in",
            Place::QNorm => "attn_qkv.q_norm",
            Place::KNorm => "attn_qkv.k_norm",
            Place::Q => "attn_qkv.q",
            Place::K => "attn_qkv.k",
            Place::V => "attn_qkv.v",
            Place::AttnOut => "attn_out",
            Place::NormAttnAfter => "norm.attn_after",
            Place::NormMlp => "norm.mlp",
            Place::MlpIn => "mlp_in",
            Place::Gate => "act_fn.gate",
            Place::Up => "act_fn.up",
            Place::MlpOut => "mlp_out",
            Place::NormMlpAfter => "norm.mlp_after",
            Place::NormFinal => "norm.final",
        }
    }

    /// The site it belongs to.
    pub fn site(self) -> Site {
        match self {
            Place::NormAttn | Place::NormAttnAfter | Place::NormMlp | Place::NormMlpAfter | Place::NormFinal => {
                Site::Norm
            }
            Place::AttnIn => Site::AttnIn,
            Place::QNorm | Place::KNorm | Place::Q | Place::K | Place::V => Site::AttnQkv,
            Place::AttnOut => Site::AttnOut,
            Place::MlpIn => Site::MlpIn,
            Place::Gate | Place::Up => Site::ActFn,
            Place::MlpOut => Site::MlpOut,
        }
    }

    /// The places that `text` names: one by its own name, all of a site by the site's.
    ///
    /// # Errors
    /// A message with the known names.
    pub fn named(text: &str) -> Result<Vec<Place>, String> {
        let of = |place: &Place| place.name() == text || place.site().name() == text;
        let found: Vec<Place> = Place::ALL.into_iter().filter(of).collect();
        if !found.is_empty() {
            return Ok(found);
        }
        let known: Vec<_> = Place::ALL.iter().map(|p| p.name()).collect();
        Err(format!("unknown site `{text}`; known: norm, attn_qkv, act_fn, {}", known.join(", ")))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What of a model's layers decides the order of their saves.
#[derive(Debug, Clone)]
struct Order {
    /// Features of all heads of q.
    q_cols: usize,
    /// Tensors at `act_fn`.
    act_fn: &'static [Place],
    /// Norms between attention and MLP.
    between: &'static [Place],
    /// The norm after the MLP, if layers have one.
    after: Option<Place>,
    experts: Option<Layers>,
}

impl Order {
    fn of(config: &DecoderConfig) -> Self {
        use Place::{Gate, NormAttnAfter, NormMlp, NormMlpAfter, Up};
        Self {
            q_cols: config.heads * config.head_dim,
            act_fn: if config.is_gated() { &[Gate, Up] } else { &[Up] },
            between: match config.has_norms_after() {
                true => &[NormAttnAfter, NormMlp],
                false => &[NormMlp],
            },
            after: config.has_norms_after().then_some(NormMlpAfter),
            experts: config.experts.as_ref().map(|experts| experts.layers.clone()),
        }
    }

    /// What lies between the stages of a Swin belongs to no layer's places, and is not named.
    fn of_images(config: &VisionConfig) -> Self {
        Self {
            // Heads have no norms.
            q_cols: 0,
            act_fn: if config.gated { &[Place::Gate, Place::Up] } else { &[Place::Up] },
            between: &[Place::NormMlp],
            after: None,
            experts: None,
        }
    }
}

/// Follows the saves of a forward pass, so that equal sites of a layer can be told apart.
#[derive(Debug)]
struct Follower {
    order: Order,
    layer: Option<usize>,
    /// Saves so far in this layer: of attention at all, of the MLP at all, of norms of heads, at `attn_qkv`, at `act_fn`, of norms after attention.
    attention: usize,
    mlp: usize,
    head_norms: usize,
    qkv: usize,
    act_fn: usize,
    between: usize,
}

impl Follower {
    fn new(order: Order) -> Self {
        Self { order, layer: None, attention: 0, mlp: 0, head_norms: 0, qkv: 0, act_fn: 0, between: 0 }
    }

    /// The place of the next save; `None` for one that is none of ours.
    fn place(&mut self, op: &str, site: Site, layer: Option<usize>, cols: usize) -> Option<Place> {
        if layer != self.layer {
            *self = Self { layer, ..Self::new(self.order.clone()) };
        }
        let count = |n: &mut usize| {
            *n += 1;
            *n - 1
        };
        match site {
            Site::AttnIn | Site::AttnQkv | Site::AttnOut => self.attention += 1,
            Site::MlpIn | Site::ActFn | Site::MlpOut => self.mlp += 1,
            _ => {}
        }
        let mixed = self.order.experts.as_ref().zip(layer).is_some_and(|(layers, layer)| layers.has(layer));
        match site {
            Site::Norm if layer.is_none() => Some(Place::NormFinal),
            Site::Norm if self.mlp > 0 => self.order.after,
            // A norm after something of attention was saved is not that before it: its input needs a gradient only if the
            // input of the layer does (then the first norm's x̂ and q, k, v came before), or if a projection of attention is
            // trained (then its input did).
            Site::Norm if self.attention > 0 => self.order.between.get(count(&mut self.between)).copied(),
            Site::Norm => Some(Place::NormAttn),
            Site::AttnIn => Some(Place::AttnIn),
            // The norm of q's heads or k's keeps nothing where its input needs no gradient, so that only k's may come; where both
            // have as many features, a single one is taken for q's.
            Site::AttnQkv if op == "norm" => match count(&mut self.head_norms) {
                0 if cols == self.order.q_cols => Some(Place::QNorm),
                _ => Some(Place::KNorm),
            },
            Site::AttnQkv => [Place::Q, Place::K, Place::V].get(count(&mut self.qkv)).copied(),
            Site::AttnOut => Some(Place::AttnOut),
            Site::MlpIn => Some(Place::MlpIn),
            // Of each expert its own.
            Site::ActFn | Site::MlpOut if mixed => None,
            Site::ActFn => self.order.act_fn.get(count(&mut self.act_fn)).copied(),
            Site::MlpOut => Some(Place::MlpOut),
            _ => None,
        }
    }
}

/// What is done with each tensor that is seen: its place, its layer (`None` for the final norm), its numbers.
pub type See<'a> = dyn FnMut(Place, Option<usize>, &Tensor) -> Result<(), Error> + 'a;

/// Runs `batch` forward and shows `see` every tensor that is saved, in the order of the model. Returns the mean loss
/// over the batch's trained tokens.
///
/// # Errors
/// Those of the model; the first error of `see`, which is then not called again.
pub fn capture<'m>(
    decoder: &'m Decoder,
    memory: &Memory,
    batch: &TokenBatch,
    see: &'m mut See<'m>,
) -> Result<f64, Error> {
    capture_in(Order::of(decoder.config()), decoder, memory, batch, see)
}

/// As [`capture`], of images.
///
/// # Errors
/// The same.
pub fn capture_images<'m>(
    classifier: &'m Classifier,
    memory: &Memory,
    batch: &ImageBatch,
    see: &'m mut See<'m>,
) -> Result<f64, Error> {
    capture_in(Order::of_images(classifier.config()), classifier, memory, batch, see)
}

fn capture_in<'m, M: Model>(
    order: Order,
    model: &'m M,
    memory: &Memory,
    batch: &M::Batch,
    see: &'m mut See<'m>,
) -> Result<f64, Error> {
    let failed = Rc::new(RefCell::new(None));
    let noted = Rc::clone(&failed);
    let mut follower = Follower::new(order);
    let mut tape = Tape::new(memory, Policy::exact(), StepKey::default());
    tape.observe(Box::new(move |op, site, layer, tensor| {
        let place = follower.place(op, site, layer, tensor.cols());
        let mut noted = noted.borrow_mut();
        if let (Some(place), true) = (place, noted.is_none()) {
            *noted = see(place, layer, tensor).err();
        }
    }));
    let output = model.loss(&mut tape, batch)?;
    if let Some(error) = failed.borrow_mut().take() {
        return Err(error);
    }
    let sum: f64 = output.nll.iter().map(|&x| f64::from(x)).sum();
    Ok(sum / output.nll.len().max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_names_all_its_places() {
        for place in Place::ALL {
            assert!(Place::named(place.name()).is_ok_and(|found| found == [place]), "{place}");
        }
        use Place::{K, KNorm, NormAttn, NormAttnAfter, NormFinal, NormMlp, NormMlpAfter, Q, QNorm, V};
        assert_eq!(Place::named("attn_qkv"), Ok(vec![QNorm, KNorm, Q, K, V]));
        assert_eq!(Place::named("norm"), Ok(vec![NormAttn, NormAttnAfter, NormMlp, NormMlpAfter, NormFinal]));
        let error = Place::named("attn").err().unwrap_or_default();
        assert!(error.contains("`attn`") && error.contains("attn_out"), "{error}");
    }

    #[test]
    fn equal_sites_of_a_layer_are_told_apart() {
        const PLAIN: Order = Order {
            q_cols: 32,
            act_fn: &[Place::Gate, Place::Up],
            between: &[Place::NormMlp],
            after: None,
            experts: None,
        };
        let mut follower = Follower::new(PLAIN);
        let mut of = |sites: &[Site], layer| -> Vec<Option<Place>> {
            sites.iter().map(|&site| follower.place("linear", site, layer, 32)).collect()
        };
        use Site::{ActFn, AttnIn, AttnOut, AttnQkv, MlpOut, Norm, RowStats};
        // Layer 0 with pairs everywhere, then with one on the output projection only; then a whole layer; then the end.
        assert_eq!(
            of(&[AttnIn, AttnQkv, AttnQkv, AttnQkv, AttnOut, Norm, ActFn, ActFn, MlpOut, RowStats], Some(0)),
            [
                Some(Place::AttnIn),
                Some(Place::Q),
                Some(Place::K),
                Some(Place::V),
                Some(Place::AttnOut),
                Some(Place::NormMlp),
                Some(Place::Gate),
                Some(Place::Up),
                Some(Place::MlpOut),
                None
            ]
        );
        assert_eq!(of(&[AttnOut, Norm], Some(1)), [Some(Place::AttnOut), Some(Place::NormMlp)]);
        assert_eq!(
            of(&[Norm, AttnQkv, AttnQkv, AttnQkv, Norm], Some(2)),
            [Some(Place::NormAttn), Some(Place::Q), Some(Place::K), Some(Place::V), Some(Place::NormMlp)]
        );
        assert_eq!(of(&[Norm], None), [Some(Place::NormFinal)]);
    }
}
