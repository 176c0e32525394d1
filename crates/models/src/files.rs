//! The files of an adapter or a model, to be written by whoever knows how to write safely.

use std::borrow::Cow;
use std::io;
use std::path::Path;

use crate::weights::store::{self, ToStore};

/// A file to be written.
#[derive(Debug)]
pub struct ToWrite<'a> {
    /// Its name.
    pub name: Cow<'static, str>,
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
    /// Bytes of what is in it, less the header of a file of tensors.
    pub fn size_bytes(&self) -> usize {
        match &self.content {
            Content::Bytes(bytes) => bytes.len(),
            Content::Tensors(tensors) => tensors.iter().map(|(_, tensor)| tensor.size_bytes()).sum(),
        }
    }

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
