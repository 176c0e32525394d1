//! Making a decoder: from stored weights, strictly; or with random weights, all trained.

use loract_autograd::ops::{AttentionShape, Linear, Norm};
use loract_autograd::{Bytes, DType, Frozen, Memory, Param, Rng, Values, Weight, to_bf16_bytes};

use super::rope::RopeCache;
use super::{Decoder, Layer};
use crate::config::{AttentionBias, DecoderConfig, HeadNorm};
use crate::error::Error;
use crate::weights::{Checked, Weights};

/// Where the tensors of a new decoder come from.
trait Tensors {
    /// A rows×cols matrix; `None` if it could not be had (the source reports why at the end).
    fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> Option<Weight>;
    /// A norm's weight or a bias.
    fn vector(&mut self, name: &str, len: usize) -> Option<Values>;
}

/// Stored tensors, frozen.
struct FromFile<'a> {
    checked: Checked,
    memory: &'a Memory,
}

impl Tensors for FromFile<'_> {
    fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> Option<Weight> {
        self.checked.matrix(name, rows, cols).map(Weight::Frozen)
    }
    fn vector(&mut self, name: &str, len: usize) -> Option<Values> {
        self.checked.vector(name, len).map(|numbers| Values::frozen(self.memory, numbers))
    }
}

/// Random tensors: matrices normal with deviation 0.02 (GPT-2's and Llama's start), norms 1, biases 0. Trained in f32, or
/// frozen in bf16.
struct FromSeed<'a> {
    memory: &'a Memory,
    rng: Rng,
    frozen: bool,
}

impl Tensors for FromSeed<'_> {
    fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> Option<Weight> {
        let numbers: Vec<f32> = (0..rows * cols).map(|_| 0.02 * self.rng.normal()).collect();
        if self.frozen {
            let bytes = Bytes::owned(to_bf16_bytes(&numbers));
            return Frozen::new(self.memory, DType::Bf16, rows, cols, bytes).ok().map(Weight::Frozen);
        }
        Some(Weight::Trained(Param::new(self.memory, name, rows, cols, numbers)))
    }
    fn vector(&mut self, name: &str, len: usize) -> Option<Values> {
        let start = if name.ends_with(".bias") { 0.0 } else { 1.0 };
        let numbers = vec![start; len];
        Some(match self.frozen {
            true => Values::frozen(self.memory, numbers),
            false => Values::Trained(Param::new(self.memory, name, 1, len, numbers)),
        })
    }
}

impl Decoder {
    /// A decoder whose weights are all frozen, in their stored form.
    ///
    /// # Errors
    /// [`Error::Weights`] with every tensor that is missing, of a wrong shape, or unknown.
    pub fn load(memory: &Memory, config: DecoderConfig, weights: Weights) -> Result<Self, Error> {
        let path = weights.path().to_path_buf();
        let mut source = FromFile { checked: Checked::new(weights, memory), memory };
        let decoder = build(config, &mut source);
        // Tied models may store the head all the same; buffers of old checkpoints are computed.
        let mut ignored = vec!["*.rotary_emb.inv_freq"];
        if decoder.as_ref().is_none_or(|d| d.config.tied) {
            ignored.push("lm_head.weight");
        }
        source.checked.finish(&ignored)?;
        decoder.ok_or(Error::Weights { path, missing: Vec::new(), wrong: Vec::new(), unknown: Vec::new() })
    }

    /// A decoder with random weights, all trained.
    pub fn random(memory: &Memory, config: DecoderConfig, seed: u64) -> Option<Self> {
        build(config, &mut FromSeed { memory, rng: Rng::new(&[seed, 0x1717]), frozen: false })
    }

    /// A decoder with random weights, all frozen and stored in bf16: the shapes of a model, to measure with.
    pub fn random_frozen(memory: &Memory, config: DecoderConfig, seed: u64) -> Option<Self> {
        build(config, &mut FromSeed { memory, rng: Rng::new(&[seed, 0x1717]), frozen: true })
    }
}

/// Asks the source for every tensor, even after one could not be had, so that it can report all of them.
fn build(config: DecoderConfig, source: &mut dyn Tensors) -> Option<Decoder> {
    let (c, v) = (config.hidden_size, config.vocab_size);
    let embed_tokens = source.matrix("model.embed_tokens.weight", v, c);
    let layers: Vec<_> = (0..config.layers).map(|i| build_layer(&config, i, source)).collect();
    let norm = source.vector("model.norm.weight", c);
    let lm_head = (!config.tied).then(|| source.matrix("lm_head.weight", v, c));
    Some(Decoder {
        embed_tokens: embed_tokens?,
        layers: layers.into_iter().collect::<Option<_>>()?,
        norm: Norm::rms(norm?, config.rms_eps),
        lm_head: match lm_head {
            None => None,
            Some(head) => Some(head?),
        },
        rope: RopeCache::default(),
        config,
    })
}

fn build_layer(config: &DecoderConfig, index: usize, source: &mut dyn Tensors) -> Option<Layer> {
    let (c, f) = (config.hidden_size, config.intermediate_size);
    let (q, kv) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
    let input_layernorm = source.vector(&format!("model.layers.{index}.input_layernorm.weight"), c);
    let post_attention_layernorm = source.vector(&format!("model.layers.{index}.post_attention_layernorm.weight"), c);
    let mut linear = |name: &str, rows: usize, cols: usize, biased: bool| {
        let name = format!("model.layers.{index}.{name}");
        let weight = source.matrix(&format!("{name}.weight"), rows, cols);
        let bias = biased.then(|| source.vector(&format!("{name}.bias"), rows));
        let bias = match bias {
            None => None,
            Some(bias) => Some(bias?),
        };
        Some(Linear { weight: weight?, bias, lora: None })
    };
    let qkv_bias = config.attention_bias != AttentionBias::None;
    let q_proj = linear("self_attn.q_proj", q, c, qkv_bias);
    let k_proj = linear("self_attn.k_proj", kv, c, qkv_bias);
    let v_proj = linear("self_attn.v_proj", kv, c, qkv_bias);
    let o_proj = linear("self_attn.o_proj", c, q, config.attention_bias == AttentionBias::All);
    let gate_proj = linear("mlp.gate_proj", f, c, config.mlp_bias);
    let up_proj = linear("mlp.up_proj", f, c, config.mlp_bias);
    let down_proj = linear("mlp.down_proj", c, f, config.mlp_bias);
    let mut head_norm = |name: &str| match config.head_norm {
        HeadNorm::None => Some(None),
        HeadNorm::QueryKey => {
            source.vector(&format!("model.layers.{index}.self_attn.{name}.weight"), config.head_dim).map(Some)
        }
    };
    let (q_norm, k_norm) = (head_norm("q_norm"), head_norm("k_norm"));
    let rms = |weight| Norm::rms(weight, config.rms_eps);
    Some(Layer {
        input_layernorm: rms(input_layernorm?),
        q_proj: q_proj?,
        k_proj: k_proj?,
        v_proj: v_proj?,
        o_proj: o_proj?,
        q_norm: q_norm?.map(rms),
        k_norm: k_norm?.map(rms),
        post_attention_layernorm: rms(post_attention_layernorm?),
        gate_proj: gate_proj?,
        up_proj: up_proj?,
        down_proj: down_proj?,
        attention: AttentionShape {
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            window: config.window(index),
        },
    })
}
