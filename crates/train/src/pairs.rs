//! The LoRA pairs of a run: new ones, or those of an adapter to start from.

use std::path::Path;

use loract_autograd::Memory;
use loract_models::{Decoder, FactorA, LoraConfig, adapter};

use crate::error::Error;

/// Gives `decoder` new pairs as `wanted`, or those in the folder `from`, of which only dropout and whether A is trained
/// are of the run. Returns what they are, with targets that are names. `seed` names the numbers of a new A.
///
/// # Errors
/// Those of [`Decoder::attach_lora`] and [`adapter::load`].
pub fn attach(
    memory: &Memory,
    decoder: &mut Decoder,
    wanted: &LoraConfig,
    from: Option<&Path>,
    seed: u64,
) -> Result<LoraConfig, Error> {
    let Some(folder) = from else { return Ok(decoder.attach_lora(memory, wanted, seed)?) };
    let found = adapter::load(memory, decoder, folder)?;
    decoder.set_lora_dropout(wanted.dropout);
    if wanted.a == FactorA::Frozen {
        decoder.freeze_lora_a();
    }
    Ok(LoraConfig { dropout: wanted.dropout, a: wanted.a, ..found })
}
