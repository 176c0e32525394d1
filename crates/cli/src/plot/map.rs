//! A square of counts as a picture: the darker a cell, the larger its share of the row. What lies off the diagonal is in another colour.

use anyhow::{Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::palette::{COLOURS, GRID};

/// About the width of all cells together, and the bounds of one, in pixels.
const WIDTH: i32 = 720;
const CELL: (i32, i32) = (1, 46);
/// From this size of a cell on names are written, and from this one on counts.
const NAMED: i32 = 11;
const COUNTED: i32 = 26;
/// Longer names are cut.
const LETTERS: usize = 18;
/// Around the cells: left and above for names, right and below.
const MARGIN: (i32, i32) = (150, 132);
const AROUND: i32 = 24;

/// A square of counts.
#[derive(Debug, Clone)]
pub struct Map {
    /// What it shows.
    pub title: String,
    /// What a row is.
    pub rows: String,
    /// What a column is.
    pub columns: String,
    /// Names of the rows, which are those of the columns.
    pub names: Vec<String>,
    /// By row and column.
    pub counts: Vec<Vec<usize>>,
}

impl Map {
    /// The picture as the text of an SVG file.
    pub fn to_svg(&self) -> Result<String> {
        let cell = (WIDTH / self.names.len().max(1) as i32).clamp(CELL.0, CELL.1);
        let side = cell * self.names.len() as i32;
        let (width, height) = (MARGIN.0 + side.max(260) + AROUND, MARGIN.1 + side + AROUND);
        let mut svg = String::new();
        {
            let root = SVGBackend::with_string(&mut svg, (width as u32, height as u32)).into_drawing_area();
            let failed = |e: DrawingAreaErrorKind<std::io::Error>| anyhow!("picture `{}`: {e}", self.title);
            root.fill(&WHITE).map_err(failed)?;
            self.draw_words(&root, cell).map_err(failed)?;
            self.draw_cells(&root, cell).map_err(failed)?;
            root.present().map_err(failed)?;
        }
        Ok(svg)
    }

    fn draw_cells<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, plotters::coord::Shift>,
        cell: i32,
    ) -> Result<(), DrawingAreaErrorKind<DB::ErrorType>> {
        let side = cell * self.names.len() as i32;
        let frame = [(MARGIN.0 - 1, MARGIN.1 - 1), (MARGIN.0 + side, MARGIN.1 + side)];
        area.draw(&Rectangle::new(frame, GRID))?;
        for (row, counts) in self.counts.iter().enumerate() {
            let all: usize = counts.iter().sum();
            for (column, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                let (x, y) = (MARGIN.0 + cell * column as i32, MARGIN.1 + cell * row as i32);
                let share = count as f64 / all as f64;
                // A single one of a thousand shall be seen.
                let depth = 0.15 + 0.85 * share;
                let RGBColor(r, g, b) = COLOURS[usize::from(row != column)];
                let tone = |full: u8| (255.0 - depth * (255.0 - f64::from(full))) as u8;
                let colour = RGBColor(tone(r), tone(g), tone(b));
                let inner = (cell - i32::from(cell > 3)).max(1);
                area.draw(&Rectangle::new([(x, y), (x + inner, y + inner)], colour.filled()))?;
                if cell >= COUNTED {
                    let ink = if depth > 0.6 { WHITE } else { BLACK };
                    let centred = Pos::new(HPos::Center, VPos::Center);
                    let style = ("sans-serif", 11).into_text_style(area).color(&ink).pos(centred);
                    area.draw(&Text::new(count.to_string(), (x + cell / 2, y + cell / 2), style))?;
                }
            }
        }
        Ok(())
    }

    fn draw_words<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, plotters::coord::Shift>,
        cell: i32,
    ) -> Result<(), DrawingAreaErrorKind<DB::ErrorType>> {
        let style = |size: i32| ("sans-serif", size).into_text_style(area).color(&BLACK);
        area.draw(&Text::new(self.title.as_str(), (10, 8), style(15)))?;
        area.draw(&Text::new(self.rows.as_str(), (10, MARGIN.1 - 18), style(12)))?;
        area.draw(&Text::new(self.columns.as_str(), (MARGIN.0, 32), style(12)))?;
        if cell < NAMED {
            return Ok(());
        }
        for (at, name) in self.names.iter().enumerate() {
            let name: String = match name.chars().count() > LETTERS {
                true => name.chars().take(LETTERS - 1).chain(['…']).collect(),
                false => name.clone(),
            };
            let middle = cell * at as i32 + cell / 2;
            let right = style(11).pos(Pos::new(HPos::Right, VPos::Center));
            area.draw(&Text::new(name.clone(), (MARGIN.0 - 6, MARGIN.1 + middle), right))?;
            let upwards = style(11).transform(FontTransform::Rotate270).pos(Pos::new(HPos::Left, VPos::Center));
            area.draw(&Text::new(name, (MARGIN.0 + middle, MARGIN.1 - 6), upwards))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_count_and_name_is_there_as_far_as_they_can_be_read() -> Result<()> {
        let map = |classes: usize| Map {
            title: "a < b".into(),
            rows: "class".into(),
            columns: "taken for".into(),
            names: (0..classes).map(|class| format!("name-{class}")).collect(),
            counts: (0..classes)
                .map(|row| (0..classes).map(|column| usize::from(row == column) * 77).collect())
                .collect(),
        };
        let few = map(3).to_svg()?;
        for (word, times) in [("a &lt; b", 1), ("name-2", 2), (">\n77\n<", 3), ("taken for", 1)] {
            assert_eq!(few.matches(word).count(), times, "{word}: {few}");
        }
        let many = map(800).to_svg()?;
        assert!(!many.contains("name-2") && many.matches("<rect").count() > 800);
        assert!(map(0).to_svg()?.trim_end().ends_with("</svg>"));
        Ok(())
    }
}
