//! Words of flags and configuration files, and what they stand for.

use loract_autograd::{Recompute, WarmStart};
use serde::Serializer;

use crate::config::MixedPrecision;
use crate::schedule::ScheduleKind;
use crate::tuning::FineTuneType;

/// A word for flags and files.
pub trait Named: Copy + 'static {
    /// Every value with its word.
    const NAMES: &'static [(&'static str, Self)];
}

impl Named for Recompute {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("none", Recompute::None),
        ("sublayer", Recompute::Sublayer),
        ("factored", Recompute::Factored),
        ("layer", Recompute::Layer),
    ];
}

impl Named for WarmStart {
    const NAMES: &'static [(&'static str, Self)] =
        &[("none", WarmStart::None), ("reuse", WarmStart::Reuse), ("refresh", WarmStart::Refresh)];
}

impl Named for MixedPrecision {
    const NAMES: &'static [(&'static str, Self)] =
        &[("no", MixedPrecision::No), ("bf16", MixedPrecision::Bf16), ("bf16-emulated", MixedPrecision::Bf16Emulated)];
}

impl Named for ScheduleKind {
    const NAMES: &'static [(&'static str, Self)] =
        &[("constant", ScheduleKind::Constant), ("linear", ScheduleKind::Linear), ("cosine", ScheduleKind::Cosine)];
}

impl Named for FineTuneType {
    const NAMES: &'static [(&'static str, Self)] =
        &[("lora", FineTuneType::Lora), ("full", FineTuneType::Full), ("head", FineTuneType::Head)];
}

/// Reads a word of `T`.
///
/// # Errors
/// A message with the known words.
pub fn parse_name<T: Named>(text: &str) -> Result<T, String> {
    let known: Vec<_> = T::NAMES.iter().map(|(name, _)| *name).collect();
    let found = T::NAMES.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
    found.ok_or_else(|| format!("`{text}` is none of {}", known.join(", ")))
}

/// Writes a value as its word.
pub(crate) fn as_name<T: Named + PartialEq, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(T::NAMES.iter().find(|(_, v)| v == value).map_or("", |(name, _)| name))
}
