//! A linear layer's weight with its LoRA branch added.

use super::dora;
use super::linear::Linear;
use crate::param::Weight;
use crate::tensor::Memory;

/// W + s·B·A, out×in, row after row; with DoRA, each row brought to its length m. Of a layer without a pair W.
pub fn merged(layer: &Linear) -> Vec<f32> {
    let Some(lora) = &layer.lora else {
        return match &layer.weight {
            Weight::Frozen(frozen) => frozen.to_f32(),
            Weight::Trained(param) => param.value().to_vec(),
        };
    };
    let (memory, cols) = (Memory::new(), layer.weight.cols());
    let mut merged = vec![0.0; layer.weight.rows() * cols];
    dora::for_v(layer, lora, &memory, |range, v| {
        merged[range.start * cols..range.end * cols].copy_from_slice(&v[..range.len() * cols]);
    });
    if let Some(magnitude) = &lora.magnitude {
        let norms = dora::norms(layer, lora, &memory);
        let lengths = magnitude.value().data().iter().zip(norms.data());
        for (row, (m, norm)) in merged.chunks_exact_mut(cols).zip(lengths) {
            let scale = m / norm;
            row.iter_mut().for_each(|x| *x *= scale);
        }
    }
    merged
}
