//! A decoder's weights as a safetensors file.

use loract_autograd::{Frozen, Values, Weight, to_bf16_bytes};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError};

use super::Decoder;

impl Decoder {
    /// Every base weight under its name, rounded to bf16; LoRA pairs are left out.
    ///
    /// # Errors
    /// If the format cannot hold them.
    pub fn to_safetensors_bf16(&self) -> Result<Vec<u8>, SafeTensorError> {
        let mut stored: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
        let mut matrix = |name: &str, w: &Weight| {
            let numbers = match w {
                Weight::Frozen(frozen) => Frozen::to_f32(frozen),
                Weight::Trained(p) => p.value().to_vec(),
            };
            stored.push((name.to_owned(), vec![w.rows(), w.cols()], to_bf16_bytes(&numbers)));
        };
        matrix("model.embed_tokens.weight", &self.embed_tokens);
        if let Some(head) = &self.lm_head {
            matrix("lm_head.weight", head);
        }
        for (name, linear) in self.linears() {
            matrix(&format!("{name}.weight"), &linear.weight);
        }
        let mut vector = |name: String, v: &Values| {
            stored.push((name, vec![v.value().cols()], to_bf16_bytes(&v.value().to_vec())));
        };
        for (name, linear) in self.linears() {
            if let Some(bias) = &linear.bias {
                vector(format!("{name}.bias"), bias);
            }
        }
        for (i, layer) in self.layers.iter().enumerate() {
            vector(format!("model.layers.{i}.input_layernorm.weight"), &layer.input_layernorm);
            vector(format!("model.layers.{i}.post_attention_layernorm.weight"), &layer.post_attention_layernorm);
        }
        vector("model.norm.weight".to_owned(), &self.norm);
        let mut views = Vec::with_capacity(stored.len());
        for (name, shape, bytes) in &stored {
            views.push((name, TensorView::new(Dtype::BF16, shape.clone(), bytes)?));
        }
        safetensors::serialize(views, None)
    }
}
