//! Models by their id on the Hugging Face hub.
//!
//! [`local`] turns a value of `--model` into a path: a path stays as it is, an id becomes a folder (or GGUF file) of Hugging
//! Face's own cache, which Python's `huggingface_hub` shares; what is missing there is fetched (cargo feature `hub`). Contract:
//!
//! - A name in the cache means a whole, checked file: it is written beside, its size and checksum compared, then renamed.
//! - What is there is not fetched again; for a commit that is there no request is made at all.
//! - The token goes to the server of `HF_ENDPOINT` and to no other.
//! - Requests that may succeed later are made again, a few times; a cut file goes on where it ended.
//!
//! Libraries below know paths only.

mod id;

#[cfg(not(feature = "hub"))]
mod absent;
#[cfg(feature = "hub")]
mod cache;
#[cfg(feature = "hub")]
mod choice;
#[cfg(feature = "hub")]
mod client;
#[cfg(feature = "hub")]
mod download;
#[cfg(feature = "hub")]
mod error;
#[cfg(feature = "hub")]
mod fetch;
#[cfg(feature = "hub")]
mod patience;
#[cfg(feature = "hub")]
mod settings;
#[cfg(feature = "hub")]
mod sum;
#[cfg(feature = "hub")]
mod telling;
#[cfg(feature = "hub")]
mod url;

use std::path::{Path, PathBuf};

#[cfg(not(feature = "hub"))]
use absent::find;
#[cfg(feature = "hub")]
use fetch::find;
use id::HubId;

#[cfg(not(feature = "hub"))]
pub use absent::Error;
#[cfg(feature = "hub")]
pub use error::Error;

use crate::progress::Telling;

/// Where the model lies that `model`, a path or an id, means; fetched if need be, which is told to people.
///
/// # Errors
/// If it is an id whose model cannot be had. What is neither there nor an id is returned as it is: whoever opens it says so.
pub fn local(model: &Path) -> Result<PathBuf, Error> {
    local_telling(model, Telling::default())
}

/// As [`local`], told as `telling` says.
///
/// # Errors
/// As [`local`].
pub fn local_telling(model: &Path, telling: Telling) -> Result<PathBuf, Error> {
    if model.exists() {
        return Ok(model.to_path_buf());
    }
    match model.to_str().and_then(HubId::read) {
        None => Ok(model.to_path_buf()),
        Some(id) => find(&id, telling),
    }
}
