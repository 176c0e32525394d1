//! Pictures as numbers: `pixel_values` of a safetensors file, read one at a time, and `labels`.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use super::{Labels, Read as Found, Source};
use crate::error::Error;

const PIXELS: &str = "pixel_values";
const LABELS: &str = "labels";
/// Longest header that is believed; the `safetensors` crate's own bound.
const MOST_HEADER_BYTES: u64 = 100_000_000;

/// Pictures of one shape in a file.
#[derive(Debug)]
pub(super) struct Tensors {
    pub(super) path: PathBuf,
    pub(super) count: usize,
    /// Channels, height, width.
    pub(super) shape: [usize; 3],
    file: Mutex<File>,
    /// Where the first begins.
    at: u64,
}

pub(super) fn open(path: &Path) -> Result<Found, Error> {
    let wrong = |what: String| Error::Data { path: path.to_path_buf(), what };
    let failed = |reason| Error::Read { path: path.to_path_buf(), reason };
    let mut file = File::open(path).map_err(failed)?;
    let (start, metadata) =
        header(&mut file).map_err(|e| wrong(format!("not a safetensors file: {e}; write it again")))?;
    let bytes = file.metadata().map_err(failed)?.len();
    let end = metadata.tensors().values().map(|info| info.data_offsets.1 as u64).max().unwrap_or(0);
    if start.checked_add(end) != Some(bytes) {
        return Err(wrong(format!(
            "it is {bytes} bytes long, and its header says {}; write it again",
            start.saturating_add(end)
        )));
    }
    let Some(pixels) = metadata.info(PIXELS) else {
        let mut names = metadata.offset_keys();
        names.sort();
        return Err(wrong(format!(
            "it has no tensor {PIXELS} (N, channels, height, width); it has {}",
            super::some(&names)
        )));
    };
    let (count, shape) = match pixels.shape[..] {
        [count, channels, height, width] if count * channels * height * width > 0 => (count, [channels, height, width]),
        _ => {
            let what = format!(
                "{PIXELS} are of shape {:?}, expected (N, channels, height, width), none of them 0",
                pixels.shape
            );
            return Err(wrong(what));
        }
    };
    if pixels.dtype != Dtype::F32 {
        return Err(wrong(format!(
            "{PIXELS} are {:?}, expected F32, normalised as the model takes them",
            pixels.dtype
        )));
    }
    let labels = match metadata.info(LABELS) {
        None => Labels::None,
        Some(info) => Labels::Places(labels(&mut file, start, info, count, path)?),
    };
    let at = start + pixels.data_offsets.0 as u64;
    let tensors = Tensors { path: path.to_path_buf(), count, shape, file: Mutex::new(file), at };
    Ok(Found { source: Source::Tensors(tensors), labels })
}

/// Where the numbers begin, and what they are.
fn header(file: &mut File) -> Result<(u64, Metadata), String> {
    let mut size = [0; 8];
    file.read_exact(&mut size).map_err(|e| e.to_string())?;
    let size = u64::from_le_bytes(size);
    if size > MOST_HEADER_BYTES {
        return Err(format!("its header would be {size} bytes long"));
    }
    let mut text = Vec::new();
    file.take(size).read_to_end(&mut text).map_err(|e| e.to_string())?;
    let metadata: Metadata = serde_json::from_slice(&text).map_err(|e| e.to_string())?;
    for (name, info) in metadata.tensors() {
        let numbers = info.shape.iter().try_fold(1_usize, |all, &size| all.checked_mul(size));
        let bits = numbers.and_then(|numbers| numbers.checked_mul(info.dtype.bitsize()));
        let (start, end) = info.data_offsets;
        if bits.map(|bits| bits / 8) != end.checked_sub(start) {
            return Err(format!("{name} does not take the room that its shape asks for"));
        }
    }
    Ok((8 + size, metadata))
}

fn labels(
    file: &mut File,
    start: u64,
    info: &TensorInfo,
    count: usize,
    path: &Path,
) -> Result<Vec<Option<u32>>, Error> {
    let wrong = |what: String| Error::Data { path: path.to_path_buf(), what };
    if info.dtype != Dtype::I64 {
        return Err(wrong(format!("{LABELS} are {:?}, expected I64", info.dtype)));
    }
    if info.shape != [count] {
        return Err(wrong(format!(
            "{LABELS} are of shape {:?}, and there are {count} pictures; expected ({count})",
            info.shape
        )));
    }
    let bytes = read(file, start + info.data_offsets.0 as u64, 8 * count);
    let bytes = bytes.map_err(|reason| Error::Read { path: path.to_path_buf(), reason })?;
    let (numbers, _) = bytes.as_chunks::<8>();
    let label = |(index, bytes): (usize, &[u8; 8])| {
        let label = i64::from_le_bytes(*bytes);
        let what = || wrong(format!("label {label} of picture {} is no class; classes are numbered from 0", index + 1));
        u32::try_from(label).map(Some).map_err(|_| what())
    };
    numbers.iter().enumerate().map(label).collect()
}

fn read(file: &mut File, at: u64, size: usize) -> std::io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = vec![0; size];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

impl Tensors {
    pub(super) fn pixels(&self, place: usize) -> Result<Vec<f32>, Error> {
        let size = 4 * self.shape.iter().product::<usize>();
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = read(&mut file, self.at + (place * size) as u64, size);
        let bytes = bytes.map_err(|reason| Error::Read { path: self.path.clone(), reason })?;
        let (numbers, _) = bytes.as_chunks::<4>();
        Ok(numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }
}
