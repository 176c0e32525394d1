//! Colours of series, on light paper and on dark.

use plotters::style::RGBColor;

/// Eight colours that stay apart for the colour-blind (Okabe and Ito, 2008; yellow darkened), and four more.
pub const COLOURS: [RGBColor; 12] = [
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

/// The same hues, light enough for dark paper.
const ON_DARK: [RGBColor; 12] = [
    RGBColor(74, 163, 223),
    RGBColor(240, 138, 75),
    RGBColor(56, 196, 154),
    RGBColor(224, 154, 194),
    RGBColor(130, 205, 245),
    RGBColor(242, 188, 70),
    RGBColor(232, 232, 232),
    RGBColor(205, 190, 70),
    RGBColor(150, 150, 150),
    RGBColor(196, 134, 92),
    RGBColor(166, 142, 236),
    RGBColor(240, 100, 130),
];

/// Lines behind a chart.
pub const GRID: RGBColor = RGBColor(225, 225, 225);
const GRID_ON_DARK: RGBColor = RGBColor(58, 62, 68);

/// Rules of a style sheet: `--c0` … `--c11` for a page's own use, and on dark paper those colours in its charts too.
pub fn style_sheet() -> String {
    let mut light = String::new();
    let mut dark = String::new();
    let mut charts = String::new();
    let mut on_dark = |from: RGBColor, to: &str| {
        let from = hex(from);
        charts += &format!("svg [stroke=\"{from}\"]{{stroke:{to}}}svg [fill=\"{from}\"]{{fill:{to}}}");
    };
    for (at, (colour, lighter)) in COLOURS.iter().zip(ON_DARK).enumerate() {
        light += &format!("--c{at}:{};", hex(*colour));
        dark += &format!("--c{at}:{};", hex(lighter));
        on_dark(*colour, &hex(lighter));
    }
    on_dark(GRID, &hex(GRID_ON_DARK));
    format!(":root{{{light}}}\n@media (prefers-color-scheme:dark){{:root{{{dark}}}{charts}}}\n")
}

/// As in SVG.
fn hex(RGBColor(r, g, b): RGBColor) -> String {
    format!("#{r:02X}{g:02X}{b:02X}")
}
