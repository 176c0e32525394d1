//! What the headers of a frame and of a scan say (ITU-T T.81, annexes B.2.2 and B.2.3).

use super::super::{PictureError, believed};
use super::{Component, damaged, unsupported};

/// How a picture is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Sequential,
    Progressive,
}

/// What a file holds.
pub(super) struct Frame {
    pub(super) coding: Coding,
    pub(super) height: usize,
    pub(super) width: usize,
    /// Most samples of a component across and down.
    pub(super) most_across: usize,
    pub(super) most_down: usize,
    /// Units of a scan of several components.
    pub(super) units_across: usize,
    pub(super) units_down: usize,
    pub(super) components: Vec<Component>,
}

/// A pass over some components.
#[derive(Debug)]
pub(super) struct Scan {
    /// Component, and its tables of first and of other coefficients.
    pub(super) parts: Vec<(usize, usize, usize)>,
    /// First and last coefficient.
    pub(super) first: usize,
    pub(super) last: usize,
    /// Bits that were known before, if any, and that are left to later scans.
    pub(super) before: u8,
    pub(super) low: u8,
}

/// Of a header: precision, height, width, components.
pub(super) fn frame(coding: Coding, segment: &[u8]) -> Result<Frame, PictureError> {
    let (&[precision, h1, h2, w1, w2, count], parts) =
        segment.split_first_chunk().ok_or_else(|| damaged("its header is cut off"))?;
    if precision != 8 {
        return Err(unsupported(format!("a JPEG of {precision} bits")));
    }
    let [height, width] = believed(u16::from_be_bytes([h1, h2]).into(), u16::from_be_bytes([w1, w2]).into())?;
    if count == 0 || count > 4 || parts.len() != 3 * usize::from(count) {
        return Err(damaged(format!("its header says {count} components")));
    }
    let (parts, _) = parts.as_chunks::<3>();
    let samplings = parts.iter().map(|[_, sampling, _]| (usize::from(sampling >> 4), usize::from(sampling & 15)));
    if samplings.clone().any(|(across, down)| !(1..=4).contains(&across) || !(1..=4).contains(&down)) {
        return Err(damaged("a component without samples"));
    }
    let most_across = samplings.clone().map(|(across, _)| across).max().unwrap_or(1);
    let most_down = samplings.clone().map(|(_, down)| down).max().unwrap_or(1);
    let (units_across, units_down) = (width.div_ceil(8 * most_across), height.div_ceil(8 * most_down));
    let component = |(&[id, _, table], (across, down)): (&[u8; 3], (usize, usize))| Component {
        id,
        across,
        down,
        table: table.into(),
        quantisers: None,
        width: (width * across).div_ceil(most_across),
        height: (height * down).div_ceil(most_down),
        blocks_across: units_across * across,
        blocks_down: units_down * down,
        coefficients: Vec::new(),
    };
    let components = parts.iter().zip(samplings.clone()).map(component).collect();
    Ok(Frame { coding, height, width, most_across, most_down, units_across, units_down, components })
}

/// Of a scan's header: components with their tables, coefficients, bits.
pub(super) fn scan(frame: &Frame, segment: &[u8]) -> Result<Scan, PictureError> {
    let wrong = || damaged("a scan's header makes no sense");
    let (&count, rest) = segment.split_first().ok_or_else(wrong)?;
    let (parts, &[first, last, bits]) = rest.split_last_chunk().ok_or_else(wrong)?;
    if parts.len() != 2 * usize::from(count) || count == 0 {
        return Err(wrong());
    }
    let (parts, _) = parts.as_chunks::<2>();
    let part = |&[id, tables]: &[u8; 2]| {
        let component = frame.components.iter().position(|component| component.id == id).ok_or_else(wrong)?;
        Ok((component, usize::from(tables >> 4), usize::from(tables & 15)))
    };
    let parts: Vec<_> = parts.iter().map(part).collect::<Result<_, PictureError>>()?;
    let twice = |index: usize| parts[..index].iter().any(|(component, ..)| *component == parts[index].0);
    if (0..parts.len()).any(twice) {
        return Err(wrong());
    }
    if frame.coding == Coding::Sequential {
        return Ok(Scan { parts, first: 0, last: 63, before: 0, low: 0 });
    }
    let (first, last, before, low) = (usize::from(first), usize::from(last), bits >> 4, bits & 15);
    // First coefficients come by themselves, the others of one component at a time; bits are refined one by one.
    let fits = if first == 0 { last == 0 } else { first <= last && last < 64 && parts.len() == 1 };
    if !fits || low > 13 || (before != 0 && before != low + 1) {
        return Err(wrong());
    }
    Ok(Scan { parts, first, last, before, low })
}
