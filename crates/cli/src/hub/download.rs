//! One file of a repository into the cache: what it should be, its bytes, and whether it is that.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use ureq::http::HeaderMap;

use super::cache::{ModelCache, make_parent};
use super::client::{Ask, Client, text};
use super::error::Error;
use super::patience::{Failed, Later, Patience, persist};
use super::sum::Sum;
use super::telling::Teller;

/// Bytes read from the network at a time.
const CHUNK: usize = 256 << 10;

/// What the hub says of a file.
#[derive(Debug)]
struct Announced {
    /// Names its contents.
    etag: String,
    size: u64,
}

impl Announced {
    /// The hub's own headers go before those of the answer, which may be a redirect to the storage.
    fn read(headers: &HeaderMap) -> Result<Self, &'static str> {
        let etag = text(headers, "x-linked-etag").or_else(|| text(headers, "etag")).ok_or("the answer has no ETag")?;
        let etag = etag.trim_start_matches("W/").trim_matches('"');
        let named = !etag.is_empty() && etag.len() <= 128 && !etag.starts_with('.');
        if !named || !etag.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
            return Err("the answer's ETag cannot be the name of a file");
        }
        let size = text(headers, "x-linked-size").or_else(|| text(headers, "content-length"));
        let size = size.and_then(|size| size.parse().ok()).ok_or("the answer does not tell the size of the file")?;
        Ok(Self { etag: etag.to_owned(), size })
    }
}

/// A file on its way.
struct Download<'a> {
    client: &'a Client<'a>,
    url: String,
    /// Its name in the repository.
    file: &'a str,
    announced: Announced,
}

/// Brings `file` of `commit` into the cache, unless its contents are there.
pub fn bring(
    client: &Client<'_>,
    cache: &ModelCache,
    commit: &str,
    file: &str,
    teller: &mut Teller,
) -> Result<(), Error> {
    let url = client.file_url(commit, file);
    let announced = persist(teller, || {
        let answer = client.ask(&url, Ask::Head)?;
        Announced::read(answer.headers())
            .map_err(|what| Failed::ForGood(Error::Answer { url: url.clone(), what: what.to_owned() }))
    })?;
    let etag = announced.etag.clone();
    let blob = cache.blob(&etag);
    if !blob.is_file() {
        let waits = || teller.note(&format!("note: another process fetches {file}; waiting for it"));
        let _ours = cache.lock(&etag, waits)?;
        if !blob.is_file() {
            let part = cache.blob(&format!("{etag}.incomplete"));
            Download { client, url, file, announced }.make_blob(&part, &blob, teller)?;
        }
    }
    cache.link(commit, file, &etag)
}

impl Download<'_> {
    /// Brings the bytes into `part`, checks them, and calls it `blob`.
    fn make_blob(&self, part: &Path, blob: &Path, teller: &mut Teller) -> Result<(), Error> {
        let unwritten = |reason| Error::Write { path: part.to_path_buf(), reason };
        make_parent(part).map_err(unwritten)?;
        let resumed = self.fill_part(part, teller)?;
        if let Some(what) = self.contradicted(part)? {
            if resumed == Resumed::No {
                return Err(self.damaged(part, what));
            }
            // The beginning may be of another attempt that went wrong; once more from nothing.
            teller.note(&format!("warning: {}: {what}; what was there before is dropped, fetching it anew", self.file));
            fs::remove_file(part).map_err(unwritten)?;
            self.fill_part(part, teller)?;
            if let Some(what) = self.contradicted(part)? {
                return Err(self.damaged(part, what));
            }
        }
        fs::rename(part, blob).map_err(|reason| Error::Write { path: blob.to_path_buf(), reason })
    }

    fn contradicted(&self, part: &Path) -> Result<Option<String>, Error> {
        let sum = Sum::of_etag(&self.announced.etag);
        sum.contradicted(part).map_err(|reason| Error::Write { path: part.to_path_buf(), reason })
    }

    /// Deletes what came.
    fn damaged(&self, part: &Path, what: String) -> Error {
        // If it cannot be deleted, its sum is wrong the next time too.
        let _ = fs::remove_file(part);
        Error::Damaged { file: self.file.to_owned(), url: self.url.clone(), what }
    }

    /// Brings all bytes, over as many connections as it takes.
    fn fill_part(&self, part: &Path, teller: &mut Teller) -> Result<Resumed, Error> {
        let unwritten = |reason| Error::Write { path: part.to_path_buf(), reason };
        let size = self.announced.size;
        let file = File::options().create(true).truncate(false).write(true).open(part).map_err(unwritten)?;
        let mut there = file.metadata().map_err(unwritten)?.len();
        if there > size {
            file.set_len(0).map_err(unwritten)?;
            there = 0;
        }
        let resumed = if there > 0 { Resumed::Yes } else { Resumed::No };
        let mut to = Part { file, there, path: part };
        teller.begin(self.file, size, there);
        let mut patience = Patience::default();
        while to.there < size {
            let before = to.there;
            match self.piece(&mut to, teller) {
                Ok(()) => {}
                Err(Failed::ForGood(error)) => return Err(error),
                Err(Failed::ForNow(later)) => {
                    if to.there > before {
                        patience.renew();
                    }
                    patience.wait(later, teller)?;
                }
            }
        }
        to.file.sync_all().map_err(unwritten)?;
        teller.reached(size);
        Ok(resumed)
    }

    /// What one connection brings.
    fn piece(&self, to: &mut Part<'_>, teller: &mut Teller) -> Result<(), Failed> {
        let size = self.announced.size;
        let later = |reason: String| Failed::ForNow(Later { url: self.url.clone(), reason, wait: None });
        let answer = self.client.ask(&self.url, Ask::From(to.there))?;
        let told = match answer.status().as_u16() {
            206 => {
                let range = text(answer.headers(), "content-range").unwrap_or_default();
                let (first, total) = first_and_total(range);
                if first != Some(to.there) {
                    to.empty()?;
                    return Err(later(format!("the server sent `{range}` and not what was asked for")));
                }
                total
            }
            416 => {
                to.empty()?;
                return Err(later("the server has no bytes beyond those that came".to_owned()));
            }
            // The whole file, whatever was asked for.
            _ => {
                to.empty()?;
                text(answer.headers(), "content-length").and_then(|length| length.parse().ok())
            }
        };
        if let Some(told) = told.filter(|&told| told != size) {
            return Err(self.damaged(to.path, format!("it has {told} bytes, announced were {size}")).into());
        }
        let mut body = answer.into_body().into_reader();
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = match body.read(&mut chunk) {
                Ok(0) if to.there < size => {
                    return Err(later(format!("the connection ended after {} of {size} bytes", to.there)));
                }
                Ok(0) => return Ok(()),
                Ok(read) => read,
                Err(reason) => {
                    return Err(later(format!("the connection broke after {} of {size} bytes ({reason})", to.there)));
                }
            };
            if to.there + read as u64 > size {
                return Err(self.damaged(to.path, format!("it has more than the {size} bytes announced")).into());
            }
            to.add(&chunk[..read])?;
            if to.there < size {
                teller.reached(to.there);
            }
        }
    }
}

/// Whether bytes of before were taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resumed {
    Yes,
    No,
}

/// The file that bytes go to.
struct Part<'a> {
    file: File,
    /// Its length.
    there: u64,
    path: &'a Path,
}

impl Part<'_> {
    fn add(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let written = self.file.seek(SeekFrom::Start(self.there)).and_then(|_| self.file.write_all(bytes));
        written.map_err(|reason| Error::Write { path: self.path.to_path_buf(), reason })?;
        self.there += bytes.len() as u64;
        Ok(())
    }

    fn empty(&mut self) -> Result<(), Error> {
        self.file.set_len(0).map_err(|reason| Error::Write { path: self.path.to_path_buf(), reason })?;
        self.there = 0;
        Ok(())
    }
}

/// Of `bytes FIRST-LAST/TOTAL`.
fn first_and_total(range: &str) -> (Option<u64>, Option<u64>) {
    let (bytes, total) = range.trim_start_matches("bytes").trim().split_once('/').unwrap_or_default();
    let first = bytes.split('-').next().and_then(|first| first.parse().ok());
    (first, total.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        assert_eq!(first_and_total("bytes 5-9/10"), (Some(5), Some(10)));
        assert_eq!(first_and_total("bytes 0-9/*"), (Some(0), None));
        assert_eq!(first_and_total("bytes */10"), (None, Some(10)));
        assert_eq!(first_and_total("junk"), (None, None));
    }

    #[test]
    fn announcements_are_read() {
        let read = |pairs: &[(&'static str, &'static str)]| {
            let headers = pairs.iter().map(|&(name, value)| {
                (ureq::http::HeaderName::from_static(name), ureq::http::HeaderValue::from_static(value))
            });
            Announced::read(&headers.collect()).map(|a| (a.etag, a.size)).map_err(str::to_owned)
        };
        assert_eq!(read(&[("etag", "W/\"ab-1\""), ("content-length", "7")]), Ok(("ab-1".into(), 7)));
        let linked = [("etag", "\"x\""), ("content-length", "1"), ("x-linked-etag", "\"ab\""), ("x-linked-size", "9")];
        assert_eq!(read(&linked), Ok(("ab".into(), 9)));
        assert!(read(&[("content-length", "7")]).is_err_and(|e| e.contains("ETag")));
        assert!(read(&[("etag", "\"../x\""), ("content-length", "7")]).is_err_and(|e| e.contains("name of a file")));
        assert!(read(&[("etag", "ab")]).is_err_and(|e| e.contains("size")));
    }
}
