//! Transformer families as they are published: configurations, stored weights, tokenizers, chat templates, and the decoders and
//! image classifiers that run them; LoRA pairs and PEFT adapters.
//!
//! [`ModelSource::open`] reads a Hugging Face folder or a GGUF file; [`Decoder::load`] takes its weights, strictly;
//! [`Model::attach_lora`] or [`adapter::load`] makes it trainable.

pub mod adapter;
mod attach;
pub mod chat;
mod companions;
mod config;
mod decoder;
mod error;
mod export;
mod files;
mod generate;
mod layers;
pub mod llama_cpp;
mod model;
mod source;
mod tensor_ref;
mod tokenizer;
mod trained;
pub mod vision;
pub mod weights;

pub use attach::{ALL_LINEAR, FactorA, LoraConfig, Magnitude, Scaling};
pub use chat::{ChatTemplate, TemplateError};
pub use companions::{COMPANION_FILES, Companions};
pub use config::{
    AttentionBias, Block, ConfigError, DecoderConfig, ExpertWeights, Experts, HeadNorm, Layers, ModelType, Rope,
    RopeScaling, Scales, SlidingWindow,
};
pub use decoder::{Decoder, Row, TokenBatch};
pub use error::Error;
pub use export::MODEL_FILE;
pub use files::{Content, ToWrite};
pub use generate::{Generator, Sampling, SamplingError};
pub use layers::Layer;
pub use model::{Batch, Model};
pub use source::{ModelSource, read_config};
pub use tensor_ref::{TensorMut, TensorRef};
pub use tokenizer::{Encoded, TextStream, Tokenizer, TokenizerError};
pub use vision::{
    Classifier, ClassifierHead, ImageBatch, LABELS_FILE, StageConfig, VisionConfig, VisionSource, VisionType,
    adapter_labels,
};
pub use weights::{Checked, RowOrder, Stored, Weights};
