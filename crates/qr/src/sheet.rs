//! The printed sheet for a resident: one A4 page with the symbol, the name, the kind, the expiry and
//! instructions.
//!
//! Every text on it is data ([`SheetContent`]), so that another city can use other texts. Chinese is first and
//! large, English below and small; without a Chinese font English replaces it. The symbol is the only bar code
//! on the sheet, drawn as vectors. The same content and fonts give the same bytes.
//!
//! Other papers (a wallet card, a thermal roll) would be further pages next to `a4`, on the same `canvas`.

mod a4;
mod canvas;
mod content;
mod legible;
mod names;

pub use content::{Label, LabelledValue, Section, SheetContent, SheetDate};
pub use names::group_serial;

use std::fmt;

use crate::fonts::{FontNotice, Fonts};
use crate::symbol::{DrawError, SymbolOptions, draw};

/// A printed sheet.
#[derive(Clone, PartialEq, Eq)]
pub struct PrintedSheet {
    /// The PDF file.
    pub pdf: Vec<u8>,
    /// Notices to the operator, e.g. which font to install. They contain no personal data.
    pub notices: Vec<PrintNotice>,
}

/// `Debug` shows no bytes, because they are a person's code.
impl fmt::Debug for PrintedSheet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrintedSheet")
            .field("bytes", &self.pdf.len())
            .field("notices", &self.notices)
            .finish()
    }
}

/// A deviation of the printed sheet from the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrintNotice {
    /// About the fonts of the machine.
    Font(FontNotice),
    /// A character of the name is in no font; `*` is printed for it.
    NameMaskedFurther,
    /// A Chinese text has a character that is in no font; only its English is on the sheet.
    EnglishOnly {
        /// Which text.
        field: &'static str,
    },
}

impl fmt::Display for PrintNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Font(notice) => notice.fmt(f),
            Self::NameMaskedFurther => f.write_str(
                "a character of the name is in none of the fonts, so * is printed for it; install fonts-noto-cjk",
            ),
            Self::EnglishOnly { field } => {
                write!(
                    f,
                    "the Chinese text of {field} has a character that is in none of the fonts; it is in English only"
                )
            }
        }
    }
}

/// Why a sheet could not be printed.
#[derive(Debug, thiserror::Error)]
pub enum PrintError {
    /// The symbol could not be drawn.
    #[error("the symbol could not be drawn")]
    Symbol(#[from] DrawError),
    /// The symbol would need modules under 0.75 mm to fit.
    #[error("the symbol of version {version} does not fit on the sheet with modules of 0.75 mm")]
    SymbolTooLarge {
        /// Its version.
        version: u8,
    },
    /// A text has characters that are in no font, and there is no replacement.
    #[error("{field} has a character that is in none of the fonts; install fonts-noto-cjk or name another font")]
    MissingGlyph {
        /// Which text.
        field: &'static str,
    },
    /// The texts are too long for one page.
    #[error("the texts do not fit on one page: {field} runs over its end")]
    DoesNotFit {
        /// The first text that does not fit.
        field: &'static str,
    },
    /// The date of the sheet is invalid.
    #[error("the date of the sheet is not a calendar date")]
    InvalidDate,
    /// The PDF could not be written.
    #[error("the PDF could not be written: {0}")]
    Pdf(String),
}

/// Prints one sheet.
///
/// # Errors
/// [`PrintError`]; there is no partial output.
pub fn print_sheet(content: &SheetContent, fonts: &Fonts) -> Result<PrintedSheet, PrintError> {
    if !content.date.is_plausible() {
        return Err(PrintError::InvalidDate);
    }
    let symbol = draw(&content.token, &SymbolOptions::PAPER)?;
    let (legible, mut notices) = legible::only(content, fonts)?;
    if let Some(notice) = fonts.notice() {
        notices = vec![PrintNotice::Font(notice)];
    }
    let pdf = a4::page(&legible, &symbol, fonts)?;
    Ok(PrintedSheet { pdf, notices })
}
