//! Where the pictures of a set come from.

use loract_models::vision::{Picture, PictureError};

use super::files::Files;
use super::idx::Idx;
#[cfg(feature = "parquet")]
use super::parquet::Rows;
use super::tensors::Tensors;
use crate::error::Error;

/// Where pictures come from, all those that are there.
#[derive(Debug)]
pub(super) enum Source {
    Files(Files),
    Idx(Idx),
    Tensors(Tensors),
    #[cfg(feature = "parquet")]
    Parquet(Rows),
}

impl Source {
    pub(super) fn len(&self) -> usize {
        match self {
            Source::Files(files) => files.len(),
            Source::Idx(idx) => idx.count,
            Source::Tensors(tensors) => tensors.count,
            #[cfg(feature = "parquet")]
            Source::Parquet(rows) => rows.len(),
        }
    }

    pub(super) fn name(&self, place: usize) -> String {
        match self {
            Source::Files(files) => files.path(place).display().to_string(),
            Source::Idx(idx) => format!("{} picture {}", idx.path.display(), place + 1),
            Source::Tensors(tensors) => format!("{} picture {}", tensors.path.display(), place + 1),
            #[cfg(feature = "parquet")]
            Source::Parquet(rows) => rows.name(place),
        }
    }

    /// The picture, or what is wrong with it; an error if it cannot be read at all. Tensors are no pictures.
    pub(super) fn picture(&self, place: usize) -> Result<Result<Picture, PictureError>, Error> {
        match self {
            Source::Files(files) => Ok(Picture::decode(&files.bytes(place)?)),
            Source::Idx(idx) => Ok(idx.picture(place)),
            Source::Tensors(tensors) => Err(Error::Data {
                path: tensors.path.clone(),
                what: "pixel_values are numbers, not pictures".to_owned(),
            }),
            #[cfg(feature = "parquet")]
            Source::Parquet(rows) => Ok(Picture::decode(rows.bytes(place)?)),
        }
    }

    pub(super) fn how_to_label(&self) -> &'static str {
        match self {
            Source::Files(_) => "put the pictures of each class into a folder of its name",
            Source::Idx(_) => "put the file …-labels-idx1-ubyte beside the pictures",
            Source::Tensors(_) => "add a tensor `labels` (N, i64)",
            #[cfg(feature = "parquet")]
            Source::Parquet(_) => "add a column `label` of whole numbers",
        }
    }
}
