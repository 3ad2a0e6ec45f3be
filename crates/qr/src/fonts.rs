//! Fonts for printing and captions: a built-in Latin font, and a Chinese font of the machine.
//!
//! With the built-in Latin font a sheet can be printed on a machine without any font. A Chinese font is too
//! large to include: it is named in the configuration or found in the usual folders. If there is none, callers
//! get English and a [`FontNotice`] that says what to install.

mod face;
mod search;

use std::fmt;
use std::path::PathBuf;

pub(crate) use face::{Face, Weight};

/// The source of the Chinese font.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum FontChoice {
    /// The best font found in the usual folders of the machine.
    #[default]
    Search,
    /// This file (`.ttf`, `.otf`, `.ttc` or `.otc`).
    File(PathBuf),
    /// No Chinese font: Latin only.
    BuiltIn,
}

/// Why a named font file cannot be used. A search never fails.
#[derive(Debug, thiserror::Error)]
pub enum FontError {
    /// The file cannot be read.
    #[error("the font {} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The file is not a font, or not one that can be embedded.
    #[error("{} is not a TrueType or OpenType font", path.display())]
    NotAFont {
        /// The file.
        path: PathBuf,
    },
    /// The file is a font, but has no Chinese characters.
    #[error("the font {} has no Chinese characters; use e.g. fonts-noto-cjk or fonts-wqy-microhei", path.display())]
    NotChinese {
        /// The file.
        path: PathBuf,
    },
}

/// A notice to the operator about the fonts in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FontNotice {
    /// No font of the machine has Chinese characters: labels are only in English.
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

/// The fonts for setting text, loaded once and shared by all sheets and pictures.
#[derive(Debug, Clone)]
pub struct Fonts {
    latin: [Face; 2],
    chinese: Vec<Face>,
}

impl Fonts {
    /// Loads the fonts of `choice`. It reads font files, which takes some milliseconds and the memory of the
    /// font.
    ///
    /// # Errors
    /// [`FontError`], only for [`FontChoice::File`].
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

    /// Latin only, like [`FontChoice::BuiltIn`]; never fails.
    pub fn built_in() -> Self {
        Self {
            latin: [Face::built_in(Weight::Regular), Face::built_in(Weight::Bold)],
            chinese: Vec::new(),
        }
    }

    /// Whether there is a Chinese font.
    pub fn have_chinese(&self) -> bool {
        !self.chinese.is_empty()
    }

    /// The notice to the operator, if there is one.
    pub fn notice(&self) -> Option<FontNotice> {
        (!self.have_chinese()).then_some(FontNotice::NoChineseFont)
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
