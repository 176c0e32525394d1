//! Metadata to be written: keys and values with the very types that llama.cpp asks for.

use loract_autograd::Bytes;

/// A value with its type in the file. llama.cpp refuses a value of another type, so the reader's
/// [`Value`](crate::weights::gguf::Value), which forgets how wide a number was stored, does not do.
#[derive(Debug, Clone)]
pub enum Entry {
    /// u32.
    U32(u32),
    /// f32.
    F32(f32),
    /// true or false.
    Bool(bool),
    /// UTF-8.
    Text(String),
    /// An array of strings.
    Texts(Vec<String>),
    /// An array of i32.
    I32s(Vec<i32>),
    /// An array of true and false.
    Bools(Vec<bool>),
    /// Type and value as they stand in another file.
    AsRead(Bytes),
}

impl Entry {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Entry::U32(n) => typed(out, 4, &n.to_le_bytes()),
            Entry::F32(x) => typed(out, 6, &x.to_le_bytes()),
            Entry::Bool(b) => typed(out, 7, &[u8::from(*b)]),
            Entry::Text(text) => {
                typed(out, 8, &[]);
                put_text(out, text);
            }
            Entry::Texts(texts) => {
                array(out, 8, texts.len());
                texts.iter().for_each(|text| put_text(out, text));
            }
            Entry::I32s(numbers) => {
                array(out, 5, numbers.len());
                out.extend(numbers.iter().flat_map(|n| n.to_le_bytes()));
            }
            Entry::Bools(values) => {
                array(out, 7, values.len());
                out.extend(values.iter().map(|&value| u8::from(value)));
            }
            Entry::AsRead(bytes) => out.extend(bytes.as_slice()),
        }
    }
}

fn typed(out: &mut Vec<u8>, type_id: u32, value: &[u8]) {
    out.extend(type_id.to_le_bytes());
    out.extend(value);
}

fn array(out: &mut Vec<u8>, type_id: u32, len: usize) {
    typed(out, 9, &type_id.to_le_bytes());
    out.extend((len as u64).to_le_bytes());
}

/// A string: its length, then UTF-8.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// Keys and values, in the order they are written; each key once.
#[derive(Debug, Clone, Default)]
pub struct Entries(Vec<(String, Entry)>);

impl Entries {
    /// Those of another file.
    pub fn as_read(entries: Vec<(String, Entry)>) -> Self {
        Self(entries)
    }

    /// Sets `key`; where it was, if it was there.
    pub fn set(&mut self, key: impl Into<String>, entry: Entry) {
        let key = key.into();
        match self.0.iter_mut().find(|(there, _)| *there == key) {
            Some((_, old)) => *old = entry,
            None => self.0.push((key, entry)),
        }
    }

    /// Leaves out every key but those that `keep` says.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.0.retain(|(key, _)| keep(key));
    }

    /// Their number, then each.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.extend((self.0.len() as u64).to_le_bytes());
        for (key, entry) in &self.0 {
            put_text(out, key);
            entry.put(out);
        }
    }
}
