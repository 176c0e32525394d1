//! What a resumed run may be told otherwise than the run that it goes on with.
//!
//! A setting that is in none of the lists below must stay: the result could not be that of an uninterrupted run.

use std::fmt;

use serde_json::{Map, Value};

/// A resolved configuration by key.
pub(crate) type Settings = Map<String, Value>;

/// Where things are, how often they are looked at and kept, and on how many threads what comes out the same: free. Of the
/// model and the data the contents are compared apart; the adapter to start from is not read again.
const FREE: [&str; 11] = [
    "out",
    "model",
    "data",
    "eval_data",
    "adapter",
    "save_every",
    "keep_checkpoints",
    "compress_workers",
    "audit_every",
    "memory_limit",
    "tensorboard",
];

/// Free too, but with consequences that are told.
const TOLD: [(&str, &str); 3] = [
    ("threads", "sums are split otherwise, so the last bits of the result may differ from an uninterrupted run's"),
    ("eval_every", "evaluations from here on come at other steps"),
    ("early_stop", "the run may end at another step"),
];

/// A setting that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The setting, as its flag without dashes.
    pub key: String,
    /// In the run that is to go on.
    pub was: String,
    /// As given now.
    pub now: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} was {}, is now {}", self.key, self.was, self.now)
    }
}

/// What differs, by what it means.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Rule out that the run ends as an uninterrupted one.
    pub(crate) forbidden: Vec<Change>,
    /// Do not; each as a line to tell.
    pub(crate) notes: Vec<String>,
}

/// Compares two resolved configurations.
pub(crate) fn compare(was: &Settings, now: &Settings) -> Changes {
    let mut changes = Changes::default();
    let keys: std::collections::BTreeSet<&String> = was.keys().chain(now.keys()).collect();
    for key in keys {
        let (before, after) = (was.get(key), now.get(key));
        if before == after {
            continue;
        }
        let say = |value: Option<&Value>| value.map_or_else(|| "not given".to_owned(), Value::to_string);
        let change = Change { key: key.replace('_', "-"), was: say(before), now: say(after) };
        if FREE.contains(&key.as_str()) {
            changes.notes.push(change.to_string());
        } else if let Some((_, consequence)) = TOLD.iter().find(|(told, _)| told == key) {
            changes.notes.push(format!("{change}: {consequence}"));
        } else if key == "mixed_precision" && before.is_some() && after.is_some() {
            changes.notes.push(format!("{change}: the last bits of the result may differ from an uninterrupted run's"));
        } else if key == "steps" && may_be_longer(was, before, after) {
            changes.notes.push(change.to_string());
        } else {
            changes.forbidden.push(change);
        }
    }
    changes
}

/// A run with a constant learning rate is the beginning of every longer one; with the others each step's learning rate
/// depends on how many there are.
fn may_be_longer(was: &Settings, before: Option<&Value>, after: Option<&Value>) -> bool {
    let steps = |value: Option<&Value>| value.and_then(Value::as_u64);
    was.get("schedule").and_then(Value::as_str) == Some("constant") && steps(after) > steps(before)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_must_stay_and_what_need_not() -> Result<(), Box<dyn std::error::Error>> {
        let was: Settings = serde_json::from_value(
            json!({ "out": "a", "lr": 1e-3, "steps": 10, "schedule": "constant", "threads": 2, "seed": u64::MAX, "mixed_precision": "bf16" }),
        )?;
        let cases = [
            ("lr", json!(2e-3), Some("lr was 0.001, is now 0.002")),
            ("seed", json!(7), Some("seed was 18446744073709551615, is now 7")),
            ("seq_len", json!(7), Some("seq-len was not given, is now 7")),
            ("schedule", json!("linear"), Some("schedule was \"constant\", is now \"linear\"")),
            ("steps", json!(9), Some("steps was 10, is now 9")),
            ("steps", json!(11), None),
            ("threads", json!(1), None),
            ("mixed_precision", json!("bf16-emulated"), None),
            ("out", json!("b"), None),
        ];
        for (key, value, forbidden) in cases {
            let mut now = was.clone();
            now.insert(key.to_owned(), value);
            let changes = compare(&was, &now);
            let said: Vec<String> = changes.forbidden.iter().map(ToString::to_string).collect();
            assert_eq!(said, forbidden.into_iter().map(String::from).collect::<Vec<_>>(), "{key}");
            assert_eq!(changes.notes.len(), usize::from(forbidden.is_none()), "{key}");
        }
        assert_eq!(compare(&was, &was), Changes::default());
        let mut linear = was.clone();
        linear.insert("schedule".into(), json!("linear"));
        let mut longer = linear.clone();
        longer.insert("steps".into(), json!(11));
        assert_eq!(compare(&linear, &longer).forbidden.len(), 1);
        Ok(())
    }
}
