//! A page to draw on, in points from the top left corner: text, lines, boxes and the symbol.

use krilla::color::luma;
use krilla::configure::{Archival, ConfigurationBuilder};
use krilla::geom::{PathBuilder, Point, Rect};
use krilla::metadata::{DateTime, Metadata};
use krilla::num::NormalizedF32;
use krilla::page::PageSettings;
use krilla::paint::{Fill, FillRule, Stroke};
use krilla::surface::Surface;
use krilla::text::{GlyphId, KrillaGlyph};
use krilla::{Document, SerializeSettings};

use crate::fonts::{Fonts, Weight};
use crate::symbol::Symbol;
use crate::typeset::{SetGlyph, set_line};

use super::{PrintError, SheetDate};

/// Width of the outline around glyphs of a face without a bold weight, as a fraction of the font size.
const BOLD_LINE: f32 = 0.035;

/// Grey of the ink: 0 black, 255 white.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ink(pub(super) u8);

/// The style of a text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    /// Font size in points.
    pub(super) size: f32,
    pub(super) weight: Weight,
    pub(super) ink: Ink,
}

/// A rectangle in points.
#[derive(Debug, Clone, Copy)]
pub(super) struct Area {
    pub(super) x: f32,
    pub(super) y: f32,
    pub(super) width: f32,
    pub(super) height: f32,
}

/// The metadata of the file.
pub(super) struct About {
    pub(super) title: String,
    pub(super) date: SheetDate,
}

/// A page that is being drawn.
pub(super) struct Canvas<'a, 'd> {
    surface: Surface<'d>,
    fonts: &'a Fonts,
}

/// Draws one page of `size` (points) and returns the file's bytes: PDF/A-2b, for long-term storage.
pub(super) fn one_page<'a>(
    size: (f32, f32),
    about: About,
    fonts: &'a Fonts,
    draw: impl FnOnce(&mut Canvas<'a, '_>) -> Result<(), PrintError>,
) -> Result<Vec<u8>, PrintError> {
    let configuration = ConfigurationBuilder::new()
        .with_archival_validator(Archival::A2_B)
        .finish()
        .map_err(|error| PrintError::Pdf(format!("{error:?}")))?;
    let settings = SerializeSettings {
        configuration,
        enable_tagging: false,
        ..SerializeSettings::default()
    };
    let mut document = Document::new_with(settings);
    let SheetDate { year, month, day } = about.date;
    // A date without a time zone would depend on the reader; midnight UTC does not.
    let date = DateTime::new(year).month(month).day(day).hour(0).minute(0).second(0);
    let date = date.utc_offset_hour(0).utc_offset_minute(0);
    document.set_metadata(
        Metadata::new()
            .title(about.title)
            .language(String::from("zh-CN"))
            .creator(String::from("citycode"))
            .creation_date(date),
    );
    let page_settings = PageSettings::from_wh(size.0, size.1).expect("paper has a positive size");
    let mut page = document.start_page_with(page_settings);
    let drawn = {
        // Dropping the surface writes its content into the page.
        let mut canvas = Canvas {
            surface: page.surface(),
            fonts,
        };
        draw(&mut canvas)
    };
    page.finish();
    drawn?;
    document.finish().map_err(|error| PrintError::Pdf(format!("{error:?}")))
}

impl Canvas<'_, '_> {
    /// Writes one line whose baseline starts at (x, y).
    pub(super) fn text(&mut self, x: f32, y: f32, style: Style, text: &str) {
        let line = set_line(self.fonts, text, style.weight);
        let mut x = x;
        for run in line.chunk_by(|left, right| std::ptr::eq(left.face, right.face)) {
            x += self.run(x, y, style, text, run);
        }
        self.surface.set_stroke(None);
    }

    fn run(&mut self, x: f32, y: f32, style: Style, text: &str, run: &[SetGlyph<'_>]) -> f32 {
        let face = run[0].face;
        self.surface.set_fill(Some(fill(style.ink)));
        let thicken = style.weight == Weight::Bold && !face.has_bold();
        self.surface.set_stroke(thicken.then(|| Stroke {
            paint: luma::Color::new(style.ink.0).into(),
            width: style.size * BOLD_LINE,
            ..Stroke::default()
        }));
        let glyphs: Vec<KrillaGlyph> = run
            .iter()
            .map(|set| {
                let glyph = GlyphId::new(set.glyph.to_u32());
                KrillaGlyph::new(glyph, set.advance, 0.0, 0.0, 0.0, set.bytes.clone(), None)
            })
            .collect();
        let start = Point::from_xy(x, y);
        self.surface
            .draw_glyphs(start, &glyphs, face.embeddable().clone(), text, style.size, false);
        run.iter().map(|set| set.advance * style.size).sum()
    }

    /// Fills a rectangle.
    pub(super) fn filled(&mut self, area: Area, ink: Ink) {
        let mut path = PathBuilder::new();
        push(&mut path, area);
        self.fill_path(path, ink);
    }

    /// Draws the outline of a rectangle, inside it.
    pub(super) fn framed(&mut self, area: Area, line: f32, ink: Ink) {
        let Area { x, y, width, height } = area;
        self.filled(Area { height: line, ..area }, ink);
        self.filled(
            Area {
                y: y + height - line,
                height: line,
                ..area
            },
            ink,
        );
        self.filled(Area { width: line, ..area }, ink);
        self.filled(
            Area {
                x: x + width - line,
                width: line,
                ..area
            },
            ink,
        );
    }

    /// Draws the symbol's dark modules, without its quiet zone, as one path.
    pub(super) fn symbol(&mut self, x: f32, y: f32, module: f32, symbol: &Symbol) {
        let mut path = PathBuilder::new();
        for (column, row, length) in symbol.dark_runs() {
            let (left, top) = (x + column as f32 * module, y + row as f32 * module);
            push(
                &mut path,
                Area {
                    x: left,
                    y: top,
                    width: length as f32 * module,
                    height: module,
                },
            );
        }
        self.fill_path(path, Ink(0));
    }

    fn fill_path(&mut self, path: PathBuilder, ink: Ink) {
        self.surface.set_stroke(None);
        self.surface.set_fill(Some(fill(ink)));
        if let Some(path) = path.finish() {
            self.surface.draw_path(&path);
        }
    }
}

fn push(path: &mut PathBuilder, area: Area) {
    if let Some(rect) = Rect::from_xywh(area.x, area.y, area.width, area.height) {
        path.push_rect(rect);
    }
}

fn fill(ink: Ink) -> Fill {
    Fill {
        paint: luma::Color::new(ink.0).into(),
        opacity: NormalizedF32::ONE,
        rule: FillRule::default(),
    }
}
