//! A code as a picture for a screen (PNG, SVG) or as a sheet for paper (PDF).

mod prepared;
mod sheet;

use std::path::{Path, PathBuf};

use citycode_qr::{Caption, FontChoice, Fonts, PrintNotice, SymbolOptions, draw, print_sheet};
use citycode_token::TOKEN_PREFIX;
use serde::{Deserialize, Serialize};

use crate::policy_view::PolicyView;
use citycode_terminal::failure::Failure;
use citycode_terminal::output::note;

pub use prepared::PreparedFile;

/// Characters of the trial token after its prefix, as many as in a real one.
const TRIAL_TOKEN_LENGTH: usize = 270;

/// An issued code, as in the JSON API.
#[derive(Clone, Serialize, Deserialize)]
pub struct IssuedCode {
    /// The code's id.
    pub code_id: String,
    /// Its kind.
    pub kind: String,
    /// The text inside the QR.
    pub token: String,
    /// When it was issued, RFC 3339.
    pub issued_at: String,
    /// When it expires, RFC 3339.
    pub expires_at: String,
    /// The holder's masked name; present only if a print was requested.
    #[serde(default)]
    pub masked_name: Option<String>,
}

impl IssuedCode {
    /// A trial code of this kind that is as long as real ones, so that drawing it tests drawing them.
    fn trial(kind: &str) -> Self {
        Self {
            code_id: "0".repeat(16),
            kind: kind.to_owned(),
            token: format!("{TOKEN_PREFIX}{}", "0".repeat(TRIAL_TOKEN_LENGTH)),
            issued_at: "2022-08-31T00:00:00Z".to_owned(),
            expires_at: "2023-02-27T00:00:00Z".to_owned(),
            masked_name: Some("张*三".to_owned()),
        }
    }
}

/// The format of a picture, chosen by the file's extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureFormat {
    /// Pixels, for a screen.
    Png,
    /// Vector graphics, for a web page.
    Svg,
    /// A print sheet (A4).
    Pdf,
}

impl PictureFormat {
    /// The format for a file's extension.
    ///
    /// # Errors
    /// A usage [`Failure`] for another extension.
    pub fn of(path: &Path) -> Result<Self, Failure> {
        let extension = path
            .extension()
            .and_then(|extension| extension.to_str())
            .map(str::to_ascii_lowercase);
        match extension.as_deref() {
            Some("png") => Ok(Self::Png),
            Some("svg") => Ok(Self::Svg),
            Some("pdf") => Ok(Self::Pdf),
            _ => Err(Failure::usage(
                format_args!("{} has no known extension, which selects the format", path.display()),
                "name the file .png or .svg for a screen, .pdf for a print sheet",
            )),
        }
    }

    /// The extension.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Svg => "svg",
            Self::Pdf => "pdf",
        }
    }
}

/// Draws codes; contains the fonts, which are loaded once.
pub struct Painter {
    policy: PolicyView,
    fonts: Fonts,
}

impl Painter {
    /// A painter with the texts of `policy`. `font` names a font file; without one the machine's fonts are searched.
    ///
    /// # Errors
    /// [`Failure`] if the named font cannot be used.
    pub fn new(policy: PolicyView, font: Option<PathBuf>) -> Result<Self, Failure> {
        let choice = font.map_or(FontChoice::Search, FontChoice::File);
        let fonts = Fonts::load(&choice).map_err(|error| {
            Failure::local(
                "cannot use the font",
                error,
                "name another font with --font, or omit the flag",
            )
        })?;
        Ok(Self { policy, fonts })
    }

    /// Draws a code and atomically replaces the file at `path`. Only the owner can read the file.
    ///
    /// # Errors
    /// [`Failure`] if it cannot be drawn or written.
    pub fn write(&self, path: &Path, format: PictureFormat, code: &IssuedCode) -> Result<(), Failure> {
        let file = PreparedFile::beside(path)?;
        self.fill(file, format, code)
    }

    /// Tests everything that can fail on this machine before a code of this kind is issued: the folder, the disk space,
    /// the fonts, and the drawing of a trial code. The file at `path` is unchanged until [`Self::fill`].
    ///
    /// # Errors
    /// [`Failure`] that would otherwise occur after the code was issued.
    pub fn prepare(&self, path: &Path, format: PictureFormat, kind: &str) -> Result<PreparedFile, Failure> {
        let mut file = PreparedFile::beside(path)?;
        let (trial, _) = self.picture(format, &IssuedCode::trial(kind))?;
        file.reserve(&trial)?;
        Ok(file)
    }

    /// Draws a code into a prepared file, which then replaces the one at its path.
    ///
    /// # Errors
    /// [`Failure`] if it cannot be drawn or written.
    pub fn fill(&self, file: PreparedFile, format: PictureFormat, code: &IssuedCode) -> Result<(), Failure> {
        let (picture, notices) = self.picture(format, code)?;
        notices.into_iter().for_each(note);
        file.finish(&picture)
    }

    /// Tests whether pictures of this kind can be written into a folder.
    ///
    /// # Errors
    /// As [`Self::prepare`].
    pub fn try_folder(&self, folder: &Path, kind: &str) -> Result<(), Failure> {
        let format = self.format_for(kind);
        let path = folder.join(format!("trial.{}", format.extension()));
        self.prepare(&path, format, kind).map(drop)
    }

    /// The format of a kind: a sheet for paper, a picture for a screen.
    #[must_use]
    pub fn format_for(&self, kind: &str) -> PictureFormat {
        if self.policy.kind(kind).on_paper {
            PictureFormat::Pdf
        } else {
            PictureFormat::Png
        }
    }

    fn picture(&self, format: PictureFormat, code: &IssuedCode) -> Result<(Vec<u8>, Vec<PrintNotice>), Failure> {
        if format == PictureFormat::Pdf {
            return self.sheet(code);
        }
        let kind = self.policy.kind(&code.kind);
        // A presentation of a phone is valid for a minute; a fixed picture must show its expiry.
        let until = (!kind.device_bound).then(|| self.policy.local(&code.expires_at, "%Y-%m-%d %H:%M"));
        let texts = until.map(|until| (format!("有效期至 {until}"), format!("valid until {until}")));
        let caption = texts.as_ref().map(|(text, ascii)| Caption {
            text,
            ascii,
            fonts: &self.fonts,
        });
        Ok((screen(&code.token, caption.as_ref(), format)?, Vec::new()))
    }

    fn sheet(&self, code: &IssuedCode) -> Result<(Vec<u8>, Vec<PrintNotice>), Failure> {
        let printed = print_sheet(&sheet::content(code, &self.policy), &self.fonts).map_err(|error| {
            Failure::local(
                "cannot print the sheet",
                error,
                "install a font with Chinese characters, e.g. fonts-noto-cjk, or write a .png",
            )
        })?;
        Ok((printed.pdf, printed.notices))
    }
}

/// Writes a picture of a presentation: without an expiry, for a screen only.
///
/// # Errors
/// [`Failure`] if it cannot be drawn or written.
pub fn write_presentation(path: &Path, format: PictureFormat, text: &str) -> Result<(), Failure> {
    if format == PictureFormat::Pdf {
        return Err(Failure::usage(
            "a presentation of a phone expires before it is printed",
            "name the file .png or .svg",
        ));
    }
    PreparedFile::beside(path)?.finish(&screen(text, None, format)?)
}

fn screen(text: &str, caption: Option<&Caption<'_>>, format: PictureFormat) -> Result<Vec<u8>, Failure> {
    let symbol = draw(text, &SymbolOptions::SCREEN).map_err(cannot_draw)?;
    match format {
        PictureFormat::Svg => Ok(symbol.to_svg(caption).into_bytes()),
        _ => symbol.to_png(caption).map_err(cannot_draw),
    }
}

fn cannot_draw(error: impl std::fmt::Display) -> Failure {
    Failure::local("cannot draw the code", error, "check that the token is complete")
}

#[cfg(test)]
mod tests;
