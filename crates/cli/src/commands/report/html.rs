//! HTML as it is written: markup is what this program says itself (`&'static str`), everything else is escaped.

use std::fmt::{Display, Write};

/// A page, or a part of one.
#[derive(Debug, Default)]
pub struct Html(String);

impl Html {
    /// Markup of our own.
    pub fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Text of any origin.
    pub fn text(&mut self, text: impl Display) -> &mut Self {
        for c in text.to_string().chars() {
            match c {
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '&' => self.0.push_str("&amp;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // Not allowed in HTML, and nothing to see.
                c if c.is_control() && c != '\n' => self.0.push('\u{fffd}'),
                c => self.0.push(c),
            }
        }
        self
    }

    /// What the plot module made: figures, whose words it has escaped, and its style sheet.
    pub fn made(&mut self, markup: &str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// An element with text in it; `tag` is its name, and attributes after it.
    pub fn element(&mut self, tag: &'static str, text: impl Display) -> &mut Self {
        self.inside(tag, |inner| {
            inner.text(text);
        })
    }

    /// An element with what `fill` writes.
    pub fn inside(&mut self, tag: &'static str, fill: impl FnOnce(&mut Self)) -> &mut Self {
        self.raw("<").raw(tag).raw(">");
        fill(self);
        self.raw("</").raw(tag.split(' ').next().unwrap_or(tag)).raw(">")
    }

    /// A cell whose shade tells a share from 0 to 1.
    pub fn shaded(&mut self, share: f64, text: impl Display) -> &mut Self {
        let _ = write!(self.0, "<td class=heat style=\"--d:{:.0}%\">", 100.0 * share.clamp(0.0, 1.0));
        self.text(text).raw("</td>")
    }

    /// A square in a colour of the palette.
    pub fn swatch(&mut self, colour: usize) -> &mut Self {
        let _ = write!(self.0, "<i class=swatch style=\"background:var(--c{})\"></i>", colour % super::MOST_RUNS);
        self
    }

    /// What was written.
    pub fn finish(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        let mut html = Html::default();
        html.inside("p class=a", |p| {
            p.text("<script>&\"'\u{7}").swatch(13).raw("<br>");
        });
        let want = "<p class=a>&lt;script&gt;&amp;&quot;&#39;\u{fffd}<i class=swatch style=\"background:var(--c1)\"></i><br></p>";
        assert_eq!(html.finish(), want);
    }
}
