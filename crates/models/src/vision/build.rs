//! A classifier's parts from whatever has their tensors: which there are, under which names, of which shapes.

use loract_autograd::ops::{Activation, AttentionShape, Linear, Mask, Norm, NormKind, Pool};

use super::config::{StageConfig, VisionConfig};
use super::embeddings::{Embeddings, FirstNorm};
use super::family::{VisionFamily, VisionType, swin};
use super::{Classifier, Merging, Stage};
use crate::config::Block;
use crate::layers::attention::{Attention, Qkv, Turn};
use crate::layers::mlp::{Inner, Mlp};
use crate::layers::parts::{Named, Shaped};
use crate::layers::source::{self, Tensors, unless};
use crate::layers::{FeedForward, Layer, LayerNorms};

/// The module that turns the vector of an image into logits.
pub(super) const HEAD: &str = "classifier";

/// Added to the variance in norms that do not take it from the configuration (PyTorch's default).
const USUAL_EPS: f32 = 1e-5;

/// Asks the source for every tensor, even after one could not be had, so that it can report all of them.
pub(super) fn build(config: VisionConfig, source: &mut dyn Tensors) -> Option<Classifier> {
    let family = config.model_type.family();
    let mut builder = Builder { config: &config, family, source };
    let embeddings = builder.embeddings();
    let stages: Vec<_> = (0..config.stages.len()).map(|index| builder.stage(index)).collect();
    let last = config.stages.last().map_or(0, |stage| stage.hidden_size);
    let norm = match family.names.last_norm {
        Some(name) => builder.norm(&format!("{}.", family.base), name, last, config.norm_eps).map(Some),
        None => Some(None),
    };
    let inputs = if matches!(family.pool, Pool::FirstAndMean { .. }) { 2 * last } else { last };
    let head = builder.linear("", HEAD, [config.labels.len(), inputs], true);
    Some(Classifier {
        embeddings: embeddings?,
        stages: stages.into_iter().collect::<Option<_>>()?,
        norm: norm?,
        head: head?,
        carried: Vec::new(),
        config,
    })
}

/// Asks for the tensors of a part of the model.
struct Builder<'a> {
    config: &'a VisionConfig,
    family: &'static VisionFamily,
    source: &'a mut dyn Tensors,
}

impl Builder<'_> {
    fn norm(&mut self, prefix: &str, name: &str, width: usize, eps: f32) -> Option<Named<Norm>> {
        let full = format!("{prefix}{name}");
        let weight = self.source.vector(&format!("{full}.weight"), &[width], 1.0);
        let bias = self.source.vector(&format!("{full}.bias"), &[width], 0.0);
        let part = Norm { kind: NormKind::Layer, width, eps, offset: 0.0, weight: Some(weight?), bias: Some(bias?) };
        Some(Named { name: name.to_owned(), part })
    }

    fn linear(&mut self, prefix: &str, name: &str, shape: [usize; 2], biased: bool) -> Option<Named<Linear>> {
        source::linear(self.source, prefix, name, shape, biased)
    }

    fn embeddings(&mut self) -> Option<Embeddings> {
        let (config, names) = (self.config, &self.family.names);
        let (base, c) = (format!("{}.", self.family.base), config.stages.first()?.hidden_size);
        let [p, q] = config.patch_size;
        let projection_shape = [c, config.channels, p, q];
        let weight_name = format!("{base}{}.weight", names.projection);
        let weight = self.source.shaped(&weight_name, &projection_shape, c, config.channels * p * q);
        let biased = config.model_type != VisionType::Clip;
        let bias = unless(!biased, || self.source.vector(&format!("{base}{}.bias", names.projection), &[c], 0.0));
        let tokens: Vec<_> = names
            .tokens
            .iter()
            .map(|&name| {
                let shape: &[usize] = if config.model_type == VisionType::Clip { &[c] } else { &[1, 1, c] };
                let part = self.source.vector(&format!("{base}{name}"), shape, 0.0)?;
                Some(Shaped { name: name.to_owned(), shape: shape.to_vec(), part })
            })
            .collect();
        let rows = config.tokens();
        let positions = unless(!config.positions, || {
            let shape: &[usize] = if names.positions.ends_with(".weight") { &[rows, c] } else { &[1, rows, c] };
            let part = self.source.shaped(&format!("{base}{}", names.positions), shape, rows, c)?;
            Some(Shaped { name: names.positions.to_owned(), shape: shape.to_vec(), part })
        });
        let norm = match (names.first_norm, config.model_type) {
            (None, _) => Some(None),
            (Some(name), VisionType::Swin) => {
                self.norm(&base, name, c, USUAL_EPS).map(|norm| Some(FirstNorm::Patches(norm)))
            }
            (Some(name), _) => self.norm(&base, name, c, config.norm_eps).map(|norm| Some(FirstNorm::Rows(norm))),
        };
        let part = Linear { weight: weight?, bias: bias?, lora: None };
        Some(Embeddings {
            projection: Shaped { name: names.projection.to_owned(), shape: projection_shape.to_vec(), part },
            tokens: tokens.into_iter().collect::<Option<_>>()?,
            positions: positions?,
            norm: norm?,
        })
    }

    fn stage(&mut self, index: usize) -> Option<Stage> {
        let stage = self.config.stages[index];
        let layers: Vec<_> = (0..stage.layers).map(|number| self.layer(&stage, index, number)).collect();
        let merges = index + 1 < self.config.stages.len();
        let merging = unless(!merges, || {
            let (prefix, c) = (stage_name(self.family, index), stage.hidden_size);
            let norm = self.norm(&prefix, swin::MERGING[0], 4 * c, USUAL_EPS);
            let reduction = self.linear(&prefix, swin::MERGING[1], [2 * c, 4 * c], false);
            Some(Merging { norm: norm?, reduction: reduction? })
        });
        Some(Stage { layers: layers.into_iter().collect::<Option<_>>()?, merging: merging? })
    }

    fn layer(&mut self, stage: &StageConfig, index: usize, number: usize) -> Option<Layer> {
        let (c, eps, names) = (stage.hidden_size, self.config.norm_eps, &self.family.names);
        let prefix = layer_name(self.config, index, number);
        let before_attention = self.norm(&prefix, names.norm_before, c, eps);
        let before_mlp = self.norm(&prefix, names.norm_after, c, eps);
        let attention = self.attention(&prefix, stage);
        let mlp = self.mlp(&prefix, stage);
        let scales = unless(self.config.model_type != VisionType::Dinov2, || {
            let mut scale = |name: &str| {
                let part = self.source.vector(&format!("{prefix}{name}"), &[c], 1.0)?;
                Some(Shaped { name: name.to_owned(), shape: vec![c], part })
            };
            let [first, second] = ["layer_scale1.lambda1", "layer_scale2.lambda1"].map(&mut scale);
            Some([first?, second?])
        });
        Some(Layer {
            block: Block::Sequential,
            norms: LayerNorms {
                before_attention: Some(before_attention?),
                after_attention: None,
                before_mlp: Some(before_mlp?),
                after_mlp: None,
            },
            attention: attention?,
            mlp: FeedForward::Dense(Box::new(mlp?)),
            residual_scale: 1.0,
            scales: scales?,
        })
    }

    fn attention(&mut self, prefix: &str, stage: &StageConfig) -> Option<Attention> {
        let (c, heads, names) = (stage.hidden_size, stage.heads, &self.family.names);
        let [q, k, v] = names.qkv.map(|name| self.linear(prefix, name, [c, c], self.config.qkv_bias));
        let o = self.linear(prefix, names.o, [c, c], true);
        let table = match self.config.window {
            None => Some(None),
            Some(window) => {
                let (rows, name) = ((2 * window - 1) * (2 * window - 1), swin::TABLE);
                let part = self.source.matrix(&format!("{prefix}{name}"), rows, heads);
                part.map(|part| Some(Shaped { name: name.to_owned(), shape: vec![rows, heads], part }))
            }
        };
        Some(Attention {
            qkv: Qkv::Apart(Box::new([q?, k?, v?])),
            o: o?,
            head_norms: None,
            shape: AttentionShape { mask: Mask::None, ..AttentionShape::causal(heads, heads, stage.head_dim()) },
            clip: None,
            turn: Turn::Never,
            table: table?,
        })
    }

    fn mlp(&mut self, prefix: &str, stage: &StageConfig) -> Option<Mlp> {
        let (c, f, gated) = (stage.hidden_size, stage.intermediate_size, self.config.gated);
        let (inner, down) = if gated {
            let [gate, up] = ["mlp.gate_proj", "mlp.up_proj"].map(|name| self.linear(prefix, name, [f, c], true));
            (gate.zip(up).map(|(gate, up)| Inner::Gated(Box::new([gate, up]))), "mlp.down_proj")
        } else {
            (self.linear(prefix, "mlp.fc1", [f, c], true).map(Inner::Plain), "mlp.fc2")
        };
        let down = self.linear(prefix, down, [c, f], true);
        // DINOv2's gate has its own, whatever is said of the other MLP.
        let activation = if gated { Activation::Silu } else { self.config.activation };
        Some(Mlp { activation, inner: inner?, down: down? })
    }
}

/// What names in a stage begin with.
pub(super) fn stage_name(family: &VisionFamily, index: usize) -> String {
    format!("{}.{}.{index}.", family.base, family.names.layers)
}

/// What names in a layer begin with.
pub(super) fn layer_name(config: &VisionConfig, stage: usize, number: usize) -> String {
    let family = config.model_type.family();
    match config.model_type {
        VisionType::Swin => format!("{}{}.{number}.", stage_name(family, stage), swin::BLOCKS),
        _ => stage_name(family, number),
    }
}
