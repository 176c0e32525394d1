//! A program without the feature `hub` reads ids only to say what they need.

use std::path::PathBuf;

use super::id::HubId;
use crate::progress::Telling;

/// A model that could not be had by its id.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This program cannot fetch.
    #[error(
        "there is no file or folder {id}; if it is the id of a model on the Hugging Face hub: this loract was built without \
         fetching; build it with `cargo install --path crates/cli --features hub`, or fetch the repository's files into a \
         folder and give that"
    )]
    NotBuiltIn {
        /// What was typed.
        id: HubId,
    },
}

impl Error {
    /// Whether what was typed is at fault.
    pub fn is_bad_input(&self) -> bool {
        match self {
            Error::NotBuiltIn { .. } => true,
        }
    }
}

/// Refuses.
///
/// # Errors
/// Always.
pub fn find(id: &HubId, _: Telling) -> Result<PathBuf, Error> {
    Err(Error::NotBuiltIn { id: id.clone() })
}
