//! The pages of a column in a group of rows: checked before anything is decoded, because the decoders trust lengths and levels,
//! and Zstandard taken off in Rust.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use parquet::basic::{CompressionCodec, Encoding};
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::SerializedPageReader;

use super::AGAIN;

/// Reads the pages in turn.
pub(super) struct Pages {
    pages: SerializedPageReader<File>,
    coding: Coding,
    /// Values that pages may still have.
    values_left: u64,
    /// The most bytes that a page can have, uncompressed.
    most_bytes: u64,
}

/// What is taken off here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Coding {
    /// Nothing: the reader has done it.
    None,
    Zstandard,
}

impl Pages {
    /// Of a column; what is wrong with it.
    pub(super) fn open(file: &Arc<File>, chunk: &ColumnChunkMetaData) -> std::result::Result<Self, String> {
        let coding = match chunk.compression_codec() {
            CompressionCodec::UNCOMPRESSED | CompressionCodec::SNAPPY => Coding::None,
            CompressionCodec::ZSTD => Coding::Zstandard,
            other => {
                return Err(format!(
                    "compressed with {other}, which is not read here (Snappy, Zstandard and none are); in Python: \
                     pyarrow.parquet.write_table(pyarrow.parquet.read_table(path), out)"
                ));
            }
        };
        let start = chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset());
        let numbers = [start, chunk.compressed_size(), chunk.uncompressed_size(), chunk.num_values()];
        let [Ok(start), Ok(size), Ok(most_bytes), Ok(values_left)] = numbers.map(u64::try_from) else {
            return Err(format!("a negative size or place; {AGAIN}"));
        };
        let length = file.metadata().map_err(|e| e.to_string())?.len();
        if start.checked_add(size).is_none_or(|end| end > length) {
            return Err(format!("its bytes {start} to {start} + {size} are beyond the {length} of the file; {AGAIN}"));
        }
        // As if uncompressed: the reader leaves the pages as they are, and they come through here.
        let bare = chunk.clone().into_builder().set_compression_codec(CompressionCodec::UNCOMPRESSED).build();
        let pages = bare.and_then(|bare| {
            let chunk = if coding == Coding::Zstandard { &bare } else { chunk };
            SerializedPageReader::new(Arc::clone(file), chunk, 0, None)
        });
        Ok(Self { pages: pages.map_err(|e| format!("{e}; {AGAIN}"))?, coding, values_left, most_bytes })
    }

    fn uncompressed(&self, mut page: Page) -> Result<Page> {
        if self.coding == Coding::None {
            return Ok(page);
        }
        match &mut page {
            Page::DataPage { buf, .. } | Page::DictionaryPage { buf, .. } => {
                *buf = zstandard(buf, self.most_bytes)?.into();
            }
            Page::DataPageV2 { buf, rep_levels_byte_len, def_levels_byte_len, is_compressed, .. } => {
                // Levels come before the values and are never compressed.
                let levels = levels_of_2(*rep_levels_byte_len, *def_levels_byte_len, buf.len())?;
                if *is_compressed && levels < buf.len() {
                    let mut whole = buf[..levels].to_vec();
                    whole.extend(zstandard(&buf[levels..], self.most_bytes)?);
                    *buf = whole.into();
                }
                *is_compressed = false;
            }
        }
        Ok(page)
    }

    /// What the decoders rely on.
    fn check(&mut self, page: &Page) -> Result<()> {
        match page {
            Page::DataPage { def_level_encoding, rep_level_encoding, .. } => {
                if [def_level_encoding, rep_level_encoding].iter().any(|&&encoding| encoding != Encoding::RLE) {
                    return Err(wrong("levels of an encoding that was given up in 2013"));
                }
            }
            Page::DataPageV2 { buf, rep_levels_byte_len, def_levels_byte_len, .. } => {
                levels_of_2(*rep_levels_byte_len, *def_levels_byte_len, buf.len())?;
            }
            Page::DictionaryPage { .. } => return Ok(()),
        }
        let left = self.values_left.checked_sub(u64::from(page.num_values()));
        self.values_left = left.ok_or_else(|| wrong("pages hold more values than the column has"))?;
        Ok(())
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        while let Some(page) = self.pages.get_next_page()? {
            self.check(&page)?;
            // The column reader takes a page without values for the end.
            if page.is_dictionary_page() || page.num_values() > 0 {
                return self.uncompressed(page).map(Some);
            }
        }
        Ok(None)
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.pages.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.pages.at_record_boundary()
    }
}

impl Iterator for Pages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

/// Bytes of the levels in a data page of the second version, if it is long enough for them.
fn levels_of_2(repetitions: u32, definitions: u32, page: usize) -> Result<usize> {
    let levels = repetitions as usize + definitions as usize;
    if levels > page { Err(wrong("levels are longer than their page")) } else { Ok(levels) }
}

/// Frames one after the other, of no more than `most` bytes together.
fn zstandard(mut bytes: &[u8], most: u64) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let frame = ruzstd::decoding::StreamingDecoder::new(&mut bytes).map_err(|e| wrong(&e.to_string()))?;
        let left = most.saturating_sub(out.len() as u64);
        frame.take(left + 1).read_to_end(&mut out).map_err(|e| wrong(&e.to_string()))?;
        if out.len() as u64 > most {
            return Err(wrong("a page is longer than all of its column"));
        }
    }
    Ok(out)
}

fn wrong(what: &str) -> ParquetError {
    ParquetError::General(what.to_owned())
}
