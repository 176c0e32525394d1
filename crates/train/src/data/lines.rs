//! JSONL: one object a line; blank lines are passed over.

use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value};

use super::{SeeRow, kind};
use crate::error::Error;

/// Shows `row` every object with its line.
pub(super) fn each(path: &Path, mut file: impl Read, row: &mut SeeRow<'_>) -> Result<(), Error> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|reason| Error::Read { path: path.to_path_buf(), reason })?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    for (index, line) in bytes.split(|&b| b == b'\n').enumerate() {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        object(line).and_then(|object| row(index + 1, &object)).map_err(|what| Error::Line {
            path: path.to_path_buf(),
            line: index + 1,
            what,
        })?;
    }
    Ok(())
}

fn object(line: &[u8]) -> Result<Map<String, Value>, String> {
    let line = std::str::from_utf8(line)
        .map_err(|e| format!("not UTF-8 (byte {} of the line); convert the file to UTF-8", e.valid_up_to() + 1))?;
    let value: Value = serde_json::from_str(line).map_err(|e| {
        // The parser counts lines from this one.
        let words = e.to_string();
        let words = words.split(" at line ").next().unwrap_or_default();
        format!("not a JSON value: {words} at column {}; expected one JSON object a line", e.column())
    })?;
    match value {
        Value::Object(object) => Ok(object),
        other => Err(format!("expected a JSON object, found {}", kind(&other))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_object_is_named() {
        for (line, want) in [
            ("{", "not a JSON value: EOF while parsing an object at column 1"),
            ("[1]", "expected a JSON object, found a list"),
            ("\"a\"", "found a text"),
        ] {
            let got = object(line.as_bytes()).err().unwrap_or_default();
            assert!(got.contains(want), "{line}: {got:?} lacks {want:?}");
        }
        assert!(object(b"{\"a\": \xe9}").is_err_and(|e| e.contains("not UTF-8 (byte 7 of the line)")));
    }
}
