//! JPEG, by the `zune-jpeg` crate.

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::{Channels, Picture, PictureError, believed};

pub(super) fn size(bytes: &[u8]) -> Result<[usize; 2], PictureError> {
    opened(bytes).map(|(_, size)| size)
}

pub(super) fn decode(bytes: &[u8]) -> Result<Picture, PictureError> {
    let (mut decoder, [height, width]) = opened(bytes)?;
    let grey = decoder.input_colorspace() == Some(ColorSpace::Luma);
    let (space, channels) = if grey { (ColorSpace::Luma, Channels::Grey) } else { (ColorSpace::RGB, Channels::Rgb) };
    decoder.set_options(options().jpeg_set_out_colorspace(space));
    Picture::new(height, width, channels, decoder.decode().map_err(damaged)?)
}

fn options() -> DecoderOptions {
    DecoderOptions::default().set_strict_mode(true)
}

fn opened(bytes: &[u8]) -> Result<(JpegDecoder<ZCursor<&[u8]>>, [usize; 2]), PictureError> {
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options());
    decoder.decode_headers().map_err(damaged)?;
    let info = decoder.info().ok_or_else(|| PictureError::Damaged { what: "no header".into() })?;
    let size = believed(info.height.into(), info.width.into())?;
    Ok((decoder, size))
}

fn damaged(error: impl std::fmt::Debug) -> PictureError {
    PictureError::Damaged { what: format!("{error:?}") }
}
