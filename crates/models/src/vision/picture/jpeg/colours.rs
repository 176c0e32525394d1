//! Pixels of a JPEG's components, by libjpeg's fixed point (`jdcolor.c`) and Pillow's colours of print.

use super::super::{Channels, Picture, PictureError};
use super::headers::Frame;
use super::upsample::Rows;
use super::{damaged, idct};

/// What the components are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colours {
    Grey,
    /// Brightness, blue less it, red less it.
    YCbCr,
    Rgb,
    /// Inks, as Adobe writes them: 255 is none.
    Cmyk,
    /// The same with three of them as brightness and colours.
    Ycck,
}

pub(super) fn picture(frame: &Frame, colours: Colours) -> Result<Picture, PictureError> {
    let rows = frame.components.iter().map(|component| {
        let quantisers = component.quantisers.as_ref().ok_or_else(|| damaged("a component is not there"))?;
        Rows::new(frame, component, idct::samples(component, quantisers))
    });
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    let channels = if colours == Colours::Grey { Channels::Grey } else { Channels::Rgb };
    let mut bytes = Vec::with_capacity(frame.height * frame.width * channels.count());
    let mut lines = vec![Vec::new(); rows.len()];
    for at in 0..frame.height {
        rows.iter().zip(&mut lines).for_each(|(rows, line)| rows.row(at, line));
        match (colours, &lines[..]) {
            (Colours::Grey, [grey]) => bytes.extend(&grey[..frame.width]),
            (Colours::Rgb, [red, green, blue]) => {
                bytes.extend((0..frame.width).flat_map(|x| [red[x], green[x], blue[x]]));
            }
            (Colours::YCbCr, [y, blue, red]) => bytes.extend((0..frame.width).flat_map(|x| rgb(y[x], blue[x], red[x]))),
            (Colours::Cmyk, [cyan, magenta, yellow, black]) => {
                bytes.extend((0..frame.width).flat_map(|x| printed([cyan[x], magenta[x], yellow[x]], black[x])));
            }
            (Colours::Ycck, [y, blue, red, black]) => {
                let inks = |x: usize| rgb(y[x], blue[x], red[x]).map(|value| 255 - value);
                bytes.extend((0..frame.width).flat_map(|x| printed(inks(x), black[x])));
            }
            _ => return Err(damaged("components of no colours")),
        }
    }
    Picture::new(frame.height, frame.width, channels, bytes)
}

/// ITU-R 601, with 16 bits behind the point.
fn rgb(y: u8, blue: u8, red: u8) -> [u8; 3] {
    const HALF: i32 = 1 << 15;
    let (y, blue, red) = (i32::from(y), i32::from(blue) - 128, i32::from(red) - 128);
    [
        y + ((91_881 * red + HALF) >> 16),
        y + ((-22_554 * blue - 46_802 * red + HALF) >> 16),
        y + ((116_130 * blue + HALF) >> 16),
    ]
    .map(|value| value.clamp(0, 255) as u8)
}

/// Pillow's colours of inks.
fn printed(inks: [u8; 3], black: u8) -> [u8; 3] {
    let light = u32::from(black);
    inks.map(|ink| {
        let product = (255 - u32::from(ink)) * light + 128;
        // Rounded product over 255, at most `light`.
        (light - (((product >> 8) + product) >> 8)) as u8
    })
}
