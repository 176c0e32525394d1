//! Models and adapters as the GGUF files that llama.cpp's tools read: what `convert_hf_to_gguf.py` and
//! `convert_lora_to_gguf.py` make of the families that have an architecture there, read and written.
//!
//! | what | how |
//! |---|---|
//! | names | `blk.3.attn_q.weight` for `model.layers.3.self_attn.q_proj.weight`, … |
//! | rows of q and k, in architectures that turn neighbouring features where the checkpoint turns halves | within each head the two rotary halves alternate ([`RowOrder::RotaryPairs`](crate::RowOrder)) |
//! | weights of norms that the checkpoint keeps less one | one more |
//! | experts | one tensor for each part of all of them |
//! | vectors, norms, routers | F32, whatever the matrices have |
//! | rows that are no whole blocks | F16 |
//! | the matrix that makes the logits, in a Q4_0 file | Q8_0 (`llama-quantize` keeps it wider too, at Q6_K) |
//! | a head tied to the embedding | is not written |
//! | metadata of a GGUF model | taken over, byte for byte, but for what is no longer true |
//! | metadata of a folder | made of `config.json`, tokenizer and template; refused, if llama.cpp would compute otherwise than it says |

mod about;
mod adapter;
mod architecture;
mod config;
mod keys;
mod model;
mod names;
mod rope;
mod unsaid;
mod weights;

pub use about::About;
pub use adapter::{adapter_file, load_adapter};
pub use model::model_file;
