//! Files as bytes: memory-mapped, so that weights are read from the page cache and not copied.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use crate::error::Error;

/// Bytes that tensors may share.
pub(crate) type Shared = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// Maps a file for reading.
pub(crate) fn map(path: &Path) -> Result<Shared, Error> {
    let read = |reason| Error::Read { path: path.to_path_buf(), reason };
    let file = File::open(path).map_err(read)?;
    // SAFETY: the map is only read. It is sound as long as nobody changes the file while it is mapped, which no program
    // that maps files can rule out; every length is checked against the mapped length, never against the file again.
    let map = unsafe { memmap2::Mmap::map(&file) }.map_err(read)?;
    Ok(Arc::new(map))
}
