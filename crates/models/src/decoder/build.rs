//! A decoder's layers from whatever has their tensors: which there are, under which names, of which shapes.

use loract_autograd::ops::{AttentionShape, Linear, Mask, Norm, Shares};

use super::rope::RopeCache;
use super::{Decoder, layer_name};
use crate::config::family::{Family, MlpNames, NormWeights, Over, QkvNames};
use crate::config::{self, AttentionBias, Block, DecoderConfig, ExpertWeights, HeadNorm};
use crate::layers::attention::{Attention, Qkv, Turn};
use crate::layers::experts::{Expert, Experts};
use crate::layers::mlp::{Inner, Mlp};
use crate::layers::parts::Named;
use crate::layers::source::{self, Tensors, unless};
use crate::layers::{FeedForward, Layer, LayerNorms};

/// Asks the source for every tensor, even after one could not be had, so that it can report all of them.
pub(super) fn build(config: DecoderConfig, source: &mut dyn Tensors) -> Option<Decoder> {
    let (c, v, family) = (config.hidden_size, config.vocab_size, config.model_type.family());
    let embed_tokens = source.matrix("model.embed_tokens.weight", v, c);
    let layers: Vec<_> = (0..config.layers).map(|index| build_layer(&config, index, source)).collect();
    let mut whole = Builder { config: &config, family, source, prefix: String::new() };
    let norm = whole.norm(family.final_norm, c, &[c]);
    let lm_head = unless(config.tied, || whole.source.matrix("lm_head.weight", v, c));
    let head_bias = unless(!family.head_bias, || whole.source.vector("lm_head.bias", &[v], 0.0));
    Some(Decoder {
        embed_tokens: embed_tokens?,
        layers: layers.into_iter().collect::<Option<_>>()?,
        norm: norm?,
        lm_head: lm_head?,
        head_bias: head_bias?,
        rope: RopeCache::default(),
        config,
    })
}

fn build_layer(config: &DecoderConfig, index: usize, source: &mut dyn Tensors) -> Option<Layer> {
    let prefix = layer_name(index, "");
    let mut builder = Builder { config, family: config.model_type.family(), source, prefix };
    let norms = builder.layer_norms();
    let attention = builder.attention(index);
    let mlp = builder.feed_forward(index);
    Some(Layer {
        block: config.block,
        norms: norms?,
        attention: attention?,
        mlp: mlp?,
        residual_scale: config.scales.residual,
        scales: None,
    })
}

/// Asks for the tensors of a part of the model.
struct Builder<'a> {
    config: &'a DecoderConfig,
    family: &'static Family,
    source: &'a mut dyn Tensors,
    /// What names in the checkpoint begin with.
    prefix: String,
}

impl Builder<'_> {
    /// A norm over `width` features at a time, with weights of this shape.
    fn norm(&mut self, name: &str, width: usize, shape: &[usize]) -> Option<Named<Norm>> {
        let full = format!("{}{name}", self.prefix);
        let weights = self.family.norm_weights;
        let offset = if weights == NormWeights::LessOne { 1.0 } else { 0.0 };
        let weight =
            unless(weights == NormWeights::None, || self.source.vector(&format!("{full}.weight"), shape, 1.0 - offset));
        let bias =
            unless(weights != NormWeights::WeightAndBias, || self.source.vector(&format!("{full}.bias"), shape, 0.0));
        let (kind, eps) = (self.family.norm, self.config.norm_eps);
        Some(Named { name: name.to_owned(), part: Norm { kind, width, eps, offset, weight: weight?, bias: bias? } })
    }

    fn linear(&mut self, name: &str, rows: usize, cols: usize, biased: bool) -> Option<Named<Linear>> {
        source::linear(self.source, &self.prefix, name, [rows, cols], biased)
    }

    fn layer_norms(&mut self) -> Option<LayerNorms> {
        let c = self.config.hidden_size;
        let names = self.family.norms;
        let before_mlp = names.before_mlp.filter(|_| self.config.block == Block::Sequential);
        let mut norm = |name: Option<&str>| match name {
            None => Some(None),
            Some(name) => self.norm(name, c, &[c]).map(Some),
        };
        let (before_attention, after_attention) = (norm(names.before_attention), norm(names.after_attention));
        let (before_mlp, after_mlp) = (norm(before_mlp), norm(names.after_mlp));
        Some(LayerNorms {
            before_attention: before_attention?,
            after_attention: after_attention?,
            before_mlp: before_mlp?,
            after_mlp: after_mlp?,
        })
    }

    fn attention(&mut self, index: usize) -> Option<Attention> {
        let config = self.config;
        let (c, d) = (config.hidden_size, config.head_dim);
        let (q, kv) = (config.heads * d, config.kv_heads * d);
        let biased = config.attention_bias != AttentionBias::None;
        let names = self.family.attention;
        let qkv = match names.qkv {
            QkvNames::Apart(three) => {
                let [q, k, v] = [(three[0], q), (three[1], kv), (three[2], kv)]
                    .map(|(name, rows)| self.linear(name, rows, c, biased));
                q.zip(k).zip(v).map(|((q, k), v)| Qkv::Apart(Box::new([q, k, v])))
            }
            QkvNames::Fused(name) => self.linear(name, q + 2 * kv, c, biased).map(|one| Qkv::Fused(Box::new(one))),
        };
        let o = self.linear(names.o, c, q, config.attention_bias == AttentionBias::All);
        let norms = self.family.head_norm;
        let head_norms = unless(config.head_norm == HeadNorm::None, || {
            let [q, k] = [(norms.names[0], q), (norms.names[1], kv)].map(|(name, row)| match norms.over {
                Over::Head => self.norm(name, d, &[d]),
                Over::OwnHead => self.norm(name, d, &[row / d, d]),
                Over::Row => self.norm(name, row, &[row]),
            });
            Some([q?, k?])
        });
        let window = config.window(index);
        Some(Attention {
            qkv: qkv?,
            o: o?,
            head_norms: head_norms?,
            shape: AttentionShape {
                heads: config.heads,
                kv_heads: config.kv_heads,
                head_dim: d,
                mask: Mask::Causal { window },
                scale: config.scales.attention,
                softcap: config.attention_softcap,
            },
            clip: config.clip_qkv,
            table: None,
            turn: match (config.turned.has(index), window, &config.local_rope) {
                (false, ..) => Turn::Never,
                (true, Some(_), Some(_)) => Turn::Local,
                _ => Turn::Global,
            },
        })
    }

    fn feed_forward(&mut self, index: usize) -> Option<FeedForward> {
        match self.config.experts.as_ref().filter(|experts| experts.layers.has(index)) {
            None => self.mlp().map(|mlp| FeedForward::Dense(Box::new(mlp))),
            Some(experts) => self.experts(experts).map(|experts| FeedForward::Experts(Box::new(experts))),
        }
    }

    fn experts(&mut self, config: &config::Experts) -> Option<Experts> {
        let (c, f, names) = (self.config.hidden_size, config.width, self.family.experts);
        let router = self.linear(names.router, config.count, c, false);
        let experts: Vec<_> = (0..config.count)
            .map(|number| {
                let [gate, up, down] = [(names.parts[0], f, c), (names.parts[1], f, c), (names.parts[2], c, f)].map(
                    |(part, rows, cols)| self.linear(&format!("{}.{number}.{part}", names.experts), rows, cols, false),
                );
                Some(Expert { gate: gate?, up: up?, down: down? })
            })
            .collect();
        Some(Experts {
            router: router?,
            experts: experts.into_iter().collect::<Option<_>>()?,
            chosen: config.chosen,
            shares: match config.weights {
                ExpertWeights::Probabilities => Shares::OfAll,
                ExpertWeights::SumToOne => Shares::OfChosen,
            },
            activation: self.config.activation,
        })
    }

    fn mlp(&mut self) -> Option<Mlp> {
        let (c, f, biased) = (self.config.hidden_size, self.config.intermediate_size, self.config.mlp_bias);
        let (inner, down) = match self.family.mlp {
            MlpNames::Gated { gate, up, down } => {
                let (gate, up) = (self.linear(gate, f, c, biased), self.linear(up, f, c, biased));
                (gate.zip(up).map(|(gate, up)| Inner::Gated(Box::new([gate, up]))), down)
            }
            MlpNames::Fused { gate_up, down } => (self.linear(gate_up, 2 * f, c, biased).map(Inner::Fused), down),
            MlpNames::Plain { up, down } => (self.linear(up, f, c, biased).map(Inner::Plain), down),
        };
        let down = self.linear(down, c, f, biased);
        Some(Mlp { activation: self.config.activation, inner: inner?, down: down? })
    }
}
