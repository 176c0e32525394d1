//! A folder that is there whole or not at all, and tells when it is damaged.
//!
//! It is written under its name with `.partial` at the end: every file, then `checksums.txt` with length and CRC-32 of
//! each; files and folder are synced, and the folder is renamed. A process killed at any moment leaves the earlier folders
//! as they were, and a `.partial` that the next one removes. What cannot be undone by a rename is done before: a folder is
//! removed by renaming it to `.partial` first.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::run_dir::{beside, sync_folder};

const SUMS: &str = "checksums.txt";

/// A line a file of a few dozen files.
const MOST_SUMS_BYTES: u64 = 1 << 16;

/// Length and checksum of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sum {
    bytes: u64,
    crc: u32,
}

impl Sum {
    /// Reads the file in small parts.
    fn of(mut file: impl Read) -> io::Result<Self> {
        let (mut hasher, mut bytes) = (crc32fast::Hasher::new(), 0);
        let mut part = vec![0; 1 << 16];
        loop {
            match file.read(&mut part)? {
                0 => return Ok(Self { bytes, crc: hasher.finalize() }),
                read => {
                    hasher.update(&part[..read]);
                    bytes += read as u64;
                }
            }
        }
    }
}

/// A folder being written.
#[derive(Debug)]
pub(super) struct NewFolder {
    path: PathBuf,
    partial: PathBuf,
    sums: BTreeMap<String, Sum>,
}

impl NewFolder {
    /// Begins `path`; what a killed process left of it is removed.
    pub(super) fn begin(path: PathBuf) -> Result<Self, Error> {
        let partial = beside(&path);
        let begin = || {
            if partial.exists() {
                fs::remove_dir_all(&partial)?;
            }
            fs::create_dir_all(&partial)
        };
        begin().map_err(|reason| Error::Write { path: partial.clone(), reason })?;
        Ok(Self { path, partial, sums: BTreeMap::new() })
    }

    /// Adds a file.
    pub(super) fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.write_by(name, |path| fs::write(path, bytes))
    }

    /// Adds a file that `write` makes.
    pub(super) fn write_by(&mut self, name: &str, write: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), Error> {
        let path = self.partial.join(name);
        let finish = || -> io::Result<Sum> {
            write(&path)?;
            let file = OpenOptions::new().read(true).write(true).open(&path)?;
            let sum = Sum::of(&file)?;
            file.sync_all()?;
            Ok(sum)
        };
        let sum = finish().map_err(|reason| Error::Write { path: path.clone(), reason })?;
        self.sums.insert(name.to_owned(), sum);
        Ok(())
    }

    /// Gives the folder its name; one that has it is removed.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        let sums: String = self.sums.iter().map(|(name, s)| format!("{:08x} {} {name}\n", s.crc, s.bytes)).collect();
        self.write(SUMS, sums.as_bytes())?;
        let name_it = || {
            sync_folder(&self.partial)?;
            if self.path.exists() {
                fs::remove_dir_all(&self.path)?;
            }
            fs::rename(&self.partial, &self.path)?;
            self.path.parent().map_or(Ok(()), sync_folder)
        };
        name_it().map_err(|reason| Error::Write { path: self.path.clone(), reason })
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        // After a failure; a folder that has got its name is not there any more. A full disk gets its room back.
        let _ = fs::remove_dir_all(&self.partial);
    }
}

/// Removes a folder so that it is never there in part.
pub(super) fn remove(path: &Path) -> Result<(), Error> {
    let partial = beside(path);
    let remove = || {
        if partial.exists() {
            fs::remove_dir_all(&partial)?;
        }
        fs::rename(path, &partial)?;
        fs::remove_dir_all(&partial)
    };
    remove().map_err(|reason| Error::Write { path: path.to_path_buf(), reason })
}

/// Checks every file of a folder, of which `needed` must be there; returns their names.
///
/// # Errors
/// [`Error::Checkpoint`] naming the first file that is missing, cut off or changed.
pub(super) fn verify(folder: &Path, needed: &[&str]) -> Result<Vec<String>, Error> {
    let damaged = |name: &str, what: String| Err(Error::Checkpoint { path: folder.join(name), what });
    let sums = match read_text(&folder.join(SUMS), MOST_SUMS_BYTES) {
        Ok(text) => text,
        Err(reason) => return damaged(SUMS, reason.to_string()),
    };
    let mut listed = BTreeMap::new();
    for (number, line) in sums.lines().enumerate() {
        let mut words = line.splitn(3, ' ');
        let sum =
            words.next().and_then(|w| u32::from_str_radix(w, 16).ok()).zip(words.next().and_then(|w| w.parse().ok()));
        match (sum, words.next()) {
            (Some((crc, bytes)), Some(name)) if Path::new(name).file_name() == Some(name.as_ref()) => {
                listed.insert(name, Sum { bytes, crc });
            }
            _ => return damaged(SUMS, format!("line {} is no checksum, length and name", number + 1)),
        }
    }
    if let Some(name) = needed.iter().find(|name| !listed.contains_key(*name)) {
        return damaged(name, format!("not listed in {SUMS}"));
    }
    for (name, want) in &listed {
        let path = folder.join(name);
        let bytes = match fs::metadata(&path) {
            Ok(found) => found.len(),
            Err(reason) => return damaged(name, reason.to_string()),
        };
        if bytes != want.bytes {
            return damaged(name, format!("{bytes} bytes, expected {}: the file was cut off or changed", want.bytes));
        }
        match File::open(&path).and_then(Sum::of) {
            Ok(found) if found == *want => {}
            Ok(found) => {
                return damaged(
                    name,
                    format!("checksum {:08x}, expected {:08x}: the file was changed", found.crc, want.crc),
                );
            }
            Err(reason) => return damaged(name, reason.to_string()),
        }
    }
    Ok(listed.into_keys().map(str::to_owned).collect())
}

/// Reads a text file of at most `most` bytes.
pub(super) fn read_text(path: &Path, most: u64) -> io::Result<String> {
    let mut text = String::new();
    if File::open(path)?.take(most + 1).read_to_string(&mut text)? as u64 > most {
        return Err(io::Error::other(format!("more than {most} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

    fn place(name: &str) -> Result<PathBuf> {
        let folder = std::env::temp_dir().join(format!("loract-folder-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    fn make(path: &Path, text: &str) -> Result {
        let mut folder = NewFolder::begin(path.to_path_buf())?;
        folder.write("a", text.as_bytes())?;
        folder.write("b", b"")?;
        Ok(folder.finish()?)
    }

    #[test]
    fn a_folder_is_whole_or_not_there() -> Result {
        let place = place("whole")?;
        let path = place.join("x");
        // What a killed process leaves is no hindrance.
        fs::create_dir_all(place.join("x.partial/deep"))?;
        make(&path, "one")?;
        make(&path, "two")?;
        assert_eq!(fs::read(path.join("a"))?, b"two");
        verify(&path, &["a", "b"])?;
        let mut failed = NewFolder::begin(path.clone())?;
        failed.write("a", b"three")?;
        let error = failed.write_by("b", |_| Err(io::Error::other("full"))).err().ok_or("no error")?;
        assert!(error.to_string().contains("x.partial/b: full"), "{error}");
        drop(failed);
        assert_eq!(fs::read(path.join("a"))?, b"two");
        assert!(!place.join("x.partial").exists());
        remove(&path)?;
        assert_eq!(fs::read_dir(&place)?.count(), 0);
        Ok(fs::remove_dir_all(&place)?)
    }

    #[test]
    fn every_damage_is_named() -> Result {
        let place = place("damage")?;
        let path = place.join("x");
        type Damage = fn(&Path) -> io::Result<()>;
        let table: [(&str, Damage, &str); 8] = [
            ("cut off", |p| fs::write(p.join("a"), "four!"), "x/a: 5 bytes, expected 6"),
            ("changed", |p| fs::write(p.join("a"), "fovr!!"), "x/a: checksum"),
            ("gone", |p| fs::remove_file(p.join("a")), "x/a: No such file"),
            ("a folder", |p| fs::remove_file(p.join("b")).and_then(|()| fs::create_dir(p.join("b"))), "x/b: "),
            ("no sums", |p| fs::remove_file(p.join(SUMS)), "x/checksums.txt: No such file"),
            ("empty sums", |p| fs::write(p.join(SUMS), ""), "x/a: not listed"),
            ("other sums", |p| fs::write(p.join(SUMS), "hello"), "x/checksums.txt: line 1"),
            ("outside", |p| fs::write(p.join(SUMS), "00000000 0 ../a\n"), "x/checksums.txt: line 1"),
        ];
        for (name, damage, says) in table {
            make(&path, "four!!")?;
            damage(&path)?;
            let error = verify(&path, &["a", "b"]).err().ok_or(name)?.to_string();
            assert!(error.contains(says), "{name}: {error}");
        }
        // Each bit of the sums themselves.
        make(&path, "four!!")?;
        let good = fs::read(path.join(SUMS))?;
        for bit in 0..8 * good.len() {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            fs::write(path.join(SUMS), &bytes)?;
            // A hexadecimal digit in capitals is the same digit.
            let same = String::from_utf8_lossy(&bytes).to_lowercase() == String::from_utf8_lossy(&good).to_lowercase();
            assert!(same || verify(&path, &["a", "b"]).is_err(), "{}", String::from_utf8_lossy(&bytes));
        }
        Ok(fs::remove_dir_all(&place)?)
    }
}
