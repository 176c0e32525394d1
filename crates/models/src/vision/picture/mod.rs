//! Pictures: 8-bit numbers by row, column and channel, from a PNG or JPEG file.
//!
//! Numbers are those that Pillow gives, as that is what Transformers' processors are given:
//!
//! 1. A picture is not turned by its EXIF orientation, and colour profiles are not applied: Pillow does neither by itself.
//! 2. Palettes and grey of 1, 2 and 4 bits become 8-bit colours and grey.
//! 3. Of 16 bits the upper 8 are taken. (Pillow does so for colours; grey it cuts off at 255, which leaves a white picture.)

mod colour;
mod error;
mod jpeg;
mod png;

pub use colour::Alpha;
pub use error::PictureError;

/// Most pixels of a picture: the number from which on Pillow refuses one. A header that claims more is not believed, and nothing
/// is allocated for it.
const MOST_PIXELS: u64 = 178_956_970;

/// Longest edge: a picture is resized one way first, and of one a pixel wide that would make a huge one. JPEG has at most 65,535.
const MOST_EDGE: u32 = 1 << 17;

/// What the numbers of a pixel are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channels {
    /// One number.
    Grey,
    /// Grey and how opaque it is.
    GreyAlpha,
    /// Red, green, blue.
    Rgb,
    /// Red, green, blue and how opaque it is.
    RgbAlpha,
}

impl Channels {
    /// How many.
    pub fn count(self) -> usize {
        match self {
            Channels::Grey => 1,
            Channels::GreyAlpha => 2,
            Channels::Rgb => 3,
            Channels::RgbAlpha => 4,
        }
    }
}

/// Formats of files that are read, told by their first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureFormat {
    /// Portable Network Graphics.
    Png,
    /// JPEG, baseline and progressive.
    Jpeg,
}

impl PictureFormat {
    /// How the names of such files end, in lower case.
    pub const ENDINGS: [&'static str; 4] = ["png", "jpg", "jpeg", "jpe"];

    /// That of a file, by its first bytes; 16 are enough.
    ///
    /// # Errors
    /// [`PictureError::Format`] saying what it looks like instead.
    pub fn of(bytes: &[u8]) -> Result<Self, PictureError> {
        if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
            Ok(PictureFormat::Png)
        } else if bytes.starts_with(b"\xff\xd8\xff") {
            Ok(PictureFormat::Jpeg)
        } else {
            Err(PictureError::Format { found: error::looks_like(bytes) })
        }
    }
}

/// A decoded picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    height: usize,
    width: usize,
    channels: Channels,
    /// height × width × channels.
    bytes: Vec<u8>,
}

impl Picture {
    /// From its numbers, height × width × channels.
    ///
    /// # Errors
    /// [`PictureError::Size`] if there are more or fewer, or none.
    pub fn new(height: usize, width: usize, channels: Channels, bytes: Vec<u8>) -> Result<Self, PictureError> {
        let size = height.checked_mul(width).and_then(|pixels| pixels.checked_mul(channels.count()));
        if size != Some(bytes.len()) || bytes.is_empty() {
            return Err(PictureError::Size { height, width, channels: channels.count(), bytes: bytes.len() });
        }
        Ok(Self { height, width, channels, bytes })
    }

    /// Decodes a file.
    ///
    /// # Errors
    /// [`PictureError::Format`] if it is of none of [`PictureFormat`]; [`PictureError::TooLarge`] before anything is allocated;
    /// [`PictureError::Damaged`], [`PictureError::Unsupported`].
    pub fn decode(bytes: &[u8]) -> Result<Self, PictureError> {
        match PictureFormat::of(bytes)? {
            PictureFormat::Png => png::decode(bytes),
            PictureFormat::Jpeg => jpeg::decode(bytes),
        }
    }

    /// Height and width as the header says them, without decoding the rest.
    ///
    /// # Errors
    /// As [`Picture::decode`], as far as the header tells.
    pub fn size_in(bytes: &[u8]) -> Result<[usize; 2], PictureError> {
        match PictureFormat::of(bytes)? {
            PictureFormat::Png => png::size(bytes),
            PictureFormat::Jpeg => jpeg::size(bytes),
        }
    }

    /// Pixels from top to bottom.
    pub fn height(&self) -> usize {
        self.height
    }
    /// Pixels from left to right.
    pub fn width(&self) -> usize {
        self.width
    }
    /// What a pixel's numbers are.
    pub fn channels(&self) -> Channels {
        self.channels
    }
    /// Its numbers: height × width × channels.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A picture of the same channels; `bytes` must be as many as its size says.
    pub(super) fn like(&self, height: usize, width: usize, bytes: Vec<u8>) -> Self {
        Self { height, width, channels: self.channels, bytes }
    }

    /// The part of `height` rows from `top` and `width` columns from `left`, which must lie within it.
    pub(super) fn part(&self, [top, left]: [usize; 2], [height, width]: [usize; 2]) -> Self {
        let channels = self.channels.count();
        let row = |row: usize| {
            let at = (row * self.width + left) * channels;
            &self.bytes[at..at + width * channels]
        };
        self.like(height, width, (top..top + height).flat_map(row).copied().collect())
    }
}

/// `height` and `width` as a header has them, if a picture of that size is believed.
fn believed(height: u32, width: u32) -> Result<[usize; 2], PictureError> {
    let damaged = |what: &str| PictureError::Damaged { what: what.to_owned() };
    if height == 0 || width == 0 {
        return Err(damaged(&format!("a picture of {width}x{height} pixels")));
    }
    if u64::from(height) * u64::from(width) > MOST_PIXELS {
        return Err(PictureError::TooLarge { height, width, most: MOST_PIXELS });
    }
    if height.max(width) > MOST_EDGE {
        return Err(PictureError::TooLong { height, width, most: MOST_EDGE });
    }
    let whole = |size: u32| usize::try_from(size).map_err(|_| damaged("a size beyond this machine's"));
    Ok([whole(height)?, whole(width)?])
}

#[cfg(test)]
mod tests;
