//! PNG, by the `png` crate.

use std::io::Cursor;

use png::{ColorType, Decoder, DecodingError, Limits, Reader, Transformations};

use super::{Channels, Picture, PictureError, believed};

/// Bytes that chunks beside the pixels may take.
const MOST_OTHER_BYTES: usize = 64 << 20;

/// One byte of a compressed stream stands for no more than this: a header that lies gets no room.
const MOST_DEFLATED: usize = 1032;

pub(super) fn size(bytes: &[u8]) -> Result<[usize; 2], PictureError> {
    let mut decoder = decoder(bytes);
    let header = decoder.read_header_info().map_err(damaged)?;
    believed(header.height, header.width)
}

pub(super) fn decode(bytes: &[u8]) -> Result<Picture, PictureError> {
    let [height, width] = size(bytes)?;
    let mut reader = decoder(bytes).read_info().map_err(damaged)?;
    let row = (width * reader.info().bits_per_pixel()).div_ceil(8);
    if row * height / MOST_DEFLATED > bytes.len() {
        return Err(PictureError::Damaged { what: "its pixels end early".into() });
    }
    let mut pixels = vec![0; buffer_size(&reader)?];
    let frame = reader.next_frame(&mut pixels).map_err(damaged)?;
    let channels = match frame.color_type {
        ColorType::Grayscale => Channels::Grey,
        ColorType::GrayscaleAlpha => Channels::GreyAlpha,
        ColorType::Rgb => Channels::Rgb,
        ColorType::Rgba => Channels::RgbAlpha,
        // Expanded.
        ColorType::Indexed => return Err(PictureError::Unsupported { what: "a palette without colours".into() }),
    };
    pixels.truncate(frame.buffer_size());
    Picture::new(height, width, channels, pixels)
}

fn decoder(bytes: &[u8]) -> Decoder<Cursor<&[u8]>> {
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), Limits { bytes: MOST_OTHER_BYTES });
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    decoder
}

fn buffer_size(reader: &Reader<Cursor<&[u8]>>) -> Result<usize, PictureError> {
    let size = reader.output_buffer_size();
    size.ok_or_else(|| PictureError::Damaged { what: "a size beyond this machine's".into() })
}

fn damaged(error: DecodingError) -> PictureError {
    PictureError::Damaged { what: error.to_string() }
}
