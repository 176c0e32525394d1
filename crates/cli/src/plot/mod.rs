//! Charts as SVG text. [`Chart`]: a file of its own with title, two named axes, a line and a legend entry for each series;
//! [`Figure`]: a part of a page. [`Map`]: how often things of one kind are taken for others, a file of its own.
//!
//! Points that have no place on an axis ([`Axis`]) are left out.

mod axis;
mod figure;
mod map;
mod palette;

pub use axis::{Axis, Scale};
pub use figure::{Figure, INK, Mark};
pub use map::Map;
pub use palette::style_sheet;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use axis::{Layout, tick_label};
use palette::{COLOURS, GRID};

/// Width and height of a chart, and the width of its legend, in pixels.
const SIZE: (u32, u32) = (860, 480);
const LEGEND: u32 = 190;
/// Up to this many points a line's points are marked.
const MARKED: usize = 40;
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

#[cfg(test)]
mod tests {
    use super::*;

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
