//! Axes and their ticks.
//!
//! An axis is linear or logarithmic; a logarithmic one is drawn as the linear axis of log10 ("place" below), with ticks of
//! our own at powers of ten and, where few are in range, at round numbers between.

use std::ops::Range;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint};
use plotters::prelude::Ranged;

/// How numbers are laid out along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Evenly.
    Linear,
    /// By their logarithm.
    Log,
}

/// An axis.
#[derive(Debug, Clone)]
pub struct Axis {
    /// What it shows, with its unit.
    pub label: String,
    /// How.
    pub scale: Scale,
    /// Where it has ticks; empty = where they are round.
    pub ticks: Vec<f64>,
    /// The least range that it covers, whatever the points.
    pub cover: Option<(f64, f64)>,
}

impl Axis {
    /// With ticks at round numbers, as wide as the points need.
    pub fn new(label: impl Into<String>, scale: Scale) -> Self {
        Self { label: label.into(), scale, ticks: Vec::new(), cover: None }
    }
}

impl Scale {
    pub(super) fn place(self, value: f64) -> f64 {
        match self {
            Scale::Linear => value,
            // Zero has no place: log10 is -inf and the point is left out; so are negative values.
            Scale::Log => value.log10(),
        }
    }
    pub(super) fn back(self, place: f64) -> f64 {
        match self {
            Scale::Linear => place,
            Scale::Log => 10f64.powf(place),
        }
    }
}

/// Range and ticks of an axis, in places.
pub(super) struct Layout {
    range: Range<f64>,
    ticks: Vec<f64>,
}

impl Ranged for Layout {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;
    fn map(&self, place: &f64, (from, to): (i32, i32)) -> i32 {
        let share = (place - self.range.start) / (self.range.end - self.range.start);
        from + (share * f64::from(to - from)).round() as i32
    }
    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        // Light points would be lines between ticks.
        if hint.weight().allow_light_points() { Vec::new() } else { self.ticks.clone() }
    }
    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl Layout {
    pub(super) fn of(axis: &Axis, places: impl Iterator<Item = f64>) -> Self {
        let covered = axis.cover.into_iter().flat_map(|(low, high)| [low, high]);
        let covered = covered.map(|value| axis.scale.place(value)).filter(|place| place.is_finite());
        let (low, high) =
            places.chain(covered).fold((f64::MAX, f64::MIN), |(low, high), place| (low.min(place), high.max(place)));
        // Without points there is nothing to show; one value gets room around it.
        let (low, high) = if low > high { (0.0, 1.0) } else { (low, high) };
        let room = if high > low { 0.04 * (high - low) } else { 0.5 * high.abs().max(0.2) };
        let range = low - room..high + room;
        let ticks = if axis.ticks.is_empty() {
            match axis.scale {
                Scale::Linear => linear_ticks(&range),
                Scale::Log => log_ticks(&range),
            }
        } else {
            axis.ticks.iter().map(|&value| axis.scale.place(value)).collect()
        };
        Self { ticks: ticks.into_iter().filter(|tick| range.contains(tick)).collect(), range }
    }
}

/// Multiples of 1, 2 or 5 times a power of ten, four to nine of them.
fn linear_ticks(range: &Range<f64>) -> Vec<f64> {
    let rough = (range.end - range.start) / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0].into_iter().find(|m| m * power >= 0.8 * rough).unwrap_or(10.0) * power;
    let first = (range.start / step).ceil() as i64;
    (first..=(range.end / step).floor() as i64).map(|i| i as f64 * step).collect()
}

/// Powers of ten, every so many; between few of them also round numbers, so that there are three ticks at least.
fn log_ticks(range: &Range<f64>) -> Vec<f64> {
    let powers = range.start.floor() as i64..=range.end.ceil() as i64;
    let width = range.end - range.start;
    if width > 2.0 {
        let every = (width / 8.0).ceil().max(1.0) as i64;
        return powers.filter(|power| power % every == 0).map(|power| power as f64).collect();
    }
    let between: &[f64] = match width {
        w if w > 1.2 => &[1.0, 2.0, 5.0],
        w if w > 0.5 => &[1.0, 1.5, 2.0, 3.0, 5.0, 7.0],
        _ => &[1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0],
    };
    powers.flat_map(|power| between.iter().map(move |m| power as f64 + m.log10())).collect()
}

/// 0.05, 20, 1e-4: as few digits as tell the value.
pub(super) fn tick_label(value: f64) -> String {
    let size = value.abs();
    if size > 1e-12 && !(0.9e-2..0.99e5).contains(&size) {
        return format!("{value:.1e}").replace(".0e", "e");
    }
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// The same on an axis that is `span` wide: with more digits where ticks are closer than a thousandth.
pub(super) fn tick_label_within(value: f64, span: f64) -> String {
    let digits = (1.0 - (span / 5.0).log10()).ceil().clamp(0.0, 9.0) as usize;
    if digits <= 3 || value.abs() < 0.9e-2 {
        return tick_label(value);
    }
    format!("{value:.digits$}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within_the_axis() {
        assert_eq!(linear_ticks(&(0.0..30.0)), [0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0]);
        assert_eq!(log_ticks(&(-4.5..0.1)), [-5.0, -4.0, -3.0, -2.0, -1.0, 0.0, 1.0]);
        for range in [-1.3..-0.6, 0.1..0.4, -3.0..-1.5, 0.68..0.98, -0.1..2.2] {
            let inside = log_ticks(&range).into_iter().filter(|tick| range.contains(tick)).count();
            assert!((2..=9).contains(&inside), "{range:?}: {inside}");
        }
        let labels = [1e-4, 1.5e-4, 0.05, 0.5, 20.0, 1000.0, 0.0, 1e5].map(tick_label);
        let close = [0.9975, 0.998, 1.0].map(|value| tick_label_within(value, 0.0025));
        assert_eq!(close, ["0.9975", "0.998", "1"]);
        assert_eq!([0.5, 20.0, 1e-4].map(|value| tick_label_within(value, 3.0)), ["0.5", "20", "1e-4"]);
        assert_eq!(labels, ["1e-4", "1.5e-4", "0.05", "0.5", "20", "1000", "0", "1e5"]);
    }
}
