//! A hub on the loopback interface, with one repository, and with what can go wrong between it and us.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use serde_json::json;

use crate::harness::{Anyhow, Files};

/// The repository.
pub const ID: &str = "owner/tiny";

/// The commit that its branch `main` is at.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What a server does instead of what it should.
#[derive(Debug, Clone)]
pub enum Wrong {
    /// Answers this status with these header lines.
    Status(u16, &'static str),
    /// Closes the connection after so many bytes of the body.
    CutAfter(usize),
    /// Sends the whole file, whatever part was asked for.
    IgnoresRange,
    /// Sends the part from this byte on, whatever part was asked for.
    SendsFrom(usize),
    /// Announces so many bytes more than there are.
    Announces(usize),
    /// Sends other bytes, as many.
    OtherBytes,
    /// Sends nothing for so long, and then what it should.
    Waits(Duration),
    /// Sends this instead of a body.
    Body(String),
}

/// Requests of which so many go wrong.
#[derive(Debug)]
struct Fault {
    method: &'static str,
    part: String,
    times: usize,
    wrong: Wrong,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// In small letters.
    pub headers: BTreeMap<String, String>,
}

#[derive(Debug)]
struct State {
    files: Files,
    faults: Mutex<Vec<Fault>>,
    requests: Mutex<Vec<Request>>,
    /// The server of large files.
    storage: SocketAddr,
}

/// Two servers: the hub, and the storage of large files to which it sends on.
pub struct Hub {
    address: SocketAddr,
    state: Arc<State>,
}

impl Hub {
    /// With these files.
    pub fn start(files: Files) -> Anyhow<Self> {
        let (hub, storage) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
        let address = hub.local_addr()?;
        let (faults, requests) = (Mutex::default(), Mutex::default());
        let state = Arc::new(State { files, faults, requests, storage: storage.local_addr()? });
        for listener in [hub, storage] {
            let state = Arc::clone(&state);
            // They end with the tests.
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let state = Arc::clone(&state);
                    // Who asks may be gone before the answer.
                    std::thread::spawn(move || state.serve(&stream).unwrap_or_default());
                }
            });
        }
        Ok(Self { address, state })
    }

    /// For `HF_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next `times` requests by `method` whose path holds `part` go wrong.
    pub fn fault(&self, method: &'static str, part: &str, times: usize, wrong: Wrong) {
        locked(&self.state.faults).push(Fault { method, part: part.to_owned(), times, wrong });
    }

    /// What came since last asked.
    pub fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut locked(&self.state.requests))
    }

    /// The ETag of a file.
    pub fn etag(&self, name: &str) -> String {
        etag(name, &self.state.files[name])
    }
}

impl State {
    fn serve(&self, stream: &TcpStream) -> std::io::Result<()> {
        let Some(request) = read(stream)? else { return Ok(()) };
        locked(&self.requests).push(request.clone());
        let wrong = self.wrong(&request);
        let mut answer = match &wrong {
            Some(Wrong::Status(status, headers)) => Answer::of(*status, headers.to_string(), Vec::new()),
            _ => self.answer(&request, &wrong),
        };
        let mut sent = answer.body.len();
        match &wrong {
            Some(Wrong::CutAfter(bytes)) => sent = sent.min(*bytes),
            Some(Wrong::OtherBytes) => answer.body.iter_mut().for_each(|byte| *byte ^= 1),
            Some(Wrong::Waits(time)) => std::thread::sleep(*time),
            Some(Wrong::Body(text)) => {
                answer.body = text.clone().into_bytes();
                sent = answer.body.len();
            }
            _ => {}
        }
        let Answer { status, headers, body } = answer;
        let length = if headers.contains("Content-Length") {
            String::new()
        } else {
            format!("Content-Length: {}\r\n", body.len())
        };
        let mut to = stream;
        write!(to, "HTTP/1.1 {status} x\r\nConnection: close\r\n{length}{headers}\r\n")?;
        if request.method != "HEAD" {
            to.write_all(&body[..sent])?;
        }
        to.flush()
    }

    fn wrong(&self, request: &Request) -> Option<Wrong> {
        let mut faults = locked(&self.faults);
        let hits = |fault: &&mut Fault| {
            fault.times > 0 && fault.method == request.method && request.path.contains(&fault.part)
        };
        let fault = faults.iter_mut().find(hits)?;
        fault.times -= 1;
        Some(fault.wrong.clone())
    }

    fn answer(&self, request: &Request, wrong: &Option<Wrong>) -> Answer {
        let listing = |revision: &str| format!("/api/models/{ID}/revision/{revision}");
        if [listing("main"), listing(COMMIT)].contains(&request.path) {
            let siblings: Vec<_> = self.files.keys().map(|name| json!({ "rfilename": name })).collect();
            return Answer::of(
                200,
                String::new(),
                json!({ "id": ID, "sha": COMMIT, "siblings": siblings }).to_string().into(),
            );
        }
        let of = |revision: &str| request.path.strip_prefix(&format!("/{ID}/resolve/{revision}/"));
        if let Some(name) = of(COMMIT).or_else(|| of("main"))
            && let Some(bytes) = self.files.get(name)
        {
            let etag = etag(name, bytes);
            let more = if let Some(Wrong::Announces(more)) = wrong { *more } else { 0 };
            if is_large(name) {
                let headers = format!(
                    "X-Linked-Etag: \"{etag}\"\r\nX-Linked-Size: {}\r\nX-Repo-Commit: {COMMIT}\r\n\
                     Location: http://{}/storage/{name}\r\n",
                    bytes.len() + more,
                    self.storage
                );
                return Answer::of(302, headers, Vec::new());
            }
            let mut headers = format!("ETag: \"{etag}\"\r\nX-Repo-Commit: {COMMIT}\r\n");
            if request.method == "HEAD" {
                headers += &format!("Content-Length: {}\r\n", bytes.len() + more);
            }
            return part(request, wrong, bytes, headers);
        }
        match request.path.strip_prefix("/storage/").and_then(|name| self.files.get(name)) {
            Some(bytes) => part(request, wrong, bytes, String::new()),
            None => Answer::of(404, "X-Error-Code: RepoNotFound\r\n".into(), Vec::new()),
        }
    }
}

struct Answer {
    status: u16,
    /// Each with its line end.
    headers: String,
    body: Vec<u8>,
}

impl Answer {
    fn of(status: u16, headers: String, body: Vec<u8>) -> Self {
        Self { status, headers, body }
    }
}

/// The part of `bytes` that is asked for.
fn part(request: &Request, wrong: &Option<Wrong>, bytes: &[u8], headers: String) -> Answer {
    let range = request.headers.get("range").filter(|_| !matches!(wrong, Some(Wrong::IgnoresRange)));
    let first = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    let first = if let Some(Wrong::SendsFrom(first)) = wrong { Some(*first) } else { first };
    match first {
        None => Answer::of(200, headers, bytes.to_vec()),
        Some(first) if first >= bytes.len() => {
            Answer::of(416, format!("Content-Range: bytes */{}\r\n", bytes.len()), Vec::new())
        }
        Some(first) => {
            let range = format!("Content-Range: bytes {first}-{}/{}\r\n", bytes.len() - 1, bytes.len());
            Answer::of(206, headers + &range, bytes[first..].to_vec())
        }
    }
}

/// Files that the hub keeps in its storage of large files.
fn is_large(name: &str) -> bool {
    name.ends_with(".safetensors") || name.ends_with(".gguf")
}

/// Large: SHA-256 of the bytes; others: git's SHA-1.
fn etag(name: &str, bytes: &[u8]) -> String {
    let mut context = Context::new(if is_large(name) { &SHA256 } else { &SHA1_FOR_LEGACY_USE_ONLY });
    if !is_large(name) {
        context.update(format!("blob {}\0", bytes.len()).as_bytes());
    }
    context.update(bytes);
    context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read(stream: &TcpStream) -> std::io::Result<Option<Request>> {
    let mut lines = BufReader::new(stream).lines();
    let Some(first) = lines.next().transpose()? else { return Ok(None) };
    let mut words = first.split(' ').map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(None) };
    let mut headers = BTreeMap::new();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    Ok(Some(Request { method, path, headers }))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
