//! Labelled pictures, found in what is at a path.
//!
//! | at the path | pictures | labels |
//! |---|---|---|
//! | a folder with a folder for each class | its PNG and JPEG files | the folders, sorted by name |
//! | a folder of pictures | its PNG and JPEG files | none |
//! | `…-images-idx3-ubyte[.gz]`, or a folder with one | grey, as MNIST's | of `…-labels-idx1-ubyte[.gz]` beside it |
//! | `FILE.safetensors` | `pixel_values` (N×C×H×W, f32), normalised already and taken as they are | `labels` (N, i64) |
//! | `FILE.parquet` (feature `parquet`) | column `image` of the datasets library | column `label` |
//!
//! A picture goes one way: bytes of a file or a record → [`Picture`] → [`ImageProcessor`] → numbers; it is decoded when it is
//! asked for, and [`Loader`] asks on a thread of its own. In memory are names, sizes and labels; of IDX and Parquet the bytes too.
//!
//! What is broken is an error that names it, unless [`Broken::Skipped`] is asked for. Then every picture is decoded once when the
//! set is opened, which costs one pass over it, and what is broken is left out before the first step: so that each run, and each
//! epoch, has the same rows in the same order, and a run that goes on the rows that it had.

mod files;
mod find;
mod fingerprint;
mod idx;
mod loader;
mod numbering;
#[cfg(feature = "parquet")]
mod parquet;
mod skip;
mod source;
mod tensors;

pub use find::{picture_files, pictures_of};
pub use loader::Loader;
pub(crate) use numbering::{Naming, Whose};

use std::path::{Path, PathBuf};

#[cfg(doc)]
use loract_models::vision::Picture;
use loract_models::vision::{ImageProcessor, View};

use self::find::Kind;
use self::numbering::{Labels, Numbered, numbered};
use self::source::Source;
use crate::error::Error;

/// What becomes of pictures that cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Broken {
    /// They are an error when they are asked for; files that are of no format that is read, when the set is opened.
    #[default]
    Refused,
    /// They are left out and counted when the set is opened, and files that cannot be read too.
    Skipped,
}

/// How a set is opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageOptions {
    /// What becomes of broken pictures.
    pub broken: Broken,
    /// Names of the classes in the order of their numbers, as the head of a model has them. The set's are found there by name, or
    /// else by number; one that is none of them is an error. Without them the set's own are numbered.
    pub classes: Option<Vec<String>>,
}

/// A picture that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Its file, or its record.
    pub name: String,
    /// What is wrong with it.
    pub reason: String,
}

/// What is read of a source: its pictures, and what they are called.
struct Read {
    source: Source,
    labels: Labels,
}

/// Pictures with their labels.
#[derive(Debug)]
pub struct ImageSet {
    path: PathBuf,
    source: Source,
    classes: Vec<String>,
    naming: Naming,
    /// Of the pictures that are left: place in the source, label.
    places: Vec<usize>,
    labels: Vec<Option<u32>>,
    left_out: Vec<LeftOut>,
}

impl ImageSet {
    /// Opens what is at `path`: a file or a folder of the kinds above. A folder with `train`, `valid` and `test` in it is none of
    /// them; [`pictures_of`] gives its parts.
    ///
    /// # Errors
    /// [`Error::Data`] if there are no pictures, a class has none, files do not belong together, or classes are not those asked
    /// for; [`Error::Read`]; [`Error::Picture`] if a file is of no format that is read.
    pub fn open(path: &Path, options: &ImageOptions) -> Result<Self, Error> {
        let Read { source, labels } = match Kind::of(path)? {
            Kind::Classes(folders) => files::classes(path, folders)?,
            Kind::Pictures => files::flat(path)?,
            Kind::Idx(images) => idx::open(&images)?,
            Kind::Safetensors => tensors::open(path)?,
            #[cfg(feature = "parquet")]
            Kind::Parquet => parquet::open(path)?,
        };
        let count = source.len();
        let Numbered { classes, labels, naming } = numbered(path, labels, count, options.classes.as_deref())?;
        let mut set = Self {
            path: path.to_path_buf(),
            source,
            classes,
            naming,
            places: (0..count).collect(),
            labels,
            left_out: Vec::new(),
        };
        match options.broken {
            Broken::Refused => set.look_at_formats()?,
            Broken::Skipped => set.skip_broken()?,
        }
        if set.is_empty() {
            return Err(set.wrong(format!("it holds no picture that can be used{}", set.of_left_out())));
        }
        Ok(set)
    }

    /// Where it comes from.
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// How many pictures.
    pub fn len(&self) -> usize {
        self.places.len()
    }
    /// Whether there are none; not once it is open.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
    /// Names of the classes, by label.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }
    pub(crate) fn naming(&self) -> Naming {
        self.naming
    }
    /// The label of each picture that has one.
    pub fn labels(&self) -> &[Option<u32>] {
        &self.labels
    }
    /// The label of picture `index`, if it has one.
    pub fn label(&self, index: usize) -> Option<u32> {
        self.labels.get(index).copied().flatten()
    }
    /// Pictures that were left out as broken.
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }
    /// Files beside the pictures that were not read, as their names end otherwise.
    pub fn other_files(&self) -> usize {
        match &self.source {
            Source::Files(files) => files.others,
            _ => 0,
        }
    }

    /// Every label.
    ///
    /// # Errors
    /// [`Error::Data`] if a picture has none: there is nothing to train towards.
    pub fn all_labels(&self) -> Result<Vec<u32>, Error> {
        let label = |(index, label): (usize, &Option<u32>)| {
            label
                .ok_or_else(|| self.wrong(format!("{} has no label; {}", self.name(index), self.source.how_to_label())))
        };
        self.labels.iter().enumerate().map(label).collect()
    }

    /// What messages call picture `index`: its file, or the file and the record, counted from 1.
    pub fn name(&self, index: usize) -> String {
        self.places
            .get(index)
            .map_or_else(|| format!("{} picture {}", self.path.display(), index + 1), |&place| self.source.name(place))
    }

    /// Whether the numbers that it gives are those that the model takes: known beforehand of `pixel_values` alone, as other
    /// pictures are made to fit.
    ///
    /// # Errors
    /// [`Error::Data`] with both sides.
    pub fn fits(&self, processor: &ImageProcessor) -> Result<(), Error> {
        let [height, width] = processor.size();
        let wants = [processor.channels(), height, width];
        match &self.source {
            Source::Tensors(tensors) if tensors.shape != wants => {
                let (has, wants) = (by(tensors.shape), by(wants));
                Err(self.wrong(format!(
                    "pixel_values hold pictures of {has} (channels, height, width), and the model takes {wants}; make them of \
                     that size, or say another --image-size"
                )))
            }
            _ => Ok(()),
        }
    }

    /// The numbers of picture `index`: channels × height × width.
    ///
    /// # Errors
    /// [`Error::Picture`] naming a picture that is broken; [`Error::Read`]; [`Error::Data`] if there is none of that number, or a
    /// random view is asked of `pixel_values`.
    pub fn pixels(&self, index: usize, processor: &ImageProcessor, view: View) -> Result<Vec<f32>, Error> {
        let Some(&place) = self.places.get(index) else {
            return Err(self.wrong(format!("picture {} of {} was asked for", index + 1, self.len())));
        };
        if let Source::Tensors(tensors) = &self.source {
            self.fits(processor)?;
            if view != View::Whole {
                return Err(self
                    .wrong("pixel_values are taken as they are; leave out crops and flips, or give pictures".into()));
            }
            return tensors.pixels(place);
        }
        let broken = |reason| Error::Picture { name: self.source.name(place), reason };
        Ok(processor.pixels(&self.source.picture(place)?.map_err(broken)?, view))
    }

    /// The numbers of the first pictures as they are, `most` of them at most, one after the other.
    ///
    /// # Errors
    /// As [`ImageSet::pixels`].
    pub fn first_pixels(&self, most: usize, processor: &ImageProcessor) -> Result<Vec<f32>, Error> {
        let mut pixels = Vec::new();
        for index in 0..most.min(self.len()) {
            pixels.extend(self.pixels(index, processor, View::Whole)?);
        }
        Ok(pixels)
    }

    fn wrong(&self, what: String) -> Error {
        Error::Data { path: self.path.clone(), what }
    }
}

/// Names that a message lists.
const LISTED: usize = 8;

/// The first of some names.
fn some(names: &[String]) -> String {
    let listed = names[..names.len().min(LISTED)].join(", ");
    if names.len() > LISTED { format!("{listed} and {} more", names.len() - LISTED) } else { listed }
}

fn by([channels, height, width]: [usize; 3]) -> String {
    format!("{channels}x{height}x{width}")
}
