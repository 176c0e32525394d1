//! Small line charts as SVG text: title, two named axes, a line and a legend entry for each series.
//!
//! Axes are linear or logarithmic; a logarithmic one is drawn as the linear axis of log10, with ticks of our own at 1, 2, 5
//! times powers of ten (or powers alone where the range is wide). Points that have no place on an axis are left out.

use std::ops::Range;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Width and height of a chart, and the width of its legend, in pixels.
const SIZE: (u32, u32) = (860, 480);
const LEGEND: u32 = 190;
/// Up to this many points a line's points are marked.
const MARKED: usize = 40;
/// Eight colours that stay apart for the colour-blind (Okabe and Ito, 2008; yellow darkened), and four more.
const COLOURS: [RGBColor; 12] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(0, 0, 0),
    RGBColor(170, 150, 0),
    RGBColor(120, 120, 120),
    RGBColor(120, 60, 20),
    RGBColor(90, 60, 170),
    RGBColor(190, 20, 60),
];
const GRID: RGBColor = RGBColor(225, 225, 225);

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

/// How a line is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stroke {
    /// Throughout.
    Solid,
    /// In dashes: a bound, not a contestant.
    Dashed,
}

/// A series of points.
#[derive(Debug, Clone)]
pub struct Line {
    /// Its legend entry.
    pub name: String,
    /// (x, y), in the order of x.
    pub points: Vec<(f64, f64)>,
    /// How it is drawn.
    pub stroke: Stroke,
}

/// A chart.
#[derive(Debug, Clone)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// Horizontal.
    pub x: Axis,
    /// Vertical.
    pub y: Axis,
    /// Its lines, in the order of the legend.
    pub lines: Vec<Line>,
}

impl Chart {
    /// The chart as the text of an SVG file.
    pub fn to_svg(&self) -> Result<String> {
        let mut svg = String::new();
        {
            let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
            let failed = |e: DrawingAreaErrorKind<std::io::Error>| anyhow!("chart `{}`: {e}", self.title);
            root.fill(&WHITE).map_err(failed)?;
            let (plot, legend) = root.split_horizontally(SIZE.0 - LEGEND);
            self.draw_plot(&plot).map_err(failed)?;
            self.draw_legend(&legend).map_err(failed)?;
            root.present().map_err(failed)?;
        }
        Ok(svg)
    }

    fn draw_plot<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
    ) -> Result<(), DrawingAreaErrorKind<DB::ErrorType>> {
        let lines: Vec<Vec<(f64, f64)>> = self.lines.iter().map(|line| self.placed(&line.points)).collect();
        let x = Layout::of(&self.x, lines.iter().flatten().map(|p| p.0));
        let y = Layout::of(&self.y, lines.iter().flatten().map(|p| p.1));
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, ("sans-serif", 17))
            .margin(10)
            .x_label_area_size(46)
            .y_label_area_size(68)
            .build_cartesian_2d(x, y)?;
        chart
            .configure_mesh()
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .x_desc(&self.x.label)
            .y_desc(&self.y.label)
            .axis_desc_style(("sans-serif", 14))
            .label_style(("sans-serif", 13))
            .x_label_formatter(&|x| tick_label(self.x.scale.back(*x)))
            .y_label_formatter(&|y| tick_label(self.y.scale.back(*y)))
            .draw()?;
        for (index, (line, points)) in self.lines.iter().zip(lines).enumerate() {
            let colour = COLOURS[index % COLOURS.len()];
            let marks =
                if points.len() <= MARKED && line.stroke == Stroke::Solid { points.clone() } else { Vec::new() };
            match line.stroke {
                Stroke::Solid => chart.draw_series(LineSeries::new(points, colour.stroke_width(2)))?,
                Stroke::Dashed => chart.draw_series(DashedLineSeries::new(points, 6, 4, colour.stroke_width(2)))?,
            };
            chart.draw_series(marks.into_iter().map(|point| Circle::new(point, 3, colour.filled())))?;
        }
        Ok(())
    }

    fn draw_legend<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
    ) -> Result<(), DrawingAreaErrorKind<DB::ErrorType>> {
        let style = ("sans-serif", 13).into_text_style(area).pos(Pos::new(HPos::Left, VPos::Center));
        for (index, line) in self.lines.iter().enumerate() {
            let colour = COLOURS[index % COLOURS.len()].stroke_width(2);
            let at = 50 + 21 * index as i32;
            let sections = if line.stroke == Stroke::Solid { vec![(0, 26)] } else { vec![(0, 6), (10, 16), (20, 26)] };
            for (from, to) in sections {
                area.draw(&PathElement::new([(from, at), (to, at)], colour))?;
            }
            area.draw(&Text::new(line.name.as_str(), (33, at), style.clone()))?;
        }
        Ok(())
    }

    /// The points that have a place on both axes, there.
    fn placed(&self, points: &[(f64, f64)]) -> Vec<(f64, f64)> {
        let place = |&(x, y): &(f64, f64)| (self.x.scale.place(x), self.y.scale.place(y));
        points.iter().map(place).filter(|(x, y)| x.is_finite() && y.is_finite()).collect()
    }
}

impl Scale {
    fn place(self, value: f64) -> f64 {
        match self {
            Scale::Linear => value,
            // Zero has no place: log10 is -inf and the point is left out; so are negative values.
            Scale::Log => value.log10(),
        }
    }
    fn back(self, place: f64) -> f64 {
        match self {
            Scale::Linear => place,
            Scale::Log => 10f64.powf(place),
        }
    }
}

/// Range and ticks of an axis, in places.
struct Layout {
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
    fn of(axis: &Axis, places: impl Iterator<Item = f64>) -> Self {
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
fn tick_label(value: f64) -> String {
    let size = value.abs();
    if size > 1e-12 && (size < 0.9e-2 || size >= 0.99e5) {
        return format!("{value:.0e}");
    }
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
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
        let labels = [1e-4, 0.05, 0.5, 20.0, 1000.0, 0.0, 1e5].map(tick_label);
        assert_eq!(labels, ["1e-4", "0.05", "0.5", "20", "1000", "0", "1e5"]);
    }

    #[test]
    fn points_without_a_place_are_left_out_and_words_are_there() -> Result<()> {
        let line =
            |points: &[(f64, f64)]| Line { name: "a < b & c".into(), points: points.to_vec(), stroke: Stroke::Solid };
        for points in [&[][..], &[(1.0, 1.0)], &[(1.0, 0.0), (2.0, f64::NAN)], &[(1.0, 1e-9), (2.0, 1e9)]] {
            let (x, y) = (Axis::new("rank k", Scale::Linear), Axis::new("time (ms)", Scale::Log));
            let svg = Chart { title: "title".into(), x, y, lines: vec![line(points)] }.to_svg()?;
            assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
            for word in ["title", "rank k", "time (ms)", "a &lt; b &amp; c"] {
                assert!(svg.contains(word), "{word}: {svg}");
            }
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
        Ok(())
    }
}
