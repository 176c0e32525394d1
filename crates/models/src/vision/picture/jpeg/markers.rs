//! The segments of a file: sizes, tables, and where scans begin (ITU-T T.81, annex B).

use super::super::PictureError;
use super::colours::Colours;
use super::headers::{self, Coding, Frame, Scan};
use super::huffman::Huffman;
use super::{ZIGZAG, damaged, unsupported};

/// Tables as they are at a scan.
#[derive(Default)]
pub(super) struct Tables {
    quantisers: [Option<[u16; 64]>; 4],
    pub(super) first: [Option<Huffman>; 4],
    pub(super) others: [Option<Huffman>; 4],
    /// Units between restarts; 0 = none.
    pub(super) restart: usize,
}

/// Goes through the segments.
pub(super) struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
    pub(super) tables: Tables,
    jfif: bool,
    /// What Adobe's segment says of the colours.
    adobe: Option<u8>,
}

mod name {
    pub(super) const SOI: u8 = 0xd8;
    pub(super) const EOI: u8 = 0xd9;
    pub(super) const SOS: u8 = 0xda;
    pub(super) const DQT: u8 = 0xdb;
    pub(super) const DRI: u8 = 0xdd;
    pub(super) const DHT: u8 = 0xc4;
    pub(super) const APP0: u8 = 0xe0;
    pub(super) const APP14: u8 = 0xee;
}

impl<'a> Parser<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, tables: Tables::default(), jfif: false, adobe: None }
    }

    /// Up to the frame's header, which it gives.
    pub(super) fn frame(&mut self) -> Result<Frame, PictureError> {
        loop {
            match self.marker()? {
                Some(kind @ (0xc0..=0xcf)) if ![name::DHT, 0xc8, 0xcc].contains(&kind) => {
                    let coding = match kind {
                        0xc0 | 0xc1 => Coding::Sequential,
                        0xc2 => Coding::Progressive,
                        0xc9..=0xcf => return Err(unsupported("a JPEG with arithmetic coding")),
                        _ => return Err(unsupported("a lossless or hierarchical JPEG")),
                    };
                    return headers::frame(coding, self.segment()?);
                }
                Some(name::SOS) => return Err(damaged("pixels before the picture's size")),
                Some(name::EOI) | None => return Err(damaged("it ends before its size is said")),
                Some(other) => self.other(other)?,
            }
        }
    }

    /// Up to the next scan; nothing at the end.
    pub(super) fn scan(&mut self, frame: &Frame) -> Result<Option<Scan>, PictureError> {
        loop {
            match self.marker()? {
                Some(name::SOS) => return headers::scan(frame, self.segment()?).map(Some),
                Some(name::EOI) => return Ok(None),
                // A file of one pass that lacks but its end is whole.
                None if frame.coding == Coding::Sequential
                    && frame.components.iter().all(|c| c.quantisers.is_some()) =>
                {
                    return Ok(None);
                }
                None => return Err(damaged("it ends early")),
                Some(0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf) => {
                    return Err(unsupported("a JPEG of several frames"));
                }
                Some(other) => self.other(other)?,
            }
        }
    }

    /// The bytes from here.
    pub(super) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// So many bytes of the rest are done.
    pub(super) fn go_on_at(&mut self, done: usize) {
        self.at += done;
    }

    pub(super) fn colours(&self, frame: &Frame) -> Result<Colours, PictureError> {
        let ids: Vec<u8> = frame.components.iter().map(|component| component.id).collect();
        Ok(match (&ids[..], self.jfif, self.adobe) {
            ([_], ..) => Colours::Grey,
            ([_, _, _], true, _) => Colours::YCbCr,
            ([_, _, _], false, Some(0)) => Colours::Rgb,
            ([b'R', b'G', b'B'], false, None) => Colours::Rgb,
            ([_, _, _], ..) => Colours::YCbCr,
            ([_, _, _, _], _, None | Some(0)) => Colours::Cmyk,
            ([_, _, _, _], ..) => Colours::Ycck,
            _ => return Err(unsupported(format!("a JPEG of {} components", ids.len()))),
        })
    }

    /// The next marker, over whatever is before it.
    fn marker(&mut self) -> Result<Option<u8>, PictureError> {
        loop {
            let Some(found) = self.rest().iter().position(|&byte| byte == 0xff) else {
                self.at = self.bytes.len();
                return Ok(None);
            };
            self.at += found;
            let Some(filled) = self.rest().iter().position(|&byte| byte != 0xff) else {
                self.at = self.bytes.len();
                return Ok(None);
            };
            let kind = self.rest()[filled];
            self.at += filled + 1;
            // Stuffed bytes and restarts that no scan has taken.
            if !matches!(kind, 0 | 0x01 | 0xd0..=0xd7 | name::SOI) {
                return Ok(Some(kind));
            }
        }
    }

    fn segment(&mut self) -> Result<&'a [u8], PictureError> {
        let rest = self.rest();
        let size = rest.first_chunk().map(|&size| usize::from(u16::from_be_bytes(size)));
        let segment = size.and_then(|size| rest.get(2..size));
        let segment = segment.ok_or_else(|| damaged("it ends within a segment"))?;
        self.at += segment.len() + 2;
        Ok(segment)
    }

    fn other(&mut self, kind: u8) -> Result<(), PictureError> {
        let segment = self.segment()?;
        match kind {
            name::DQT => self.tables.add_quantisers(segment),
            name::DHT => self.tables.add_huffman(segment),
            name::DRI => {
                let units = segment.first_chunk().map(|&units| usize::from(u16::from_be_bytes(units)));
                self.tables.restart = units.ok_or_else(|| damaged("a restart interval without its length"))?;
                Ok(())
            }
            name::APP0 => {
                self.jfif |= segment.starts_with(b"JFIF\0");
                Ok(())
            }
            name::APP14 if segment.starts_with(b"Adobe") && segment.len() >= 12 => {
                self.adobe = Some(segment[11]);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Tables {
    /// Quantisers of a component, in the order of rows.
    pub(super) fn quantisers(&self, table: usize) -> Option<[u16; 64]> {
        self.quantisers.get(table).copied().flatten()
    }

    fn add_quantisers(&mut self, mut segment: &[u8]) -> Result<(), PictureError> {
        while let Some((&head, rest)) = segment.split_first() {
            let (wide, table) = (head >> 4, usize::from(head & 15));
            let size = if wide == 0 { 64 } else { 128 };
            let (Some(numbers), Some(place)) = (rest.get(..size), self.quantisers.get_mut(table)) else {
                return Err(damaged("a table of quantisers is cut off, or of no place"));
            };
            let mut quantisers = [0; 64];
            for (k, &to) in ZIGZAG.iter().enumerate() {
                quantisers[to] = match wide {
                    0 => u16::from(numbers[k]),
                    _ => u16::from_be_bytes([numbers[2 * k], numbers[2 * k + 1]]),
                };
            }
            *place = Some(quantisers);
            segment = &rest[size..];
        }
        Ok(())
    }

    fn add_huffman(&mut self, mut segment: &[u8]) -> Result<(), PictureError> {
        while let Some((&head, rest)) = segment.split_first() {
            let wrong = || damaged("a Huffman table is cut off, or of no place");
            let counts: &[u8; 16] = rest.first_chunk().ok_or_else(wrong)?;
            let size = counts.iter().map(|&count| usize::from(count)).sum::<usize>();
            let symbols = rest.get(16..16 + size).ok_or_else(wrong)?;
            let tables = match head >> 4 {
                0 => &mut self.first,
                1 => &mut self.others,
                _ => return Err(wrong()),
            };
            *tables.get_mut(usize::from(head & 15)).ok_or_else(wrong)? = Some(Huffman::new(counts, symbols)?);
            segment = &rest[16 + size..];
        }
        Ok(())
    }
}
