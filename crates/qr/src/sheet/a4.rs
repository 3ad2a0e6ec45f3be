//! The layout of the A4 sheet.
//!
//! ```text
//! issuer                                   ─┐ margin 17 mm all round
//! KIND (32 pt)                              │
//! ═════════════════════════════════════════ │
//! ┌───────────┐  name                       │
//! │  symbol   │  valid until (23 pt)        │
//! │           │  issued, serial             │
//! └───────────┘                             │
//! ┌ present together with the ID card ────┐ │
//! └───────────────────────────────────────┘ │
//! sections: how to report a loss …          │
//! footer                                   ─┘
//! ```

use crate::fonts::{Fonts, Weight};
use crate::symbol::Symbol;
use crate::typeset::{break_lines, width};

use super::PrintError;
use super::canvas::{About, Area, Canvas, Ink, Style, one_page};
use super::content::{Label, LabelledValue, Section, SheetContent};
use super::names::group_serial;

/// Points per millimetre.
const MM: f32 = 72.0 / 25.4;
const PAGE: (f32, f32) = (210.0 * MM, 297.0 * MM);
const MARGIN: f32 = 17.0 * MM;
const CONTENT_WIDTH: f32 = PAGE.0 - 2.0 * MARGIN;
/// Side of the symbol with its quiet zone: version 11 gets modules of 1.27 mm.
const SYMBOL_SIDE: f32 = 88.0 * MM;
/// Minimum side of a module that scanners can read on folded paper.
const MIN_MODULE: f32 = 0.75 * MM;
/// Space between the column of the symbol and that of the texts.
const GUTTER: f32 = 7.0 * MM;

const BLACK: Ink = Ink(0);
const GREY: Ink = Ink(70);

const fn bold(size: f32) -> Style {
    Style {
        size,
        weight: Weight::Bold,
        ink: BLACK,
    }
}
const fn regular(size: f32) -> Style {
    Style {
        size,
        weight: Weight::Regular,
        ink: BLACK,
    }
}
const fn quiet(size: f32) -> Style {
    Style {
        size,
        weight: Weight::Regular,
        ink: GREY,
    }
}

/// The sheet as a PDF file.
pub(super) fn page(content: &SheetContent, symbol: &Symbol, fonts: &Fonts) -> Result<Vec<u8>, PrintError> {
    let module = SYMBOL_SIDE / symbol.size_with_margin() as f32;
    if module < MIN_MODULE {
        return Err(PrintError::SymbolTooLarge {
            version: symbol.version(),
        });
    }
    let title = [&content.kind.zh, &content.kind.en].map(String::as_str).join(" ");
    let about = About {
        title: title.trim().to_owned(),
        date: content.date,
    };
    one_page(PAGE, about, fonts, |canvas| {
        let mut cursor = Cursor {
            canvas,
            fonts,
            y: MARGIN,
        };
        cursor.head(content)?;
        cursor.symbol_and_facts(content, symbol, module)?;
        cursor.frame(&content.present_with)?;
        for section in &content.sections {
            cursor.section(section)?;
        }
        cursor.footer(&content.footer)
    })
}

/// A column of texts: its left edge and width.
#[derive(Clone, Copy)]
struct Column {
    x: f32,
    width: f32,
}

const WHOLE: Column = Column {
    x: MARGIN,
    width: CONTENT_WIDTH,
};

/// The Chinese and English style of one text.
#[derive(Clone, Copy)]
struct Pair {
    zh: Style,
    en: Style,
}

/// Draws from top to bottom; `y` is the top of the next element.
struct Cursor<'c, 'a, 'd> {
    canvas: &'c mut Canvas<'a, 'd>,
    fonts: &'a Fonts,
    y: f32,
}

impl Cursor<'_, '_, '_> {
    fn head(&mut self, content: &SheetContent) -> Result<(), PrintError> {
        self.label(
            "the issuer",
            WHOLE,
            Pair {
                zh: regular(15.0),
                en: quiet(10.0),
            },
            &content.issuer,
        )?;
        self.y += 4.0 * MM;
        self.label(
            "the kind",
            WHOLE,
            Pair {
                zh: bold(32.0),
                en: regular(14.0),
            },
            &content.kind,
        )?;
        self.y += 3.5 * MM;
        self.canvas.filled(
            Area {
                x: MARGIN,
                y: self.y,
                width: CONTENT_WIDTH,
                height: 2.0,
            },
            BLACK,
        );
        self.y += 6.0 * MM;
        Ok(())
    }

    fn symbol_and_facts(&mut self, content: &SheetContent, symbol: &Symbol, module: f32) -> Result<(), PrintError> {
        let top = self.y;
        let quiet_zone = symbol.quiet_zone() as f32 * module;
        // The quiet zone may overlap the page's margin, which is white too.
        self.canvas.symbol(MARGIN, top, module, symbol);
        let symbol_side = SYMBOL_SIDE - 2.0 * quiet_zone;
        let x = MARGIN + symbol_side + quiet_zone.max(GUTTER);
        let column = Column {
            x,
            width: PAGE.0 - MARGIN - x,
        };
        let name = LabelledValue {
            label: content.name_label.clone(),
            value: Label {
                zh: content.masked_name.clone(),
                en: String::new(),
            },
        };
        self.fact(
            "the name",
            column,
            Pair {
                zh: bold(24.0),
                en: bold(24.0),
            },
            &name,
        )?;
        self.fact(
            "the expiry",
            column,
            Pair {
                zh: bold(23.0),
                en: bold(14.0),
            },
            &content.expiry,
        )?;
        self.fact(
            "the issue date",
            column,
            Pair {
                zh: regular(14.0),
                en: regular(10.0),
            },
            &content.issued,
        )?;
        let serial = LabelledValue {
            label: content.serial_label.clone(),
            value: Label {
                zh: group_serial(&content.serial),
                en: String::new(),
            },
        };
        self.fact(
            "the serial",
            column,
            Pair {
                zh: bold(15.0),
                en: bold(15.0),
            },
            &serial,
        )?;
        self.y = self.y.max(top + symbol_side + quiet_zone) + 1.0 * MM;
        Ok(())
    }

    /// A value under its label.
    fn fact(
        &mut self,
        field: &'static str,
        column: Column,
        style: Pair,
        fact: &LabelledValue,
    ) -> Result<(), PrintError> {
        if fact.value.zh.is_empty() && fact.value.en.is_empty() {
            return Ok(());
        }
        self.label(
            field,
            column,
            Pair {
                zh: quiet(11.0),
                en: quiet(11.0),
            },
            &in_one_line(&fact.label),
        )?;
        self.y += 0.6 * MM;
        self.label(field, column, style, &fact.value)?;
        self.y += 4.2 * MM;
        Ok(())
    }

    /// A text in a heavy frame across the page.
    fn frame(&mut self, label: &Label) -> Result<(), PrintError> {
        const PADDING: f32 = 4.5 * MM;
        let top = self.y;
        self.y += PADDING;
        let column = Column {
            x: MARGIN + PADDING,
            width: CONTENT_WIDTH - 2.0 * PADDING,
        };
        self.label(
            "the word in the frame",
            column,
            Pair {
                zh: bold(23.0),
                en: regular(12.0),
            },
            label,
        )?;
        self.y += PADDING - 1.0 * MM;
        let area = Area {
            x: MARGIN,
            y: top,
            width: CONTENT_WIDTH,
            height: self.y - top,
        };
        self.canvas.framed(area, 2.5, BLACK);
        self.y += 6.0 * MM;
        Ok(())
    }

    fn section(&mut self, section: &Section) -> Result<(), PrintError> {
        const INDENT: f32 = 8.0 * MM;
        self.label(
            "a section's heading",
            WHOLE,
            Pair {
                zh: bold(15.0),
                en: quiet(10.0),
            },
            &in_one_line(&section.heading),
        )?;
        self.y += 1.2 * MM;
        let column = Column {
            x: MARGIN + INDENT,
            width: CONTENT_WIDTH - INDENT,
        };
        for (place, line) in section.lines.iter().enumerate() {
            let style = Pair {
                zh: regular(14.0),
                en: quiet(10.0),
            };
            let first_size = lines_of(style, line)
                .first()
                .map_or(style.zh.size, |(_, style)| style.size);
            if section.lines.len() > 1 {
                let number = (place + 1).to_string();
                self.canvas
                    .text(MARGIN + 1.0 * MM, self.y + first_size, bold(first_size), &number);
            }
            self.label("a section's line", column, style, line)?;
            self.y += 1.8 * MM;
        }
        self.y += 3.0 * MM;
        Ok(())
    }

    /// Draws the footer at the bottom of the page, independent of the texts above.
    fn footer(&mut self, label: &Label) -> Result<(), PrintError> {
        let style = Pair {
            zh: quiet(10.0),
            en: quiet(8.5),
        };
        let height = self.height(WHOLE, style, label);
        self.y = self.y.max(PAGE.1 - MARGIN - height);
        self.label("the footer", WHOLE, style, label)
    }

    /// Draws Chinese with English below it; if there is no Chinese, English in the Chinese style.
    fn label(&mut self, field: &'static str, column: Column, style: Pair, label: &Label) -> Result<(), PrintError> {
        for (text, style) in lines_of(style, label) {
            for line in break_lines(self.fonts, text, style.weight, column.width / style.size) {
                let too_wide = width(self.fonts, &line, style.weight) * style.size > column.width + 1.0;
                let baseline = self.y + style.size;
                if too_wide || baseline > PAGE.1 - MARGIN + 1.0 {
                    return Err(PrintError::DoesNotFit { field });
                }
                self.canvas.text(column.x, baseline, style, &line);
                self.y += style.size * LINE_SPACING;
            }
        }
        Ok(())
    }

    fn height(&self, column: Column, style: Pair, label: &Label) -> f32 {
        let height = |(text, style): (&str, Style)| {
            let lines = break_lines(self.fonts, text, style.weight, column.width / style.size).len();
            lines as f32 * style.size * LINE_SPACING
        };
        lines_of(style, label).into_iter().map(height).sum()
    }
}

/// Both texts in one line.
fn in_one_line(label: &Label) -> Label {
    let both = [label.zh.as_str(), label.en.as_str()].join("  ");
    Label {
        zh: both.trim().to_owned(),
        en: String::new(),
    }
}

/// Line height in font sizes, for elderly readers.
const LINE_SPACING: f32 = 1.32;

fn lines_of(style: Pair, label: &Label) -> Vec<(&str, Style)> {
    let pairs = if label.zh.is_empty() {
        // English in place of Chinese: as heavy and nearly as large, since its words need more space.
        let size = (style.zh.size * 0.9).max(style.en.size);
        vec![(label.en.as_str(), Style { size, ..style.zh })]
    } else {
        vec![(label.zh.as_str(), style.zh), (label.en.as_str(), style.en)]
    };
    pairs.into_iter().filter(|(text, _)| !text.is_empty()).collect()
}
