//! Which fonts print and caption: a Latin one that is built in, and a Chinese one from the machine.
//!
//! The built-in Latin face means that a sheet can be printed on a machine without any font. A Chinese font
//! is too large to carry along: it is named in the configuration or found in the usual folders, and where
//! there is none, callers get English and a [`FontNotice`] that says what to install.

mod face;
mod search;

use std::fmt;
use std::path::PathBuf;

pub(crate) use face::{Face, Weight};

/// Where the Chinese font comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum FontChoice {
    /// The best of those found in the usual folders of the machine.
    #[default]
    Search,
    /// This file (`.ttf`, `.otf`, `.ttc` or `.otc`).
    File(PathBuf),
    /// None: Latin only.
    BuiltIn,
}

/// A named font file that cannot be used. A search never fails: it finds or it does not.
#[derive(Debug, thiserror::Error)]
pub enum FontError {
    /// The file cannot be read.
    #[error("the font {} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is no font, or one of a kind that cannot be embedded.
    #[error("{} is not a TrueType or OpenType font", path.display())]
    NotAFont {
        /// The file.
        path: PathBuf,
    },
    /// The file is a font, but not one that knows Chinese.
    #[error("the font {} has no Chinese characters; use e.g. fonts-noto-cjk or fonts-wqy-microhei", path.display())]
    NotChinese {
        /// The file.
        path: PathBuf,
    },
}

/// What to say to the operator about the fonts in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FontNotice {
    /// No font of the machine knows Chinese: labels are in English only.
    NoChineseFont,
}

impl fmt::Display for FontNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoChineseFont => f.write_str(
                "no font with Chinese characters was found, so texts are in English only: install one \
                 (Debian: apt-get install fonts-noto-cjk, or the lighter fonts-wqy-microhei) or name a font \
                 file in the configuration",
            ),
        }
    }
}

/// The faces to set text in, loaded once and shared by all sheets and pictures.
#[derive(Debug, Clone)]
pub struct Fonts {
    latin: [Face; 2],
    chinese: Vec<Face>,
}

impl Fonts {
    /// Loads what `choice` says. Reads font files; costs some milliseconds and the size of the font.
    ///
    /// # Errors
    /// [`FontError`] only for [`FontChoice::File`].
    pub fn load(choice: &FontChoice) -> Result<Self, FontError> {
        let chinese = match choice {
            FontChoice::Search => search::installed(),
            FontChoice::File(path) => vec![search::named(path)?],
            FontChoice::BuiltIn => Vec::new(),
        };
        Ok(Self {
            latin: [Face::built_in(Weight::Regular), Face::built_in(Weight::Bold)],
            chinese,
        })
    }

    /// Latin only, as [`FontChoice::BuiltIn`]; never fails.
    pub fn built_in() -> Self {
        Self {
            latin: [Face::built_in(Weight::Regular), Face::built_in(Weight::Bold)],
            chinese: Vec::new(),
        }
    }

    /// Whether Chinese can be written at all.
    pub fn know_chinese(&self) -> bool {
        !self.chinese.is_empty()
    }

    /// What the operator should hear, if anything.
    pub fn notice(&self) -> Option<FontNotice> {
        (!self.know_chinese()).then_some(FontNotice::NoChineseFont)
    }

    /// The first face that has this character, Latin before Chinese, with its glyph.
    pub(crate) fn face_for(&self, c: char, weight: Weight) -> Option<(&Face, skrifa::GlyphId)> {
        let latin = match weight {
            Weight::Regular => &self.latin[0],
            Weight::Bold => &self.latin[1],
        };
        std::iter::once(latin)
            .chain(&self.chinese)
            .find_map(|face| Some((face, face.glyph(c)?)))
    }

    /// The first Chinese face that has this character, with its glyph.
    pub(crate) fn chinese_face_for(&self, c: char) -> Option<(&Face, skrifa::GlyphId)> {
        self.chinese.iter().find_map(|face| Some((face, face.glyph(c)?)))
    }

    /// Whether every character of `text` can be drawn.
    pub(crate) fn cover(&self, text: &str) -> bool {
        text.chars().all(|c| self.face_for(c, Weight::Regular).is_some())
    }
}
