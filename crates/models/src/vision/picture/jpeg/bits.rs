//! The bits of a scan, most significant first; a byte 255 is followed by a 0, or begins a marker that ends them.

use super::super::PictureError;
use super::damaged;

pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The next bits, right-aligned.
    held: u64,
    count: u32,
    /// Of those, zeros that were put behind the last one.
    made_up: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, held: 0, count: 0, made_up: 0 }
    }

    /// Bytes that are done.
    pub(super) fn done(&self) -> usize {
        self.at
    }

    /// The next 16 bits, which stay.
    pub(super) fn peek(&mut self) -> usize {
        self.fill();
        (self.held >> (self.count - 16)) as usize & 0xffff
    }

    /// Takes bits, 16 at most.
    pub(super) fn take(&mut self, count: u32) -> Result<u32, PictureError> {
        if count == 0 {
            return Ok(0);
        }
        self.fill();
        self.pass(count)?;
        Ok((self.held >> self.count) as u32 & ((1 << count) - 1))
    }

    pub(super) fn one(&mut self) -> Result<bool, PictureError> {
        self.take(1).map(|bit| bit == 1)
    }

    /// A number of `size` bits whose highest tells its sign.
    pub(super) fn signed(&mut self, size: u32) -> Result<i32, PictureError> {
        let bits = self.take(size)? as i32;
        Ok(if size > 0 && bits < 1 << (size - 1) { bits - (1 << size) + 1 } else { bits })
    }

    /// Takes bits that were peeked at.
    pub(super) fn pass(&mut self, count: u32) -> Result<(), PictureError> {
        self.count -= count;
        if self.count < self.made_up { Err(damaged("its pixels end early")) } else { Ok(()) }
    }

    /// Goes on after the restart marker that must come now.
    pub(super) fn restart(&mut self) -> Result<(), PictureError> {
        let found =
            self.bytes[self.at..].windows(2).position(|pair| pair[0] == 0xff && pair[1] != 0 && pair[1] != 0xff);
        match found {
            Some(before) if matches!(self.bytes[self.at + before + 1], 0xd0..=0xd7) => {
                let at = self.at + before + 2;
                *self = Self { at, ..Self::new(self.bytes) };
                Ok(())
            }
            _ => Err(damaged("a restart marker is missing")),
        }
    }

    /// Holds 16 bits at least.
    fn fill(&mut self) {
        while self.count <= 48 {
            let byte = match (self.bytes.get(self.at), self.bytes.get(self.at + 1)) {
                (Some(0xff), Some(0)) => {
                    self.at += 2;
                    0xff
                }
                (Some(0xff), _) | (None, _) => {
                    self.made_up += 8;
                    0
                }
                (Some(&byte), _) => {
                    self.at += 1;
                    byte
                }
            };
            self.held = self.held << 8 | u64::from(byte);
            self.count += 8;
        }
    }
}
