//! Gradient cosines by layer (rows) and projection (columns): a table, and a heat map.

use std::collections::BTreeMap;

use anyhow::Result;
use loract_train::audit::Audit;
use plotters::prelude::*;

/// Width and height of a cell of the map, and its margins, in pixels.
const CELL: (i32, i32) = (72, 16);
const MARGIN: (i32, i32) = (60, 62);

/// Layer, projection and side of a LoRA parameter: `…layers.3.self_attn.q_proj.lora_A.weight` is (3, "q_proj A").
fn place(param: &str) -> Option<(usize, String)> {
    let parts: Vec<&str> = param.split('.').collect();
    let at = parts.iter().position(|part| *part == "layers")?;
    let layer = parts.get(at + 1)?.parse().ok()?;
    let side = parts.iter().position(|part| part.starts_with("lora_"))?;
    Some((layer, format!("{} {}", parts.get(side.checked_sub(1)?)?, parts[side].trim_start_matches("lora_"))))
}

/// Columns in the order of the checkpoint, and the cosines of each layer.
fn grid(audit: &Audit) -> (Vec<String>, BTreeMap<usize, Vec<Option<f64>>>) {
    let placed: Vec<_> = audit.params.iter().filter_map(|p| Some((place(&p.param)?, p.fidelity.cosine))).collect();
    let mut columns: Vec<String> = Vec::new();
    for ((_, column), _) in &placed {
        if !columns.contains(column) {
            columns.push(column.clone());
        }
    }
    let mut rows: BTreeMap<usize, Vec<Option<f64>>> = BTreeMap::new();
    for ((layer, column), cosine) in placed {
        let row = rows.entry(layer).or_insert_with(|| vec![None; columns.len()]);
        if let Some(at) = columns.iter().position(|c| *c == column) {
            row[at] = Some(cosine);
        }
    }
    (columns, rows)
}

/// The cosines as text.
pub fn table(audit: &Audit) -> String {
    let (columns, rows) = grid(audit);
    let mut text = format!("\n{:<6}", "layer");
    for column in &columns {
        text += &format!("{:>12}", column.replace("_proj", ""));
    }
    for (layer, row) in rows {
        text += &format!("\n{layer:<6}");
        for cosine in row {
            text += &cosine.map_or_else(|| format!("{:>12}", "-"), |c| format!("{c:>12.4}"));
        }
    }
    text
}

/// The cosines as a map: white is 1, the darker the farther (on a log scale of 1 − cosine, from 1e-4 to 1).
pub fn to_svg(title: &str, audit: &Audit) -> Result<String> {
    let (columns, rows) = grid(audit);
    let width = MARGIN.0 + CELL.0 * columns.len() as i32 + 20;
    let height = MARGIN.1 + CELL.1 * rows.len() as i32 + 34;
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (width.max(420) as u32, height as u32)).into_drawing_area();
        let wrong = |e: DrawingAreaErrorKind<_>| anyhow::anyhow!("the heat map could not be drawn: {e}");
        root.fill(&WHITE).map_err(wrong)?;
        let small = ("sans-serif", 11).into_font().color(&BLACK);
        root.draw_text(title, &("sans-serif", 15).into_font().color(&BLACK), (10, 8)).map_err(wrong)?;
        root.draw_text("layer", &small, (10, MARGIN.1 - 18)).map_err(wrong)?;
        for (at, column) in columns.iter().enumerate() {
            let x = MARGIN.0 + CELL.0 * at as i32 + 4;
            root.draw_text(column, &small, (x, MARGIN.1 - 18)).map_err(wrong)?;
        }
        for (line, (layer, row)) in rows.iter().enumerate() {
            let y = MARGIN.1 + CELL.1 * line as i32;
            root.draw_text(&layer.to_string(), &small, (24, y + 2)).map_err(wrong)?;
            for (at, cosine) in row.iter().enumerate() {
                let Some(cosine) = cosine else { continue };
                let x = MARGIN.0 + CELL.0 * at as i32;
                let shade = ((1.0 - cosine).clamp(1e-4, 1.0).log10() + 4.0) / 4.0;
                let tone = |least: f64| (255.0 - shade * (255.0 - least)) as u8;
                let colour = RGBColor(tone(160.0), tone(30.0), tone(40.0));
                let cell = [(x, y), (x + CELL.0 - 1, y + CELL.1 - 1)];
                root.draw(&Rectangle::new(cell, colour.filled())).map_err(wrong)?;
                let ink = if shade > 0.6 { WHITE } else { BLACK };
                let text = ("sans-serif", 10).into_font().color(&ink);
                root.draw_text(&format!("{cosine:.4}"), &text, (x + 16, y + 3)).map_err(wrong)?;
            }
        }
        let legend = "white: cosine 1 to the exact gradient; darker: farther, on a log scale of 1 − cosine";
        root.draw_text(legend, &small, (10, height - 20)).map_err(wrong)?;
        root.present().map_err(wrong)?;
    }
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn places_are_read_from_peft_names() {
        let name = "base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight";
        assert_eq!(place(name), Some((3, "q_proj A".to_owned())));
        assert_eq!(place("model.norm.weight"), None);
    }
}
