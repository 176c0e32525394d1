//! A JSON object whose values are asked for by kind.

use serde_json::{Map, Value};

use crate::config::ConfigError;

/// `null` is the same as absent, but for [`Fields::unless_null`].
#[derive(Debug)]
pub(crate) struct Fields<'a>(pub(crate) &'a Map<String, Value>);

impl<'a> Fields<'a> {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
    pub(crate) fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// What is there, of whatever kind.
    pub(crate) fn value(&self, key: &str) -> Option<&'a Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    fn of_kind<T>(
        &self,
        key: &str,
        expected: &'static str,
        pick: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        pick(value).map(Some).ok_or_else(|| {
            // A few words of a long value are enough to find it.
            let found: String = value.to_string().chars().take(60).collect();
            ConfigError::Kind { key: key.to_owned(), found, expected }
        })
    }

    pub(crate) fn size(&self, key: &str) -> Result<Option<usize>, ConfigError> {
        self.of_kind(key, "a whole number", size)
    }
    /// The first of two names of one thing that is there.
    pub(crate) fn either_size(&self, [name, other]: [&str; 2]) -> Result<Option<usize>, ConfigError> {
        Ok(match self.size(name)? {
            Some(size) => Some(size),
            None => self.size(other)?,
        })
    }
    pub(crate) fn needed(&self, key: &'static str) -> Result<usize, ConfigError> {
        self.size(key)?.ok_or(ConfigError::Missing { key })
    }
    pub(crate) fn float(&self, key: &str) -> Result<Option<f64>, ConfigError> {
        self.of_kind(key, "a number", Value::as_f64)
    }
    /// `default` if it is absent, nothing if it is null.
    pub(crate) fn unless_null(&self, key: &str, default: Option<f32>) -> Result<Option<f32>, ConfigError> {
        if self.has(key) { Ok(self.float(key)?.map(|x| x as f32)) } else { Ok(default) }
    }
    pub(crate) fn flag(&self, key: &str) -> Result<bool, ConfigError> {
        self.flag_or(key, false)
    }
    pub(crate) fn flag_or(&self, key: &str, default: bool) -> Result<bool, ConfigError> {
        Ok(self.of_kind(key, "true or false", Value::as_bool)?.unwrap_or(default))
    }
    pub(crate) fn text(&self, key: &str) -> Result<Option<&'a str>, ConfigError> {
        self.of_kind(key, "a string", Value::as_str)
    }
    pub(crate) fn texts(&self, key: &str) -> Result<Option<Vec<&'a str>>, ConfigError> {
        self.of_kind(key, "a list of strings", |v| v.as_array()?.iter().map(Value::as_str).collect())
    }
    pub(crate) fn sizes(&self, key: &str) -> Result<Option<Vec<usize>>, ConfigError> {
        self.of_kind(key, "a list of whole numbers", |v| v.as_array()?.iter().map(size).collect())
    }
    pub(crate) fn floats(&self, key: &str) -> Result<Option<Vec<f64>>, ConfigError> {
        self.of_kind(key, "a list of numbers", |v| v.as_array()?.iter().map(Value::as_f64).collect())
    }
    pub(crate) fn object(&self, key: &str) -> Result<Option<Fields<'a>>, ConfigError> {
        Ok(self.of_kind(key, "an object", Value::as_object)?.map(Fields))
    }

    /// A token id or a list of them; a negative one means none.
    pub(crate) fn ids(&self, key: &str) -> Result<Vec<u32>, ConfigError> {
        let id = |value: &Value| value.as_i64().filter(|&id| id <= i64::from(u32::MAX));
        let ids = self.of_kind(key, "a token id or a list of them", |value| match value {
            Value::Array(list) => list.iter().map(id).collect::<Option<Vec<i64>>>(),
            one => id(one).map(|id| vec![id]),
        })?;
        Ok(ids.unwrap_or_default().into_iter().filter_map(|id| u32::try_from(id).ok()).collect())
    }
}

fn size(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|n| usize::try_from(n).ok())
}
