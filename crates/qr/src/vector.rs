//! A symbol as SVG: one path in units of modules, without scripts, links and fonts.
//!
//! A caption is drawn as outlines, so that it looks the same wherever the file is opened.

use std::fmt::Write as _;

use crate::symbol::Symbol;
use crate::typeset::{Caption, SetCaption};

impl Symbol {
    /// The symbol as an SVG file, with a caption below it if one is given.
    ///
    /// The same symbol and caption give the same bytes.
    pub fn to_svg(&self, caption: Option<&Caption<'_>>) -> String {
        let (side, px) = (self.size_with_margin(), self.module_px());
        let set = caption.map(|caption| SetCaption::under(self.width_px(), caption));
        let height_px = self.width_px() + set.as_ref().map_or(0, |set| set.height_px);
        let height = f64::from(height_px) / f64::from(px);
        let mut svg = String::new();
        let label = set
            .as_ref()
            .map_or(String::from("QR"), |set| format!("QR. {}", set.text));
        write!(
            svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{height_px}\" \
             viewBox=\"0 0 {side} {height}\" role=\"img\"><title>{}</title>\
             <path fill=\"#fff\" d=\"M0 0h{side}v{height}H0z\"/>\
             <path fill=\"#000\" shape-rendering=\"crispEdges\" d=\"",
            self.width_px(),
            escape(&label),
        )
        .expect("writing to a String cannot fail");
        for (column, row, length) in self.dark_runs() {
            let (x, y) = (column + self.quiet_zone(), row + self.quiet_zone());
            write!(svg, "M{x} {y}h{length}v1h-{length}z").expect("writing to a String cannot fail");
        }
        svg.push_str("\"/>");
        if let Some(set) = set {
            write!(
                svg,
                "<path fill=\"#000\" transform=\"translate(0 {side})scale({})\" d=\"{}\"/>",
                1.0 / f64::from(px),
                set.outline()
            )
            .expect("writing to a String cannot fail");
        }
        svg.push_str("</svg>\n");
        svg
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            c if c.is_control() => {}
            c => escaped.push(c),
        }
    }
    escaped
}
