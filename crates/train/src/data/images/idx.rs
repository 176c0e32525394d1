//! IDX, the format of MNIST: a magic number, the sizes (big endian, 32 bits each), bytes; as it is or compressed by gzip.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use loract_models::vision::{Channels, Picture, PictureError};

use super::{Labels, Read as Found, Source};
use crate::error::Error;

/// Grey pictures of one size.
#[derive(Debug)]
pub(super) struct Idx {
    pub(super) path: PathBuf,
    pub(super) count: usize,
    height: usize,
    width: usize,
    pub(super) bytes: Vec<u8>,
}

const IMAGES: &str = "-images-idx3-ubyte";
const LABELS: &str = "-labels-idx1-ubyte";
/// Some sites write it so.
const IMAGES_DOTTED: &str = "-images.idx3-ubyte";
const LABELS_DOTTED: &str = "-labels.idx1-ubyte";

/// Unsigned bytes (8) in three dimensions, and in one.
const MAGIC_IMAGES: u32 = 0x0803;
const MAGIC_LABELS: u32 = 0x0801;
/// Longest edge that is believed.
const LONGEST_EDGE: usize = 1 << 14;

/// The name without `.gz`.
fn plain(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    name.strip_suffix(".gz").map(str::to_owned).unwrap_or(name)
}

/// Whether a file is one of pictures, by its name.
pub(super) fn is_images(path: &Path) -> bool {
    [IMAGES, IMAGES_DOTTED].iter().any(|ending| plain(path).ends_with(ending))
}

/// The file of labels beside one of pictures, compressed or not.
fn labels_beside(images: &Path) -> Option<PathBuf> {
    let name = plain(images).replace(IMAGES, LABELS).replace(IMAGES_DOTTED, LABELS_DOTTED);
    [name.clone(), format!("{name}.gz")].map(|name| images.with_file_name(name)).into_iter().find(|path| path.is_file())
}

pub(super) fn open(path: &Path) -> Result<Found, Error> {
    let mut images = Stream::open(path)?;
    let [count, height, width] = images.header(MAGIC_IMAGES, "of pictures")?;
    if [height, width].iter().any(|edge| !(1..=LONGEST_EDGE).contains(edge)) {
        return Err(
            images.wrong(format!("it says that pictures are {width}x{height} pixels, expected 1 to {LONGEST_EDGE}"))
        );
    }
    let bytes = images.rest(count, height * width, "pictures")?;
    let labels = match labels_beside(path) {
        None => Labels::None,
        Some(beside) => {
            let mut stream = Stream::open(&beside)?;
            let [labelled] = stream.header(MAGIC_LABELS, "of labels")?;
            if labelled != count {
                let pictures = path.display();
                return Err(stream
                    .wrong(format!("it holds {labelled} labels, and {pictures} {count} pictures; fetch both again")));
            }
            let labels = stream.rest(count, 1, "labels")?;
            Labels::Numbered(labels.into_iter().map(|label| Some(label.into())).collect())
        }
    };
    Ok(Found { source: Source::Idx(Idx { path: path.to_path_buf(), count, height, width, bytes }), labels })
}

impl Idx {
    pub(super) fn picture(&self, place: usize) -> Result<Picture, PictureError> {
        let size = self.height * self.width;
        let bytes = self.bytes[place * size..(place + 1) * size].to_vec();
        Picture::new(self.height, self.width, Channels::Grey, bytes)
    }
}

/// The bytes of a file, uncompressed.
struct Stream {
    path: PathBuf,
    bytes: Box<dyn Read>,
}

impl Stream {
    fn open(path: &Path) -> Result<Self, Error> {
        let failed = |reason| Error::Read { path: path.to_path_buf(), reason };
        let mut file = BufReader::new(File::open(path).map_err(failed)?);
        let begins = std::io::BufRead::fill_buf(&mut file).map_err(failed)?;
        // By what it is, not by its name: browsers take `.gz` away and leave the name, or the other way round.
        let bytes: Box<dyn Read> =
            if begins.starts_with(&[0x1f, 0x8b]) { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
        Ok(Self { path: path.to_path_buf(), bytes })
    }

    fn wrong(&self, what: String) -> Error {
        Error::Data { path: self.path.clone(), what }
    }

    fn number(&mut self) -> Result<u32, Error> {
        let mut bytes = [0; 4];
        let read = self.bytes.read_exact(&mut bytes);
        read.map_err(|reason| {
            self.wrong(format!("it ends within its header, or is damaged ({reason}); fetch it again"))
        })?;
        Ok(u32::from_be_bytes(bytes))
    }

    fn header<const N: usize>(&mut self, magic: u32, what: &str) -> Result<[usize; N], Error> {
        let found = self.number()?;
        if found != magic {
            return Err(self.wrong(format!("it begins with {found:#010x}, and an IDX file {what} with {magic:#010x}")));
        }
        let mut sizes = [0; N];
        for size in &mut sizes {
            let number = self.number()?;
            *size =
                usize::try_from(number).map_err(|_| self.wrong(format!("{number} is beyond this machine's sizes")))?;
        }
        Ok(sizes)
    }

    /// `count` times `size` bytes, and no more. Room is made for what comes, not for what is claimed.
    fn rest(&mut self, count: usize, size: usize, of: &str) -> Result<Vec<u8>, Error> {
        let said = (count as u64).checked_mul(size as u64).filter(|&said| said < u64::MAX);
        let Some(said) = said else { return Err(self.wrong(format!("{count} {of} are not believed"))) };
        let mut bytes = Vec::new();
        let read = (&mut self.bytes).take(said + 1).read_to_end(&mut bytes);
        read.map_err(|reason| self.wrong(format!("its {of} cannot be read ({reason}); fetch it again")))?;
        let found = bytes.len() as u64;
        if found != said {
            let found = if found > said { "more".to_owned() } else { found.to_string() };
            return Err(self.wrong(format!("it says {count} {of} ({said} bytes) and holds {found}; fetch it again")));
        }
        Ok(bytes)
    }
}
