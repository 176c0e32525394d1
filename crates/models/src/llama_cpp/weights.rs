//! The tensors of a GGUF file as those of a checkpoint: under Hugging Face's names, one for each matrix of it.

use super::architecture::Architecture;
use super::names::{Heads, Place};
use super::rope::FACTORS;
use crate::config::MOST_EXPERTS;
use crate::error::Error;
use crate::weights::gguf::{Gguf, GgufError, Metadata};
use crate::weights::{RowOrder, Stored, Weights};

impl Gguf {
    /// Every tensor under its Hugging Face name (a name that is not known stays; of an unknown architecture, all). Rows of q
    /// and k have the order that llama.cpp's converter gives them, weights of norms the one that it adds in some families;
    /// experts, and q, k and v, that are one tensor in the file are each a part of it. Divisors of rotary frequencies are left
    /// out: the configuration reads them.
    ///
    /// # Errors
    /// If a tensor is of a type that is not read, reaches past the end of the file, is there twice or does not fit the
    /// metadata.
    pub fn weights(&self) -> Result<Weights, Error> {
        let architecture = match Architecture::of(self.metadata()) {
            Ok(Ok(known)) => Some(known),
            Ok(Err(_)) | Err(GgufError::MissingKey { .. }) => None,
            Err(reason) => return Err(self.damaged(reason)),
        };
        let mut weights = Weights::new(self.path());
        for tensor in self.tensors() {
            let (name, stored) = tensor?;
            if FACTORS.contains(&name) {
                continue;
            }
            let parts = match architecture {
                Some(architecture) => {
                    let file = File { architecture, metadata: self.metadata() };
                    file.parts(name, stored).map_err(|reason| self.damaged(reason))?
                }
                None => vec![(name.to_owned(), stored)],
            };
            parts.into_iter().try_for_each(|(name, stored)| weights.insert(name, stored))?;
        }
        Ok(weights)
    }
}

/// A file whose tensors are read.
struct File<'a> {
    architecture: &'static Architecture,
    metadata: &'a Metadata,
}

impl File<'_> {
    /// The tensors of the checkpoint in the one that llama.cpp calls `name`.
    fn parts(&self, name: &str, stored: Stored) -> Result<Vec<(String, Stored)>, GgufError> {
        match self.architecture.hugging_face(name) {
            None => Ok(vec![(name.to_owned(), stored)]),
            Some(Place::One(part)) => {
                let order = self.order(self.architecture.reordered(name), name, &stored)?;
                Ok(vec![(part.clone(), Stored { order, plus: self.architecture.plus(&part), ..stored })])
            }
            Some(Place::QueryKeyValue(parts)) => self.query_key_value(name, &stored, parts),
            Some(Place::Experts(before, after)) => {
                let (found, experts) = (stored.shape[0], self.needed("expert_count")?);
                let wrong = || wrong(name, "experts", found, experts);
                if found != experts || experts > MOST_EXPERTS {
                    return Err(wrong());
                }
                let part = |expert| Some((format!("{before}{expert}{after}"), stored.at(expert)?));
                (0..experts).map(part).collect::<Option<_>>().ok_or_else(wrong)
            }
        }
    }

    /// Queries, keys and values that are one tensor in the file.
    fn query_key_value(
        &self,
        name: &str,
        stored: &Stored,
        parts: [String; 3],
    ) -> Result<Vec<(String, Stored)>, GgufError> {
        let (heads, kv_heads) = (self.heads(Heads::Queries)?, self.heads(Heads::Keys)?);
        let head_dim = self.head_dim(heads)?;
        let orders = [self.architecture.rows_of(Heads::Queries), self.architecture.rows_of(Heads::Keys), None];
        let rows = [heads, kv_heads, kv_heads].map(|heads| heads.saturating_mul(head_dim));
        let expected = rows.iter().fold(0usize, |sum, &rows| sum.saturating_add(rows));
        let found = stored.shape[0];
        let mut start = 0;
        let mut all = Vec::new();
        for ((part, rows), of) in parts.into_iter().zip(rows).zip(orders) {
            let taken = stored.rows(start, rows).filter(|_| found == expected);
            let taken = taken.ok_or_else(|| wrong(name, "queries, keys and values", found, expected))?;
            let order = self.order(of, name, &taken)?;
            all.push((part, Stored { order, ..taken }));
            start += rows;
        }
        Ok(all)
    }

    /// The order of the rows of a tensor whose rows are reordered by these heads.
    fn order(&self, of: Option<Heads>, name: &str, stored: &Stored) -> Result<RowOrder, GgufError> {
        let Some(of) = of else { return Ok(RowOrder::AsIs) };
        let (heads, rows) = (self.heads(of)?, stored.shape[0]);
        if heads == 0 || !rows.is_multiple_of(heads) || !(rows / heads).is_multiple_of(2) || rows == 0 {
            return Err(GgufError::HeadRows { tensor: name.to_owned(), rows, heads });
        }
        Ok(RowOrder::RotaryPairs { heads })
    }

    fn heads(&self, of: Heads) -> Result<usize, GgufError> {
        let size = |end: &str| self.metadata.size(&self.architecture.key(end));
        let keys = match of {
            Heads::Keys => size("attention.head_count_kv")?,
            Heads::Queries => None,
        };
        match keys {
            Some(heads) => Ok(heads),
            None => self.needed("attention.head_count"),
        }
    }

    fn head_dim(&self, heads: usize) -> Result<usize, GgufError> {
        match self.metadata.size(&self.architecture.key("attention.key_length"))? {
            Some(dim) => Ok(dim),
            None => Ok(self.needed("embedding_length")? / heads.max(1)),
        }
    }

    fn needed(&self, end: &str) -> Result<usize, GgufError> {
        let key = self.architecture.key(end);
        self.metadata.size(&key)?.ok_or(GgufError::MissingKey { key })
    }
}

fn wrong(tensor: &str, parts: &'static str, rows: usize, expected: usize) -> GgufError {
    GgufError::Parts { tensor: tensor.to_owned(), parts, rows, expected }
}
