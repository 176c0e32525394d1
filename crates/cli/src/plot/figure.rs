//! Figures of a page: no title and no legend, as the page has them, and no paper, so that they stand on light and dark.
//!
//! Lines, dots, stacked areas and bars on the same axes as [`super::Chart`]. They are drawn at twice the size at which they are
//! meant to be seen, as coordinates are whole numbers.

use anyhow::{Result, anyhow};
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::Stroke;
use super::axis::{Axis, Layout, Scale, tick_label, tick_label_within};
use super::palette::{COLOURS, GRID};

/// Width of a figure.
const WIDTH: u32 = 1040;
/// Height of a figure with a vertical axis of numbers.
const HEIGHT: u32 = 560;
/// Height of a row of bars, and of what is around the rows.
const ROW: u32 = 58;
const AROUND_ROWS: u32 = 110;
/// Up to this many points a line's points are marked.
const MARKED: usize = 60;
/// Of letters.
const FONT: i32 = 29;

/// The colour of the words, for what is no series.
pub const INK: usize = 6;

/// What is drawn. `colour` counts the colours of the palette, from the start again when they run out.
#[derive(Debug, Clone)]
pub enum Mark {
    /// A line through points, in the order of x.
    Line { colour: usize, points: Vec<(f64, f64)>, stroke: Stroke },
    /// A wider line, to be seen below one that runs along it.
    Under { colour: usize, points: Vec<(f64, f64)> },
    /// Dots.
    Dots { colour: usize, points: Vec<(f64, f64)> },
    /// A band: x, and y from and to.
    Area { colour: usize, points: Vec<(f64, f64, f64)> },
    /// A piece of a horizontal bar, in a row counted from the top.
    Bar { colour: usize, row: usize, from: f64, to: f64 },
    /// A word: above a point, or beside it where there is no room.
    Note { at: (f64, f64), text: String },
}

/// A figure.
#[derive(Debug, Clone)]
pub struct Figure {
    /// What it shows, for who cannot see it.
    pub label: String,
    /// Horizontal.
    pub x: Axis,
    /// Vertical; of bars only the rows count.
    pub y: Axis,
    /// Names of the rows of bars, from the top; empty for other figures.
    pub rows: Vec<String>,
    /// What is drawn, the last on top.
    pub marks: Vec<Mark>,
}

type Drawn<DB> = Result<(), DrawingAreaErrorKind<<DB as DrawingBackend>::ErrorType>>;

impl Figure {
    /// As SVG to be put into HTML.
    pub fn to_svg(&self) -> Result<String> {
        let height = if self.rows.is_empty() { HEIGHT } else { AROUND_ROWS + ROW * self.rows.len() as u32 };
        let mut svg = String::new();
        {
            let root = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
            let failed = |e: DrawingAreaErrorKind<std::io::Error>| anyhow!("figure `{}`: {e}", self.label);
            self.draw(&root).map_err(failed)?;
            root.present().map_err(failed)?;
        }
        // Within HTML the name space is known; the size is the page's to choose.
        let body = svg.split_once('>').map_or("", |(_, body)| body);
        Ok(format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">{body}", escaped(&self.label)))
    }

    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, plotters::coord::Shift>) -> Drawn<DB> {
        let points: Vec<(f64, f64)> = self.marks.iter().flat_map(Mark::extent).map(|p| self.placed(p)).collect();
        let places = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).filter(|place| place.is_finite());
        let y = if self.rows.is_empty() { self.y.clone() } else { row_axis(self.rows.len()) };
        let names = self.rows.iter().map(|name| name.chars().count()).max().unwrap_or(0) as u32;
        let left = if self.rows.is_empty() { 118 } else { 40 + names * 14 };
        let y_layout = Layout::of(&y, places(|p| p.1));
        let span = y_layout.range().end - y_layout.range().start;
        let mut chart = ChartBuilder::on(area)
            .margin_top(16)
            .margin_right(40)
            .margin_bottom(6)
            .x_label_area_size(84)
            .y_label_area_size(left.min(WIDTH / 2))
            .build_cartesian_2d(Layout::of(&self.x, places(|p| p.0)), y_layout)?;
        let row = |place: f64| self.rows.get((-place).round() as usize).cloned().unwrap_or_default();
        let number = |place: f64| match self.y.scale {
            Scale::Linear => tick_label_within(place, span),
            Scale::Log => tick_label(self.y.scale.back(place)),
        };
        chart
            .configure_mesh()
            .bold_line_style(GRID.stroke_width(2))
            .light_line_style(TRANSPARENT)
            .x_desc(&self.x.label)
            .axis_style(BLACK.stroke_width(2))
            .axis_desc_style(("sans-serif", FONT))
            .label_style(("sans-serif", FONT))
            .x_label_formatter(&|x| tick_label(self.x.scale.back(*x)))
            .y_label_formatter(&|y| if self.rows.is_empty() { number(*y) } else { row(*y) })
            .draw()?;
        let plot = chart.plotting_area();
        for mark in &self.marks {
            self.draw_mark(mark, plot)?;
        }
        Ok(())
    }

    fn draw_mark<DB: DrawingBackend>(
        &self,
        mark: &Mark,
        plot: &DrawingArea<DB, Cartesian2d<Layout, Layout>>,
    ) -> Drawn<DB> {
        let finite = |points: &[(f64, f64)]| -> Vec<(f64, f64)> {
            points.iter().map(|p| self.placed(*p)).filter(|(x, y)| x.is_finite() && y.is_finite()).collect()
        };
        let dots = |points: &[(f64, f64)], colour: &RGBColor| -> Drawn<DB> {
            points.iter().try_for_each(|point| plot.draw(&Circle::new(*point, 6, colour.filled())))
        };
        match mark {
            Mark::Line { colour, points, stroke } => {
                let (colour, points) = (&COLOURS[colour % COLOURS.len()], finite(points));
                match stroke {
                    Stroke::Solid => {
                        plot.draw(&PathElement::new(points.clone(), colour.stroke_width(4)))?;
                        dots(if points.len() <= MARKED { &points } else { &[] }, colour)
                    }
                    Stroke::Dashed => plot.draw(&DashedPathElement::new(points, 12, 9, colour.stroke_width(4))),
                }
            }
            Mark::Under { colour, points } => {
                let (colour, points) = (&COLOURS[colour % COLOURS.len()], finite(points));
                plot.draw(&PathElement::new(points.clone(), colour.stroke_width(9)))?;
                // Of a single point there is no line.
                dots(if points.len() == 1 { &points } else { &[] }, colour)
            }
            Mark::Dots { colour, points } => dots(&finite(points), &COLOURS[colour % COLOURS.len()]),
            Mark::Area { colour, points } => {
                let there = finite(&points.iter().map(|p| (p.0, p.2)).collect::<Vec<_>>());
                let back = finite(&points.iter().rev().map(|p| (p.0, p.1)).collect::<Vec<_>>());
                plot.draw(&Polygon::new([there, back].concat(), COLOURS[colour % COLOURS.len()].filled()))
            }
            Mark::Bar { colour, row, from, to } => {
                let (from, to) = (self.x.scale.place(*from), self.x.scale.place(*to));
                let corners = [(from, 0.36 - *row as f64), (to, -0.36 - *row as f64)];
                plot.draw(&Rectangle::new(corners, COLOURS[colour % COLOURS.len()].filled()))
            }
            Mark::Note { at, text } => {
                let (x, _) = plot.get_pixel_range();
                let place = self.placed(*at);
                let right = plot.map_coordinate(&place).0 > (x.start + x.end) / 2;
                let pos = Pos::new(if right { HPos::Right } else { HPos::Left }, VPos::Bottom);
                let style = ("sans-serif", FONT).into_text_style(plot).color(&BLACK).pos(pos);
                let aside = if right { (-6, -6) } else { (6, -6) };
                plot.draw(&(EmptyElement::at(place) + Text::new(text.clone(), aside, style)))
            }
        }
    }

    fn placed(&self, (x, y): (f64, f64)) -> (f64, f64) {
        (self.x.scale.place(x), self.y.scale.place(y))
    }
}

impl Mark {
    /// Points that the axes must cover.
    fn extent(&self) -> Vec<(f64, f64)> {
        match self {
            Mark::Line { points, .. } | Mark::Under { points, .. } | Mark::Dots { points, .. } => points.clone(),
            Mark::Area { points, .. } => points.iter().flat_map(|(x, from, to)| [(*x, *from), (*x, *to)]).collect(),
            Mark::Bar { row, from, to, .. } => [*from, *to].map(|x| (x, -(*row as f64))).to_vec(),
            Mark::Note { at, .. } => vec![*at],
        }
    }
}

/// Rows from the top, one apart.
fn row_axis(rows: usize) -> Axis {
    let ticks = (0..rows).map(|row| -(row as f64)).collect();
    Axis { ticks, cover: Some((0.5 - rows as f64, 0.5)), ..Axis::new("", super::Scale::Linear) }
}

/// For an attribute.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::super::Scale;
    use super::*;

    fn figure(rows: &[&str], marks: Vec<Mark>) -> Figure {
        let [x, y] = ["step", "loss"].map(|label| Axis::new(label, Scale::Linear));
        let rows = rows.iter().map(|row| (*row).to_owned()).collect();
        Figure { label: "a \"<b>\" & c".into(), x, y, rows, marks }
    }

    #[test]
    fn a_figure_names_no_address_and_escapes_words() -> Result<()> {
        let lone = Mark::Line { colour: 0, points: vec![(1.0, f64::NAN), (2.0, 1.0)], stroke: Stroke::Solid };
        let note = Mark::Note { at: (1.0, 1.0), text: "peak <1>".into() };
        let area = Mark::Area { colour: 13, points: vec![(0.0, 0.0, 1.0), (1.0, 0.0, 2.0)] };
        for marks in [vec![], vec![lone.clone()], vec![lone, note, area]] {
            let svg = figure(&[], marks).to_svg()?;
            assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
            assert!(svg.contains("aria-label=\"a &quot;&lt;b>&quot; &amp; c\""), "{svg}");
            assert!(!svg.contains("http") && !svg.contains("NaN") && !svg.contains("<1>"), "{svg}");
        }
        Ok(())
    }

    #[test]
    fn bars_are_as_long_as_their_numbers() -> Result<()> {
        let bar = |row, from, to| Mark::Bar { colour: row, row, from, to };
        let svg = figure(&["one", "two"], vec![bar(0, 0.0, 30.0), bar(1, 0.0, 10.0), bar(1, 10.0, 15.0)]).to_svg()?;
        let widths: Vec<f64> = svg
            .lines()
            .filter(|line| line.starts_with("<rect"))
            .filter_map(|line| line.split("width=\"").nth(1)?.split('"').next()?.parse().ok())
            .collect();
        let [one, two, three] = widths[..] else { anyhow::bail!("{svg}") };
        assert!((one - 3.0 * two).abs() <= 3.0 && (two - 2.0 * three).abs() <= 3.0, "{widths:?}");
        assert!(svg.contains("one") && svg.contains("two"));
        Ok(())
    }
}
