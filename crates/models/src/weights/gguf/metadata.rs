//! GGUF metadata: every value type, arrays included, widened to the largest type of its kind.

use std::collections::BTreeMap;
use std::ops::Range;

use super::GgufError;
use super::cursor::Cursor;

/// Arrays of arrays deeper than this are refused (none are known; a damaged file must not exhaust the stack).
const DEEPEST: usize = 4;

/// A metadata value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// u8, u16, u32, u64.
    Unsigned(u64),
    /// i8, i16, i32, i64.
    Signed(i64),
    /// f32 (exactly), f64.
    Float(f64),
    /// One byte, not zero for true.
    Bool(bool),
    /// UTF-8.
    Text(String),
    /// Values of one type.
    Array(Array),
}

/// An array; by kind, so that a large one costs at most eight times its bytes in the file.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the kinds of Value")]
pub enum Array {
    Unsigned(Vec<u64>),
    Signed(Vec<i64>),
    Float(Vec<f64>),
    Bool(Vec<bool>),
    Text(Vec<String>),
    Nested(Vec<Array>),
}

/// The metadata of a file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata {
    values: BTreeMap<String, Value>,
    /// Where type and value of each key are, in the order of the file.
    places: Vec<(String, Range<usize>)>,
}

impl Metadata {
    /// Reads `pairs` keys and values.
    pub(super) fn read(cursor: &mut Cursor<'_>, pairs: u64) -> Result<Self, GgufError> {
        let mut values = BTreeMap::new();
        let mut places = Vec::new();
        for _ in 0..pairs {
            let key = cursor.text("a metadata key")?;
            let start = cursor.at() as usize;
            let what = format!("the value of {key}");
            let value = match cursor.u32(&what)? {
                8 => Value::Text(cursor.text(&what)?),
                9 => Value::Array(array(cursor, &what, 1)?),
                // A single number is an array of one.
                type_id => match numbers(cursor, type_id, 1, &what)? {
                    Array::Unsigned(v) => Value::Unsigned(v[0]),
                    Array::Signed(v) => Value::Signed(v[0]),
                    Array::Float(v) => Value::Float(v[0]),
                    Array::Bool(v) => Value::Bool(v[0]),
                    other => Value::Array(other),
                },
            };
            if values.insert(key.clone(), value).is_some() {
                return Err(GgufError::KeyTwice { key });
            }
            places.push((key, start..cursor.at() as usize));
        }
        Ok(Self { values, places })
    }

    /// Where type and value of each key are in the file, in its order.
    pub(super) fn places(&self) -> &[(String, Range<usize>)] {
        &self.places
    }

    /// Whether there is such a key.
    pub fn contains(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }
    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    fn of_kind<'a, T>(
        &'a self,
        key: &str,
        expected: &'static str,
        pick: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, GgufError> {
        let Some(value) = self.values.get(key) else { return Ok(None) };
        pick(value).map(Some).ok_or_else(|| GgufError::Kind { key: key.to_owned(), expected })
    }

    /// A number that is whole and not negative, whatever integer type it is stored in.
    ///
    /// # Errors
    /// [`GgufError::Kind`] if the value is of another kind.
    pub fn unsigned(&self, key: &str) -> Result<Option<u64>, GgufError> {
        self.of_kind(key, "a whole number", |value| match value {
            Value::Unsigned(n) => Some(*n),
            Value::Signed(n) => u64::try_from(*n).ok(),
            _ => None,
        })
    }

    /// As [`Self::unsigned`], in the machine's type.
    ///
    /// # Errors
    /// As [`Self::unsigned`].
    pub fn size(&self, key: &str) -> Result<Option<usize>, GgufError> {
        let too_large = |_| GgufError::Kind { key: key.to_owned(), expected: "a size of this machine" };
        self.unsigned(key)?.map(usize::try_from).transpose().map_err(too_large)
    }

    /// A float that is a number.
    ///
    /// # Errors
    /// [`GgufError::Kind`] if the value is of another kind, infinite or not a number.
    pub fn float(&self, key: &str) -> Result<Option<f64>, GgufError> {
        self.of_kind(key, "a finite float", |value| match value {
            Value::Float(x) => Some(*x).filter(|x| x.is_finite()),
            _ => None,
        })
    }

    /// A truth value.
    ///
    /// # Errors
    /// [`GgufError::Kind`] if the value is of another kind.
    pub fn bool(&self, key: &str) -> Result<Option<bool>, GgufError> {
        self.of_kind(key, "true or false", |value| match value {
            Value::Bool(b) => Some(*b),
            _ => None,
        })
    }

    /// An array of truth values.
    ///
    /// # Errors
    /// [`GgufError::Kind`] if the value is of another kind.
    pub fn bools(&self, key: &str) -> Result<Option<&[bool]>, GgufError> {
        self.of_kind(key, "an array of true and false", |value| match value {
            Value::Array(Array::Bool(values)) => Some(values.as_slice()),
            _ => None,
        })
    }

    /// A string.
    ///
    /// # Errors
    /// [`GgufError::Kind`] if the value is of another kind.
    pub fn text(&self, key: &str) -> Result<Option<&str>, GgufError> {
        self.of_kind(key, "a string", |value| match value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// An array of strings.
    ///
    /// # Errors
    /// [`GgufError::Kind`] if the value is of another kind.
    pub fn texts(&self, key: &str) -> Result<Option<&[String]>, GgufError> {
        self.of_kind(key, "an array of strings", |value| match value {
            Value::Array(Array::Text(texts)) => Some(texts.as_slice()),
            _ => None,
        })
    }

    /// An array of whole numbers.
    ///
    /// # Errors
    /// [`GgufError::Kind`] if the value is of another kind.
    pub fn integers(&self, key: &str) -> Result<Option<Vec<i64>>, GgufError> {
        self.of_kind(key, "an array of whole numbers", |value| match value {
            Value::Array(Array::Signed(numbers)) => Some(numbers.clone()),
            Value::Array(Array::Unsigned(numbers)) => {
                numbers.iter().map(|&n| i64::try_from(n).ok()).collect::<Option<Vec<i64>>>()
            }
            _ => None,
        })
    }
}

/// The values of an array whose type and length come next.
fn array(cursor: &mut Cursor<'_>, what: &str, depth: usize) -> Result<Array, GgufError> {
    let type_id = cursor.u32(what)?;
    let len = cursor.u64(what)?;
    match type_id {
        8 => {
            let mut texts = Vec::new();
            for _ in 0..len {
                texts.push(cursor.text(what)?);
            }
            Ok(Array::Text(texts))
        }
        9 if depth == DEEPEST => Err(GgufError::TooDeep { what: what.to_owned() }),
        9 => {
            let mut arrays = Vec::new();
            for _ in 0..len {
                arrays.push(array(cursor, what, depth + 1)?);
            }
            Ok(Array::Nested(arrays))
        }
        _ => numbers(cursor, type_id, len, what),
    }
}

/// `len` numbers of a type of fixed size.
fn numbers(cursor: &mut Cursor<'_>, type_id: u32, len: u64, what: &str) -> Result<Array, GgufError> {
    let bytes: u64 = match type_id {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        10..=12 => 8,
        found => return Err(GgufError::ValueType { what: what.to_owned(), found }),
    };
    let stored = cursor.take(len.saturating_mul(bytes), what)?;
    let words = stored.chunks_exact(bytes as usize).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    });
    Ok(match type_id {
        0 | 2 | 4 | 10 => Array::Unsigned(words.collect()),
        1 => Array::Signed(words.map(|w| i64::from(w as i8)).collect()),
        3 => Array::Signed(words.map(|w| i64::from(w as i16)).collect()),
        5 => Array::Signed(words.map(|w| i64::from(w as i32)).collect()),
        11 => Array::Signed(words.map(|w| w as i64).collect()),
        6 => Array::Float(words.map(|w| f64::from(f32::from_bits(w as u32))).collect()),
        12 => Array::Float(words.map(f64::from_bits).collect()),
        _ => Array::Bool(words.map(|w| w != 0).collect()),
    })
}
