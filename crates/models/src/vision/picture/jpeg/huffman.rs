//! Huffman codes of up to 16 bits: short ones by a table, the others by comparing (ITU-T T.81, annex F.2.2.3).

use super::super::PictureError;
use super::bits::Bits;
use super::damaged;

/// Bits that the table is asked with.
const SHORT: u32 = 9;

pub(super) struct Huffman {
    /// Of every beginning: length and symbol; length 0 if the code is longer.
    short: [(u8, u8); 1 << SHORT],
    /// By length less 1: one beyond its codes, left-aligned in 16 bits; and what to add to a code for the place of its symbol.
    ends: [u32; 16],
    places: [i32; 16],
    symbols: Vec<u8>,
}

impl Huffman {
    /// Of the numbers of codes by length, and their symbols.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Result<Self, PictureError> {
        let mut table = Self { short: [(0, 0); 1 << SHORT], ends: [0; 16], places: [0; 16], symbols: symbols.to_vec() };
        let (mut code, mut place) = (0_u32, 0_usize);
        for (length, &count) in (1..=16).zip(counts) {
            let index = length as usize - 1;
            table.places[index] = place as i32 - code as i32;
            for _ in 0..count {
                if length <= SHORT && code < 1 << length {
                    let (from, to) = (code << (SHORT - length), (code + 1) << (SHORT - length));
                    table.short[from as usize..to as usize].fill((length as u8, symbols[place]));
                }
                code += 1;
                place += 1;
            }
            if code > 1 << length {
                return Err(damaged("a Huffman table has more codes than there are"));
            }
            table.ends[index] = code << (16 - length);
            code <<= 1;
        }
        Ok(table)
    }

    pub(super) fn symbol(&self, bits: &mut Bits<'_>) -> Result<u8, PictureError> {
        let next = bits.peek();
        let (length, symbol) = self.short[next >> (16 - SHORT)];
        if length > 0 {
            bits.pass(length.into())?;
            return Ok(symbol);
        }
        let longer = SHORT as usize..16;
        let index = longer.into_iter().find(|&index| (next as u32) < self.ends[index]);
        let index = index.ok_or_else(|| damaged("a code of no symbol"))?;
        let code = next >> (15 - index);
        let symbol = usize::try_from(code as i32 + self.places[index]).ok().and_then(|place| self.symbols.get(place));
        let symbol = *symbol.ok_or_else(|| damaged("a code of no symbol"))?;
        bits.pass(index as u32 + 1)?;
        Ok(symbol)
    }
}
