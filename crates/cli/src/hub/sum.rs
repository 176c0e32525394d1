//! Checksums of files, as the hub names them in its ETags: SHA-256 of a file in large file storage, git's SHA-1 of any other.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

/// Bytes read at a time.
const CHUNK: usize = 1 << 20;

/// What a file must come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sum<'a> {
    /// Of its bytes.
    Sha256(&'a str),
    /// Of its bytes after git's header with the length.
    GitSha1(&'a str),
    /// The ETag is no checksum; the size must do.
    Unknown,
}

impl<'a> Sum<'a> {
    /// The checksum in an ETag.
    pub fn of_etag(etag: &'a str) -> Self {
        let digits = etag.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        match (digits, etag.len()) {
            (true, 64) => Sum::Sha256(etag),
            (true, 40) => Sum::GitSha1(etag),
            _ => Sum::Unknown,
        }
    }

    /// What the file at `path` comes to instead, if it is another.
    ///
    /// # Errors
    /// The system's.
    pub fn contradicted(self, path: &Path) -> io::Result<Option<String>> {
        let mut file = File::open(path)?;
        let (mut context, name, want) = match self {
            Sum::Sha256(want) => (Context::new(&SHA256), "SHA-256", want),
            Sum::GitSha1(want) => {
                let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
                context.update(format!("blob {}\0", file.metadata()?.len()).as_bytes());
                (context, "SHA-1 (git's)", want)
            }
            Sum::Unknown => return Ok(None),
        };
        let mut chunk = vec![0; CHUNK];
        loop {
            match file.read(&mut chunk)? {
                0 => break,
                read => context.update(&chunk[..read]),
            }
        }
        let found: String = context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok((found != want).then(|| format!("its {name} is {found}, announced was {want}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_sums() -> io::Result<()> {
        let path = std::env::temp_dir().join(format!("loract-sum-{}", std::process::id()));
        std::fs::write(&path, "hello\n")?;
        // `sha256sum` and `git hash-object`.
        for etag in [
            "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
            "ce013625030ba8dba906f756967f9e9ca394464a",
        ] {
            assert_ne!(Sum::of_etag(etag), Sum::Unknown);
            assert_eq!(Sum::of_etag(etag).contradicted(&path)?, None);
        }
        std::fs::write(&path, "hello")?;
        let told = Sum::of_etag("ce013625030ba8dba906f756967f9e9ca394464a").contradicted(&path)?;
        assert!(told.is_some_and(|told| told.contains("announced was ce01")));
        assert_eq!(Sum::of_etag("5f3-1a"), Sum::Unknown);
        std::fs::remove_file(path)
    }
}
