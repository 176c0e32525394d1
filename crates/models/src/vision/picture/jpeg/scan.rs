//! The coefficients of a scan (ITU-T T.81, annexes F and G).

use super::super::PictureError;
use super::bits::Bits;
use super::headers::{Coding, Frame, Scan};
use super::huffman::Huffman;
use super::markers::Tables;
use super::{ZIGZAG, damaged};

/// Adds what a scan says to the frame's coefficients; how many of `bytes` it took.
pub(super) fn decode(bytes: &[u8], scan: &Scan, frame: &mut Frame, tables: &Tables) -> Result<usize, PictureError> {
    for &(component, ..) in &scan.parts {
        let component = &mut frame.components[component];
        if component.quantisers.is_none() {
            let quantisers = tables.quantisers(component.table);
            component.quantisers = Some(quantisers.ok_or_else(|| damaged("a table of quantisers is missing"))?);
            let blocks = component.blocks_across * component.blocks_down;
            // The first coefficient of a block takes a bit at least: a header that lies gets no room.
            if blocks / 8 > bytes.len() {
                return Err(damaged("its pixels end early"));
            }
            component.coefficients = vec![[0; 64]; blocks];
        }
    }
    let mut reader = Reader { bits: Bits::new(bytes), scan, coding: frame.coding, predicted: [0; 4], zero_blocks: 0 };
    let mut units = 0;
    let mut begin_unit = |reader: &mut Reader<'_>| -> Result<(), PictureError> {
        if tables.restart > 0 && units > 0 && units % tables.restart == 0 {
            reader.restart()?;
        }
        units += 1;
        Ok(())
    };
    if let &[(component, first, others)] = &scan.parts[..] {
        // One component alone: its own blocks, without those that fill up.
        let component = &mut frame.components[component];
        let (across, down) = (component.width.div_ceil(8), component.height.div_ceil(8));
        for place in (0..down).flat_map(|row| (0..across).map(move |column| (row, column))) {
            begin_unit(&mut reader)?;
            let block = &mut component.coefficients[place.0 * component.blocks_across + place.1];
            reader.block(block, 0, [&tables.first, &tables.others], [first, others])?;
        }
    } else {
        for (down, across) in (0..frame.units_down).flat_map(|down| (0..frame.units_across).map(move |a| (down, a))) {
            begin_unit(&mut reader)?;
            for (part, &(component, first, others)) in scan.parts.iter().enumerate() {
                let component = &mut frame.components[component];
                for row in 0..component.down {
                    for column in 0..component.across {
                        let row = down * component.down + row;
                        let place = row * component.blocks_across + across * component.across + column;
                        let block = &mut component.coefficients[place];
                        reader.block(block, part, [&tables.first, &tables.others], [first, others])?;
                    }
                }
            }
        }
    }
    Ok(reader.bits.done())
}

/// Tables of one kind.
type Codes = [Option<Huffman>; 4];

fn table(codes: &Codes, place: usize) -> Result<&Huffman, PictureError> {
    codes.get(place).and_then(Option::as_ref).ok_or_else(|| damaged("a Huffman table is missing"))
}

struct Reader<'a> {
    bits: Bits<'a>,
    scan: &'a Scan,
    coding: Coding,
    /// First coefficient of the block before, of each part.
    predicted: [i32; 4],
    /// Blocks that come without further coefficients.
    zero_blocks: u32,
}

impl Reader<'_> {
    fn restart(&mut self) -> Result<(), PictureError> {
        (self.predicted, self.zero_blocks) = ([0; 4], 0);
        self.bits.restart()
    }

    fn block(
        &mut self,
        block: &mut [i16; 64],
        part: usize,
        [first, others]: [&Codes; 2],
        [of_first, of_others]: [usize; 2],
    ) -> Result<(), PictureError> {
        match (self.coding, self.scan.first, self.scan.before) {
            (Coding::Sequential, ..) => {
                self.first(block, part, table(first, of_first)?)?;
                self.others(block, table(others, of_others)?)
            }
            (Coding::Progressive, 0, 0) => self.first(block, part, table(first, of_first)?),
            (Coding::Progressive, 0, _) => {
                block[0] |= i16::from(self.bits.one()?) << self.scan.low;
                Ok(())
            }
            (Coding::Progressive, _, 0) => self.others(block, table(others, of_others)?),
            (Coding::Progressive, ..) => self.refine(block, table(others, of_others)?),
        }
    }

    /// The first coefficient, by its difference from the one before.
    fn first(&mut self, block: &mut [i16; 64], part: usize, codes: &Huffman) -> Result<(), PictureError> {
        let size = codes.symbol(&mut self.bits)?;
        if size > 15 {
            return Err(damaged("a coefficient of more than 15 bits"));
        }
        let predicted = self.predicted[part].wrapping_add(self.bits.signed(size.into())?);
        self.predicted[part] = predicted;
        block[0] = (predicted << self.scan.low) as i16;
        Ok(())
    }

    /// Coefficients with the zeros between them.
    fn others(&mut self, block: &mut [i16; 64], codes: &Huffman) -> Result<(), PictureError> {
        if self.zero_blocks > 0 {
            self.zero_blocks -= 1;
            return Ok(());
        }
        let mut k = self.scan.first.max(1);
        while k <= self.scan.last {
            let (zeros, size) = halves(codes.symbol(&mut self.bits)?);
            match (zeros, size) {
                (15, 0) => k += 16,
                (_, 0) => {
                    // In a sequential scan this is the end of this block alone, as more are not counted.
                    self.zero_blocks = self.run_of_blocks(zeros)?;
                    break;
                }
                _ => {
                    k += zeros as usize;
                    let value = self.bits.signed(size)? << self.scan.low;
                    *block.get_mut(*ZIGZAG.get(k).ok_or_else(beyond)?).ok_or_else(beyond)? = value as i16;
                    k += 1;
                }
            }
        }
        Ok(())
    }

    /// Blocks after this one that end here too.
    fn run_of_blocks(&mut self, bits: u32) -> Result<u32, PictureError> {
        if self.coding == Coding::Sequential { Ok(0) } else { Ok((1 << bits) + self.bits.take(bits)? - 1) }
    }

    /// One more bit of coefficients that are not zero, and new ones among them.
    fn refine(&mut self, block: &mut [i16; 64], codes: &Huffman) -> Result<(), PictureError> {
        let mut k = self.scan.first;
        if self.zero_blocks == 0 {
            while k <= self.scan.last {
                let (zeros, size) = halves(codes.symbol(&mut self.bits)?);
                if size == 0 && zeros < 15 {
                    // This block counts among them, as its rest is refined below.
                    self.zero_blocks = self.run_of_blocks(zeros)? + 1;
                    break;
                }
                let bit = 1_i16 << self.scan.low;
                let new = if size == 0 { None } else { Some(if self.bits.one()? { bit } else { -bit }) };
                k = self.pass_over(block, k, zeros)?;
                if let Some(new) = new {
                    if k > self.scan.last {
                        return Err(beyond());
                    }
                    block[ZIGZAG[k]] = new;
                }
                k += 1;
            }
        }
        if self.zero_blocks > 0 {
            self.pass_over(block, k, u32::MAX)?;
            self.zero_blocks -= 1;
        }
        Ok(())
    }

    /// From coefficient `k`, refining those that are there, over `zeros` that are not; where the next zero is, or the end.
    fn pass_over(&mut self, block: &mut [i16; 64], mut k: usize, mut zeros: u32) -> Result<usize, PictureError> {
        let bit = 1_i16 << self.scan.low;
        while k <= self.scan.last {
            let value = &mut block[ZIGZAG[k]];
            if *value == 0 {
                if zeros == 0 {
                    break;
                }
                zeros -= 1;
            } else if self.bits.one()? && *value & bit == 0 {
                *value = value.wrapping_add(if *value >= 0 { bit } else { -bit });
            }
            k += 1;
        }
        Ok(k)
    }
}

fn halves(symbol: u8) -> (u32, u32) {
    (u32::from(symbol >> 4), u32::from(symbol & 15))
}

fn beyond() -> PictureError {
    damaged("a block of more than 64 coefficients")
}
