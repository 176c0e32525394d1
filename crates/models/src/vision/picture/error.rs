//! What can be wrong with a picture.

/// A picture that cannot be used. Which one it is, whoever has it says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PictureError {
    /// A file of another format.
    #[error("{found}; read: PNG and JPEG")]
    Format {
        /// What it looks like.
        found: &'static str,
    },
    /// A header that claims a longer edge than is taken.
    #[error("its header says {width}x{height} pixels; the longest edge that is taken is {most}")]
    TooLong {
        /// Claimed height.
        height: u32,
        /// Claimed width.
        width: u32,
        /// Longest edge.
        most: u32,
    },
    /// A header that claims more pixels than are believed.
    #[error("its header says {width}x{height} pixels, and more than {most} are not believed")]
    TooLarge {
        /// Claimed height.
        height: u32,
        /// Claimed width.
        width: u32,
        /// Most pixels.
        most: u64,
    },
    /// A file that ends early or makes no sense.
    #[error("damaged: {what}")]
    Damaged {
        /// What was found.
        what: String,
    },
    /// A kind of its format that is not read.
    #[error("{what} is not read; save it again as PNG or as an ordinary JPEG")]
    Unsupported {
        /// The kind.
        what: String,
    },
    /// Numbers that are not those of a picture of its size.
    #[error("{bytes} numbers for {width}x{height} pixels of {channels}")]
    Size {
        /// Its height.
        height: usize,
        /// Its width.
        width: usize,
        /// Numbers of a pixel.
        channels: usize,
        /// Numbers given.
        bytes: usize,
    },
}

/// What the first bytes of a file say that it is, where it is not what is read.
pub(super) fn looks_like(bytes: &[u8]) -> &'static str {
    match bytes {
        [] => "an empty file",
        [b'G', b'I', b'F', b'8', ..] => "a GIF",
        [b'B', b'M', ..] => "a BMP",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "a WebP picture",
        [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => "a TIFF",
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => "a picture or film of the family of HEIC, AVIF and MP4",
        [b'<', ..] => "a text (SVG or HTML)",
        _ => "not a picture of a format that is known",
    }
}
