//! JPEG, baseline and progressive, with the numbers of libjpeg-turbo, which Pillow decodes by: to the last bit.
//!
//! Bytes go one way: `markers` and `headers` (what the file says of itself) → `scan` (coefficients of 8×8 blocks, by `bits` and `huffman`) →
//! `idct` (samples of a component) → `upsample` (as many as pixels) → `colours`.
//!
//! Why not a crate: the standard leaves the rounding of the inverse transform, of the upsampling and of the colours to the decoder,
//! and the decoders there are in Rust take other ways than libjpeg. `zune-jpeg` 0.5.15 (that of the `image` crate) and
//! `jpeg-decoder` 0.3.2 came out up to 4 and 3 of 255 away from Pillow on photographs, and `zune-jpeg` up to 3 away after resizing to 224
//! and 256 pixels: more than the 1 that preprocessing may differ by, and than training images should differ from those of Python.
//!
//! Deviations: bits that make no sense, or end early, are an error; libjpeg fills in grey and goes on. Arithmetic coding, 12 bits,
//! and lossless and hierarchical files are not read.

mod bits;
mod colours;
mod headers;
mod huffman;
mod idct;
mod markers;
mod scan;
mod upsample;

use self::markers::Parser;
use super::{Picture, PictureError};

/// Each may pass over the whole picture and takes a few bytes; encoders make a dozen.
const MOST_SCANS: usize = 1000;

pub(super) fn size(bytes: &[u8]) -> Result<[usize; 2], PictureError> {
    let frame = Parser::new(bytes).frame()?;
    Ok([frame.height, frame.width])
}

pub(super) fn decode(bytes: &[u8]) -> Result<Picture, PictureError> {
    let mut parser = Parser::new(bytes);
    let mut frame = parser.frame()?;
    let mut scans = 0;
    while let Some(scan) = parser.scan(&frame)? {
        scans += 1;
        if scans > MOST_SCANS {
            return Err(damaged(format!("more than {MOST_SCANS} scans")));
        }
        let rest = scan::decode(parser.rest(), &scan, &mut frame, &parser.tables)?;
        parser.go_on_at(rest);
    }
    if let Some(missing) = frame.components.iter().position(|component| component.quantisers.is_none()) {
        return Err(damaged(format!("component {} of {} is not there", missing + 1, frame.components.len())));
    }
    colours::picture(&frame, parser.colours(&frame)?)
}

/// A component of a picture: brightness, say.
struct Component {
    /// How the file calls it.
    id: u8,
    /// Samples across and down, beside those of the other components.
    across: usize,
    down: usize,
    /// Of which table its quantisers are.
    table: usize,
    /// They themselves, in the order of rows, as they are when its first scan begins.
    quantisers: Option<[u16; 64]>,
    /// Samples that belong to the picture.
    width: usize,
    height: usize,
    /// Blocks with those that fill up the last unit of a scan.
    blocks_across: usize,
    blocks_down: usize,
    /// Coefficients by block, each in the order of rows; none before its first scan, as a header alone is not believed.
    coefficients: Vec<[i16; 64]>,
}

/// Where the k-th coefficient of a block is in the order of rows.
const ZIGZAG: [usize; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];

fn damaged(what: impl Into<String>) -> PictureError {
    PictureError::Damaged { what: what.into() }
}

fn unsupported(what: impl Into<String>) -> PictureError {
    PictureError::Unsupported { what: what.into() }
}
