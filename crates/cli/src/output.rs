//! What the user sees: messages on stderr, numbers on stdout.

use std::io::{ErrorKind, IsTerminal, Write};

/// A line on stderr.
pub fn message(text: &str) {
    // A closed stderr is no reason to stop.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Lines on stderr of which each is written over by the next where there is a terminal.
#[derive(Debug)]
pub struct LiveLine {
    terminal: bool,
    open: bool,
}

impl LiveLine {
    /// None yet.
    pub fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), open: false }
    }

    /// Whether there is a terminal.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// The next of them.
    pub fn show(&mut self, text: &str) {
        if !self.terminal {
            return message(text);
        }
        let mut stderr = std::io::stderr();
        let _ = write!(stderr, "\r\x1b[K{text}").and_then(|()| stderr.flush());
        self.open = true;
    }

    /// What is said next does not write over the last.
    pub fn end(&mut self) {
        if std::mem::take(&mut self.open) {
            message("");
        }
    }
}

/// A line on stdout.
pub fn line(text: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{text}")
}

/// Words on stdout as they come, without an end of line.
pub fn words(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

/// Whether a command ended because whoever read its stdout has had enough, which is no failure of its own.
pub fn has_no_reader(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// Bytes with a unit, three digits.
pub fn bytes(count: usize) -> String {
    let count = count as f64;
    let (unit, name) = match count {
        c if c >= 1e9 => (1e9, "GB"),
        c if c >= 1e6 => (1e6, "MB"),
        c if c >= 1e3 => (1e3, "kB"),
        _ => (1.0, "B"),
    };
    let value = count / unit;
    if value >= 100.0 || unit == 1.0 { format!("{value:.0} {name}") } else { format!("{value:.1} {name}") }
}

/// 75 s as 1m15s.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        s if s >= 3600 => format!("{}h{:02}m", s / 3600, s % 3600 / 60),
        s if s >= 60 => format!("{}m{:02}s", s / 60, s % 60),
        s => format!("{s}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_read_well() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1_500), "1.5 kB");
        assert_eq!(bytes(553_000_000), "553 MB");
        assert_eq!(bytes(6_100_000_000), "6.1 GB");
        assert_eq!([duration(5.4), duration(75.0), duration(7260.0)], ["5s", "1m15s", "2h01m"]);
    }
}
