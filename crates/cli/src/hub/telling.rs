//! What is told of a download on stderr, in the ways of a run ([`Telling`]).

use std::time::{Duration, Instant};

use serde_json::json;

use crate::output::{LiveLine, bytes, duration, message};
use crate::progress::{Telling, object};

/// How often a file under way is told of: on a terminal and to programs, and elsewhere.
const OFTEN: Duration = Duration::from_millis(250);
const SELDOM: Duration = Duration::from_secs(5);

/// Tells downloads.
#[derive(Debug)]
pub struct Teller {
    telling: Telling,
    line: LiveLine,
    file: String,
    size: u64,
    begun: Instant,
    /// Bytes that were there when it began.
    before: u64,
    told: Option<Instant>,
}

impl Teller {
    /// Has told nothing.
    pub fn new(telling: Telling) -> Self {
        let (line, file, begun) = (LiveLine::new(), String::new(), Instant::now());
        Self { telling, line, file, size: 0, begun, before: 0, told: None }
    }

    /// Something to know.
    pub fn note(&mut self, text: &str) {
        match self.telling {
            Telling::Json => object("note", json!({ "text": text })),
            Telling::Quiet if !text.starts_with("warning") => {}
            Telling::Line | Telling::Quiet => {
                self.line.end();
                message(text);
            }
        }
    }

    /// A file of `size` bytes, of which `there` are there.
    pub fn begin(&mut self, file: &str, size: u64, there: u64) {
        self.file = file.to_owned();
        self.size = size;
        self.before = there;
        self.begun = Instant::now();
        self.told = None;
        if there > 0 {
            self.note(&format!("{file}: going on after {}", bytes(there as usize)));
        }
    }

    /// It has so many bytes now.
    pub fn reached(&mut self, there: u64) {
        let whole = there == self.size;
        let apart = if self.line.is_terminal() || self.telling == Telling::Json { OFTEN } else { SELDOM };
        if !whole && self.told.get_or_insert_with(Instant::now).elapsed() < apart {
            return;
        }
        self.told = Some(Instant::now());
        match self.telling {
            Telling::Line => self.line(there, whole),
            Telling::Json => object("download", json!({ "file": self.file, "bytes": there, "of": self.size })),
            Telling::Quiet => {}
        }
    }

    fn line(&mut self, there: u64, whole: bool) {
        let seconds = self.begun.elapsed().as_secs_f64().max(1e-3);
        let speed = there.saturating_sub(self.before) as f64 / seconds;
        let [now, of, a_second] = [there as usize, self.size as usize, speed as usize].map(bytes);
        let left = (self.size - there.min(self.size)) as f64 / speed.max(1.0);
        let left = if whole { String::new() } else { format!("  left {}", duration(left)) };
        let text = format!("{}  {now} of {of}  {a_second}/s{left}", self.file);
        self.line.show(&text);
        if whole {
            self.line.end();
        }
    }
}
