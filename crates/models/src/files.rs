//! The files of an adapter or a model, to be written by whoever knows how to write safely.

use std::io;
use std::path::Path;

use crate::weights::store::{self, ToStore};

/// A file to be written.
#[derive(Debug)]
pub struct ToWrite<'a> {
    /// Its name.
    pub name: &'static str,
    /// What is in it.
    pub content: Content<'a>,
}

/// What is in a file.
#[derive(Debug)]
pub enum Content<'a> {
    /// Bytes.
    Bytes(Vec<u8>),
    /// Tensors by name, as safetensors.
    Tensors(Vec<(String, ToStore<'a>)>),
}

impl ToWrite<'_> {
    /// Writes it at `path`.
    ///
    /// # Errors
    /// What writing says.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        match &self.content {
            Content::Bytes(bytes) => std::fs::write(path, bytes),
            Content::Tensors(tensors) => store::write(path, tensors),
        }
    }
}
