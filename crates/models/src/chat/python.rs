//! What Python prints where Jinja in Rust would print something else: `None`, `True`, mappings and lists, and JSON as
//! `json.dumps` writes it.

use std::io;

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

/// `{{ value }}` as Jinja2 prints it: Python's `str`.
pub(super) fn printed(value: &Value) -> String {
    match value.kind() {
        ValueKind::Undefined => String::new(),
        ValueKind::String => value.to_string(),
        _ => repr(value),
    }
}

/// Python's `repr`.
fn repr(value: &Value) -> String {
    let items = |open: &str, close: &str| {
        let all: Vec<String> =
            value.try_iter().map(|items| items.map(|item| repr(&item)).collect()).unwrap_or_default();
        format!("{open}{}{close}", all.join(", "))
    };
    match value.kind() {
        ValueKind::None => "None".to_owned(),
        ValueKind::Bool => if value.is_true() { "True" } else { "False" }.to_owned(),
        ValueKind::String => quoted(&value.to_string()),
        ValueKind::Seq | ValueKind::Iterable => items("[", "]"),
        ValueKind::Map => {
            let keys = value.try_iter().map(Iterator::collect::<Vec<_>>).unwrap_or_default();
            let pair = |key: &Value| {
                format!("{}: {}", repr(key), value.get_item(key).map_or_else(|_| String::new(), |v| repr(&v)))
            };
            format!("{{{}}}", keys.iter().map(pair).collect::<Vec<_>>().join(", "))
        }
        _ => value.to_string(),
    }
}

/// A text as Python shows it: in single quotes, unless only double ones need no escape.
fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::from(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

/// `value | tojson`, `value | tojson(indent=4)`.
pub(super) fn tojson(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let refused = |what: String| Error::new(ErrorKind::InvalidOperation, what);
    let indent = options.get::<Option<usize>>("indent")?;
    if options.get::<Option<bool>>("ensure_ascii")? == Some(true) {
        return Err(refused("tojson(ensure_ascii=True) is not supported".to_owned()));
    }
    options.assert_all_used()?;
    let mut bytes = Vec::new();
    let written = match indent {
        Some(width) => {
            let indent = vec![b' '; width.min(64)];
            value.serialize(&mut Serializer::with_formatter(&mut bytes, PrettyFormatter::with_indent(&indent)))
        }
        None => value.serialize(&mut Serializer::with_formatter(&mut bytes, OneLine)),
    };
    written.map_err(|e| refused(format!("tojson: {e}")))?;
    String::from_utf8(bytes).map(Value::from).map_err(|e| refused(format!("tojson: {e}")))
}

/// `{"a": 1, "b": [1, 2]}`.
struct OneLine;

impl Formatter for OneLine {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }
    fn begin_object_key<W: ?Sized + io::Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }
    fn begin_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }
}
