//! Setting lines of text: glyphs, faces, widths, line breaks; and captions.
//!
//! There is no shaping: Chinese and Latin letters are placed one after the other, which is sufficient for a
//! sheet, so that measured widths equal drawn widths. There is no hyphenation and no right-to-left text.

use std::fmt::Write as _;
use std::ops::Range;

use skrifa::GlyphId;
use skrifa::outline::OutlinePen;

use crate::fonts::{Face, Fonts, Weight};

/// A text below a symbol inside the picture: the expiry of a code whose screenshot may be shown.
#[derive(Debug, Clone, Copy)]
pub struct Caption<'a> {
    /// The text, e.g. `有效期至 2022-09-30 14:05`; a line feed begins a new line.
    pub text: &'a str,
    /// The text if no font has the characters of `text`; only its ASCII characters are used.
    pub ascii: &'a str,
    /// The fonts.
    pub fonts: &'a Fonts,
}

/// A glyph at its position in a line.
pub(crate) struct SetGlyph<'a> {
    pub(crate) face: &'a Face,
    pub(crate) glyph: GlyphId,
    /// As a fraction of the font size.
    pub(crate) advance: f32,
    /// The bytes of the text that it represents.
    pub(crate) bytes: Range<usize>,
}

/// Sets a text in one line. A character that is in no font is omitted: callers check [`Fonts::cover`] first.
pub(crate) fn set_line<'a>(fonts: &'a Fonts, text: &str, weight: Weight) -> Vec<SetGlyph<'a>> {
    let is_chinese = text.chars().any(is_wide);
    text.char_indices()
        .filter_map(|(at, c)| {
            // Both languages share these marks; in Chinese they are as wide as a character.
            let full_width = is_chinese && "“”‘’…—".contains(c);
            let chinese = if full_width { fonts.chinese_face_for(c) } else { None };
            let (face, glyph) = chinese.or_else(|| fonts.face_for(c, weight))?;
            Some(SetGlyph {
                face,
                glyph,
                advance: face.advance(glyph),
                bytes: at..at + c.len_utf8(),
            })
        })
        .collect()
}

/// Width of a line at font size 1.
pub(crate) fn width(fonts: &Fonts, text: &str, weight: Weight) -> f32 {
    set_line(fonts, text, weight).iter().map(|glyph| glyph.advance).sum()
}

/// Breaks a text into lines no wider than `limit` (in font sizes): between words, and between any two Chinese
/// characters unless the second is a closing punctuation mark. A longer word exceeds the limit.
pub(crate) fn break_lines(fonts: &Fonts, text: &str, weight: Weight, limit: f32) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for piece in unbreakable_pieces(text) {
        let wider = width(fonts, &format!("{line}{}", piece.trim_end()), weight) > limit;
        if wider && !line.is_empty() {
            lines.push(line.trim_end().to_owned());
            line.clear();
        }
        line.push_str(if line.is_empty() { piece.trim_start() } else { piece });
    }
    if !line.is_empty() {
        lines.push(line.trim_end().to_owned());
    }
    lines
}

fn unbreakable_pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut start = 0;
    let mut before: Option<char> = None;
    for (at, c) in text.char_indices() {
        let may_break = before.is_some_and(|before| {
            let after_space = before == ' ' && c != ' ';
            let beside_chinese = (is_wide(before) || is_wide(c)) && c != ' ';
            after_space || (beside_chinese && !closes(c) && !opens(before))
        });
        if may_break {
            pieces.push(&text[start..at]);
            start = at;
        }
        before = Some(c);
    }
    if start < text.len() {
        pieces.push(&text[start..]);
    }
    pieces
}

/// Chinese characters and full-width punctuation.
fn is_wide(c: char) -> bool {
    matches!(u32::from(c), 0x2E80..=0x9FFF | 0xF900..=0xFAFF | 0xFF00..=0xFFEF | 0x20000..=0x3FFFF)
}

fn closes(c: char) -> bool {
    "，。、；：？！）》」』”’％,.;:?!)%".contains(c)
}

fn opens(c: char) -> bool {
    "（《「『“‘(".contains(c)
}

/// Limit of caption lines; the rest is cut off.
const MAX_CAPTION_LINES: usize = 3;

/// A caption broken into lines for a picture of a given width.
pub(crate) struct SetCaption<'a> {
    pub(crate) text: String,
    pub(crate) height_px: u32,
    width_px: u32,
    size_px: f32,
    lines: Vec<Vec<SetGlyph<'a>>>,
}

impl<'a> SetCaption<'a> {
    /// Sets a caption for a picture that is `width_px` wide.
    pub(crate) fn under(width_px: u32, caption: &Caption<'a>) -> Self {
        let covered = caption.text.lines().all(|line| caption.fonts.cover(line));
        let text: String = if covered {
            caption.text.to_owned()
        } else {
            caption
                .ascii
                .chars()
                .filter(|c| matches!(c, ' '..='~' | '\n'))
                .collect()
        };
        let picture = width_px as f32;
        let limit = picture * 0.92;
        let widths = text.lines().map(|line| width(caption.fonts, line, Weight::Bold));
        let widest = widths.fold(1.0, f32::max);
        // As large as fits without further breaks, within legible bounds and not too large for the symbol.
        let size_px = (limit / widest).clamp(picture / 22.0, picture / 13.0);
        let broken = text
            .lines()
            .flat_map(|line| break_lines(caption.fonts, line, Weight::Bold, limit / size_px));
        let mut lines: Vec<String> = broken.collect();
        lines.truncate(MAX_CAPTION_LINES);
        let lines: Vec<_> = lines
            .iter()
            .map(|line| set_line(caption.fonts, line, Weight::Bold))
            .collect();
        let height_px = (size_px * (lines.len() as f32 * 1.35 + 0.65)).ceil() as u32;
        Self {
            text,
            height_px,
            width_px,
            size_px,
            lines,
        }
    }

    /// The amount of ink on each pixel (0 none, 255 full), rows from the top.
    pub(crate) fn coverage(&self) -> Vec<u8> {
        let (width, height) = (self.width_px as usize, self.height_px as usize);
        let mut ink = vec![0_u8; width * height];
        let mut raster = ab_glyph_rasterizer::Rasterizer::new(width, height);
        for (glyph, x, baseline) in self.places() {
            let mut pen = RasterPen {
                raster: &mut raster,
                origin: (x, baseline),
                at: (0.0, 0.0),
                start: (0.0, 0.0),
            };
            glyph.face.outline(glyph.glyph, self.size_px, &mut pen);
        }
        raster.for_each_pixel(|pixel, alpha| ink[pixel] = (alpha.clamp(0.0, 1.0) * 255.0) as u8);
        ink
    }

    /// The outlines as SVG path data, in pixels.
    pub(crate) fn outline(&self) -> String {
        let mut path = String::new();
        for (glyph, x, baseline) in self.places() {
            glyph.face.outline(
                glyph.glyph,
                self.size_px,
                &mut SvgPen {
                    path: &mut path,
                    origin: (x, baseline),
                },
            );
        }
        path
    }

    /// Every glyph with its left edge and baseline.
    fn places(&self) -> Vec<(&SetGlyph<'a>, f32, f32)> {
        let mut places = Vec::new();
        for (number, line) in self.lines.iter().enumerate() {
            let width: f32 = line.iter().map(|glyph| glyph.advance * self.size_px).sum();
            let mut x = ((self.width_px as f32 - width) / 2.0).max(0.0);
            let baseline = self.size_px * (0.95 + number as f32 * 1.35);
            for glyph in line {
                places.push((glyph, x, baseline));
                x += glyph.advance * self.size_px;
            }
        }
        places
    }
}

/// Draws outlines (y upwards) into a rasterizer (y downwards).
struct RasterPen<'r> {
    raster: &'r mut ab_glyph_rasterizer::Rasterizer,
    origin: (f32, f32),
    at: (f32, f32),
    start: (f32, f32),
}

impl RasterPen<'_> {
    fn point(&self, (x, y): (f32, f32)) -> ab_glyph_rasterizer::Point {
        ab_glyph_rasterizer::point(self.origin.0 + x, self.origin.1 - y)
    }
}

impl OutlinePen for RasterPen<'_> {
    fn move_to(&mut self, x: f32, y: f32) {
        self.at = (x, y);
        self.start = self.at;
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let (from, to) = (self.point(self.at), self.point((x, y)));
        self.raster.draw_line(from, to);
        self.at = (x, y);
    }

    fn quad_to(&mut self, cx0: f32, cy0: f32, x: f32, y: f32) {
        let (from, control, to) = (self.point(self.at), self.point((cx0, cy0)), self.point((x, y)));
        self.raster.draw_quad(from, control, to);
        self.at = (x, y);
    }

    fn curve_to(&mut self, cx0: f32, cy0: f32, cx1: f32, cy1: f32, x: f32, y: f32) {
        let (from, first) = (self.point(self.at), self.point((cx0, cy0)));
        let (second, to) = (self.point((cx1, cy1)), self.point((x, y)));
        self.raster.draw_cubic(from, first, second, to);
        self.at = (x, y);
    }

    fn close(&mut self) {
        let (x, y) = self.start;
        self.line_to(x, y);
    }
}

/// Writes outlines (y upwards) as SVG path data (y downwards), to a tenth of a pixel.
struct SvgPen<'p> {
    path: &'p mut String,
    origin: (f32, f32),
}

impl SvgPen<'_> {
    fn command(&mut self, letter: char, points: &[(f32, f32)]) {
        self.path.push(letter);
        for (number, (x, y)) in points.iter().enumerate() {
            let space = if number == 0 { "" } else { " " };
            let (x, y) = (self.origin.0 + x, self.origin.1 - y);
            write!(self.path, "{space}{x:.1} {y:.1}").expect("writing to a String cannot fail");
        }
    }
}

impl OutlinePen for SvgPen<'_> {
    fn move_to(&mut self, x: f32, y: f32) {
        self.command('M', &[(x, y)]);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        self.command('L', &[(x, y)]);
    }

    fn quad_to(&mut self, cx0: f32, cy0: f32, x: f32, y: f32) {
        self.command('Q', &[(cx0, cy0), (x, y)]);
    }

    fn curve_to(&mut self, cx0: f32, cy0: f32, cx1: f32, cy1: f32, x: f32, y: f32) {
        self.command('C', &[(cx0, cy0), (cx1, cy1), (x, y)]);
    }

    fn close(&mut self) {
        self.path.push('z');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words_and_never_before_closing_marks() {
        let fonts = Fonts::built_in();
        let lines = break_lines(&fonts, "Show it together with your ID card.", Weight::Regular, 8.0);
        assert!(lines.len() > 1);
        assert_eq!(lines.join(" "), "Show it together with your ID card.");
        assert_eq!(
            unbreakable_pieces("须出示，好吗 ok go"),
            ["须", "出", "示，", "好", "吗 ", "ok ", "go"]
        );
    }

    #[test]
    fn a_caption_without_a_font_for_it_falls_back_to_ascii() {
        let fonts = Fonts::built_in();
        let caption = Caption {
            text: "有效期至 2022-09-30",
            ascii: "valid until 2022-09-30\u{7}",
            fonts: &fonts,
        };
        let set = SetCaption::under(400, &caption);
        assert_eq!(set.text, "valid until 2022-09-30");
        assert!(set.coverage().iter().any(|ink| *ink > 200));
        assert!(set.outline().starts_with('M'));
    }
}
