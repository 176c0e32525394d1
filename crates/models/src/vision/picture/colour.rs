//! Colours as Pillow converts them, to the last bit.

use std::borrow::Cow;

use super::{Channels, Picture};

/// What becomes of how opaque a pixel is, which no encoder takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alpha {
    /// It is left out, as Pillow's `convert("RGB")` does; so do processors without `do_convert_rgb`.
    Dropped,
    /// The picture is laid on white, as Transformers' `do_convert_rgb` does.
    OnWhite,
}

impl Picture {
    /// As red, green and blue.
    pub fn to_rgb(&self, alpha: Alpha) -> Cow<'_, Picture> {
        let opaque = |pixel: &[u8], opacity: u8| on(alpha, opacity, [pixel[0], pixel[1], pixel[2]]);
        match self.channels {
            Channels::Rgb => Cow::Borrowed(self),
            Channels::Grey => self.each(Channels::Rgb, |pixel| [pixel[0]; 3]),
            Channels::GreyAlpha => self.each(Channels::Rgb, |pixel| opaque(&[pixel[0]; 3], pixel[1])),
            Channels::RgbAlpha => self.each(Channels::Rgb, |pixel| opaque(pixel, pixel[3])),
        }
    }

    /// As grey: of colours, ITU-R 601-2's luma.
    pub fn to_grey(&self, alpha: Alpha) -> Cow<'_, Picture> {
        match (self.channels, alpha) {
            (Channels::Grey, _) => Cow::Borrowed(self),
            (Channels::GreyAlpha, Alpha::Dropped) => self.each(Channels::Grey, |pixel| [pixel[0]]),
            _ => {
                let rgb = self.to_rgb(alpha);
                Cow::Owned(rgb.each(Channels::Grey, |pixel| [luma(pixel)]).into_owned())
            }
        }
    }

    fn each<const N: usize>(&self, channels: Channels, pixel: impl Fn(&[u8]) -> [u8; N]) -> Cow<'_, Picture> {
        let bytes = self.bytes.chunks_exact(self.channels.count()).flat_map(pixel).collect();
        Cow::Owned(Picture { height: self.height, width: self.width, channels, bytes })
    }
}

fn luma(pixel: &[u8]) -> u8 {
    let [red, green, blue] = [pixel[0], pixel[1], pixel[2]].map(u32::from);
    // The three add up to 65536, so it is at most 255.
    ((red * 19_595 + green * 38_470 + blue * 7_471 + 0x8000) >> 16) as u8
}

/// `colour` of `opacity` on white, in the fixed point of Pillow's `alpha_composite`.
fn on(alpha: Alpha, opacity: u8, colour: [u8; 3]) -> [u8; 3] {
    if alpha == Alpha::Dropped {
        return colour;
    }
    if opacity == 0 {
        return [255; 3];
    }
    let (front, back) = (u32::from(opacity) << 7, (255 - u32::from(opacity)) << 7);
    colour.map(|value| {
        let sum = u32::from(value) * front + 255 * back + (0x80 << 7);
        // At most 255, as front and back add up to 255·2⁷.
        ((((sum >> 8) + sum) >> 8) >> 7) as u8
    })
}
