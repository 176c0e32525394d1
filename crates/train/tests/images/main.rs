//! Sets of pictures: every kind that is read, what is told of damage, and the thread that makes micro-batches ready.

mod folders;
mod idx;
mod loader;
#[cfg(feature = "parquet")]
mod parquet;
mod tensors;

use std::error::Error as StdError;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use loract_autograd::Rng;
use loract_models::vision::{Augment, Crop, Flip, ImageProcessor, View};
use loract_testkit::golden::folder;
use loract_train::Error;
use loract_train::data::Split;
use loract_train::data::images::{Broken, ImageOptions, ImageSet, Loader, picture_files, pictures_of};

type Outcome<T = ()> = Result<T, Box<dyn StdError>>;

/// A folder that is removed afterwards.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Outcome<Self> {
        let path = std::env::temp_dir().join(format!("loract-pictures-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    /// Writes a file in a folder that is made for it.
    fn write(&self, name: &str, bytes: &[u8]) -> Outcome<PathBuf> {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().ok_or("a folder")?)?;
        fs::write(&path, bytes)?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A PNG of one grey.
fn png(height: u32, width: u32, grey: u8) -> Outcome<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&vec![grey; (height * width) as usize])?;
    writer.finish()?;
    Ok(bytes)
}

fn jpeg() -> Outcome<Vec<u8>> {
    Ok(fs::read(folder("images").join("jpeg-420.jpg"))?)
}

/// Grey numbers as they are, of height and width `size`.
fn plain(size: usize) -> Outcome<ImageProcessor> {
    let json = format!(
        r#"{{"image_processor_type":"ViTImageProcessor","size":{size},"do_rescale":false,"do_normalize":false}}"#
    );
    Ok(ImageProcessor::from_json(Path::new("plain"), &json)?.with_channels(1)?)
}

fn open(path: &Path) -> Result<ImageSet, Error> {
    ImageSet::open(path, &ImageOptions::default())
}

fn skipping(path: &Path) -> Result<ImageSet, Error> {
    ImageSet::open(path, &ImageOptions { broken: Broken::Skipped, classes: None })
}

/// What is told, which must be of bad input.
fn told<T>(outcome: Result<T, Error>) -> String {
    let error = outcome.err().expect("an error");
    assert!(error.is_bad_input(), "{error}");
    error.to_string()
}

fn says(told: &str, words: &[&str]) {
    for word in words {
        assert!(told.contains(word), "{told:?} lacks {word:?}");
    }
}

/// Two classes; their pictures' greys are 10·class + number.
fn classes(scratch: &Scratch) -> Outcome {
    for (class, name) in [(1, "owl"), (0, "cat")] {
        for number in 0..3 {
            scratch.write(&format!("{name}/{number}.png"), &png(4, 5, 10 * class + number)?)?;
        }
    }
    Ok(())
}
