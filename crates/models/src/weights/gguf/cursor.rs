//! A position in untrusted bytes: every read is compared with what is left.

use super::GgufError;

/// Reads little-endian numbers and strings one after the other.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes read so far.
    pub(super) fn at(&self) -> u64 {
        self.at as u64
    }

    /// The next `len` bytes; `what` they are is for the message.
    pub(super) fn take(&mut self, len: u64, what: &str) -> Result<&'a [u8], GgufError> {
        let left = &self.bytes[self.at..];
        let len_here = usize::try_from(len).ok().filter(|&len| len <= left.len());
        let Some(len) = len_here else {
            return Err(GgufError::Ends {
                what: what.to_owned(),
                needs: len,
                left: left.len() as u64,
                at: self.at as u64,
            });
        };
        self.at += len;
        Ok(&left[..len])
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], GgufError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N as u64, what)?);
        Ok(out)
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, GgufError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64, GgufError> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// A string: its length, then UTF-8.
    pub(super) fn text(&mut self, what: &str) -> Result<String, GgufError> {
        let len = self.u64(what)?;
        let at = self.at();
        let bytes = self.take(len, what)?;
        let text = std::str::from_utf8(bytes).map_err(|_| GgufError::Utf8 { what: what.to_owned(), at })?;
        Ok(text.to_owned())
    }
}
