//! What of a model a run trains, and the files that it leaves of that.

use std::path::Path;

use loract_autograd::Memory;
use loract_models::weights::{safetensors, store::StoredAs};
use loract_models::{Companions, FactorA, LoraConfig, MODEL_FILE, Model, ToWrite, adapter};

use crate::error::Error;

/// How much of a model is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FineTuneType {
    /// LoRA pairs, and modules named beside them.
    #[default]
    Lora,
    /// Every weight.
    Full,
    /// The head, which turns the last layer's output into logits.
    Head,
}

/// What of a model is trained.
#[derive(Debug, Clone, PartialEq)]
pub enum Tuning {
    /// LoRA pairs, and modules named beside them.
    Lora(LoraConfig),
    /// Every weight.
    Full,
    /// The head.
    Head,
}

impl Tuning {
    /// Makes it trained in `model`, with new LoRA pairs or the numbers in the folder `from`: an adapter, of which only
    /// dropout and whether A is trained are of the run, or a model. Returns what it is, with targets that are names.
    /// `seed` names the numbers of a new A.
    ///
    /// # Errors
    /// Those of [`Model::attach_lora`], [`adapter::load`] and [`Model::take_trained`].
    pub fn begin<M: Model>(
        &self,
        memory: &Memory,
        model: &mut M,
        from: Option<&Path>,
        seed: u64,
    ) -> Result<Tuning, Error> {
        match (self, from) {
            (Tuning::Lora(wanted), None) => return Ok(Tuning::Lora(model.attach_lora(memory, wanted, seed)?)),
            (Tuning::Lora(wanted), Some(folder)) => {
                let found = adapter::load(memory, model, folder)?;
                model.set_lora_dropout(wanted.dropout);
                if wanted.a == FactorA::Frozen {
                    model.freeze_lora_a();
                }
                return Ok(Tuning::Lora(LoraConfig { dropout: wanted.dropout, a: wanted.a, ..found }));
            }
            (Tuning::Full, _) => model.train_all(memory),
            (Tuning::Head, _) => model.train_head(memory)?,
        }
        if let Some(folder) = from {
            model.take_trained(&mut safetensors::open_folder(folder)?)?;
        }
        Ok(self.clone())
    }

    /// The files of what is trained, of a model called `base`.
    ///
    /// # Errors
    /// Those of `companions`, which reads the files that belong to the model.
    pub(crate) fn product(
        &self,
        base: &str,
        companions: impl FnOnce() -> Result<Companions, Error>,
    ) -> Result<Product, Error> {
        Ok(match self {
            Tuning::Lora(lora) => Product::Adapter { lora: lora.clone(), base: base.to_owned() },
            Tuning::Full | Tuning::Head => Product::Model(companions()?),
        })
    }
}

/// What a run leaves of a model: an adapter for it, or a model in Hugging Face's layout.
#[derive(Debug)]
pub(crate) enum Product {
    /// In PEFT's format, for the model called `base`.
    Adapter { lora: LoraConfig, base: String },
    /// All weights, in f32.
    Model(Companions),
}

impl Product {
    /// Its files, those of the weights last.
    pub(crate) fn files<'a, M: Model>(&'a self, model: &'a M) -> Vec<ToWrite<'a>> {
        match self {
            Product::Adapter { lora, base } => {
                let mut files = model.beside_adapter();
                files.extend(adapter::files(model, lora, base));
                files
            }
            Product::Model(companions) => {
                let mut files = companions.files(model, StoredAs::F32);
                files.extend(model.to_files(StoredAs::F32, usize::MAX));
                files
            }
        }
    }

    /// What users call it.
    pub(crate) fn noun(&self) -> &'static str {
        match self {
            Product::Adapter { .. } => "adapter",
            Product::Model(_) => "model",
        }
    }
}

/// Refuses a folder in which a tuned model would replace the one that it comes from, or lie with an adapter as if the two
/// belonged together.
///
/// # Errors
/// [`Error::Setting`].
pub(crate) fn refuse_mixing(kind: FineTuneType, model: &Path, out: &Path) -> Result<(), Error> {
    let same = || Some(model.canonicalize().ok()? == out.canonicalize().ok()?);
    let holds = match kind {
        FineTuneType::Lora => return Ok(()),
        _ if same() == Some(true) => "the model itself, which the tuned one would replace",
        _ if out.join(adapter::CONFIG_FILE).exists() => {
            "an adapter of an earlier run, which does not belong to the tuned model"
        }
        _ => return Ok(()),
    };
    let what = format!("{} holds {holds}; give another --out", out.display());
    Err(Error::Setting { key: "out", what })
}

/// The file that holds the weights of a product; of one of this kind.
pub(crate) fn weights_file(kind: FineTuneType) -> &'static str {
    match kind {
        FineTuneType::Lora => adapter::WEIGHTS_FILE,
        FineTuneType::Full | FineTuneType::Head => MODEL_FILE,
    }
}
