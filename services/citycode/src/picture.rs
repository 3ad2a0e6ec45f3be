//! A code as a picture for a screen (PNG, SVG) or as a sheet for paper (PDF).

mod sheet;

use std::path::{Path, PathBuf};

use citycode_qr::{Caption, FontChoice, Fonts, SymbolOptions, draw, print_sheet};
use citycode_service_kit::files;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::output::note;
use crate::policy_view::PolicyView;

/// An issued code, as the JSON API tells it.
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
    /// When it dies by itself, RFC 3339.
    pub expires_at: String,
    /// The holder's masked name; told only where it will be printed.
    #[serde(default)]
    pub masked_name: Option<String>,
}

/// The form of a picture, told by the file's extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureFormat {
    /// Pixels, for a screen.
    Png,
    /// Lines, for a page of the web.
    Svg,
    /// A print sheet (A4).
    Pdf,
}

impl PictureFormat {
    /// The form that a file's name asks for.
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
                format_args!("{} has no extension that says what to write", path.display()),
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

/// Draws codes; holds the fonts, which are loaded once.
pub struct Painter {
    policy: PolicyView,
    fonts: Fonts,
}

impl Painter {
    /// A painter with the words of `policy`. `font` names a font file; without one the machine's are searched.
    ///
    /// # Errors
    /// [`Failure`] if the named font cannot be used.
    pub fn new(policy: PolicyView, font: Option<PathBuf>) -> Result<Self, Failure> {
        let choice = font.map_or(FontChoice::Search, FontChoice::File);
        let fonts = Fonts::load(&choice).map_err(|error| {
            Failure::local(
                "cannot use the font",
                error,
                "name another with --font, or leave it out",
            )
        })?;
        Ok(Self { policy, fonts })
    }

    /// Draws a code and replaces the file at `path` by it, whole or not at all. The file is for its owner alone.
    ///
    /// # Errors
    /// [`Failure`] if it cannot be drawn or written.
    pub fn write(&self, path: &Path, format: PictureFormat, code: &IssuedCode) -> Result<(), Failure> {
        let bytes = match format {
            PictureFormat::Pdf => self.sheet(code)?,
            PictureFormat::Png | PictureFormat::Svg => {
                let kind = self.policy.kind(&code.kind);
                // What a phone shows is gone in a minute; what stays must say until when it counts.
                let until = (!kind.device_bound).then(|| self.policy.local(&code.expires_at, "%Y-%m-%d %H:%M"));
                self.screen(&code.token, until.as_deref(), format)?
            }
        };
        write_picture(path, &bytes)
    }

    /// What a kind is printed as: a sheet for paper, a picture for a screen.
    #[must_use]
    pub fn format_for(&self, kind: &str) -> PictureFormat {
        if self.policy.kind(kind).on_paper {
            PictureFormat::Pdf
        } else {
            PictureFormat::Png
        }
    }

    /// As [`Self::write`], for what a phone shows now: without an expiry, for a screen only.
    ///
    /// # Errors
    /// [`Failure`] if it cannot be drawn or written.
    pub fn write_presentation(&self, path: &Path, format: PictureFormat, text: &str) -> Result<(), Failure> {
        if format == PictureFormat::Pdf {
            return Err(Failure::usage(
                "what a phone shows is dead before it is printed",
                "name the file .png or .svg",
            ));
        }
        write_picture(path, &self.screen(text, None, format)?)
    }

    fn screen(&self, text: &str, until: Option<&str>, format: PictureFormat) -> Result<Vec<u8>, Failure> {
        let symbol = draw(text, &SymbolOptions::SCREEN).map_err(cannot_draw)?;
        let texts = until.map(|until| (format!("有效期至 {until}"), format!("valid until {until}")));
        let caption = texts.as_ref().map(|(text, ascii)| Caption {
            text,
            ascii,
            fonts: &self.fonts,
        });
        match format {
            PictureFormat::Svg => Ok(symbol.to_svg(caption.as_ref()).into_bytes()),
            _ => symbol.to_png(caption.as_ref()).map_err(cannot_draw),
        }
    }

    fn sheet(&self, code: &IssuedCode) -> Result<Vec<u8>, Failure> {
        let printed = print_sheet(&sheet::content(code, &self.policy), &self.fonts).map_err(|error| {
            Failure::local(
                "cannot print the sheet",
                error,
                "install a font with Chinese characters, e.g. fonts-noto-cjk, or write a .png",
            )
        })?;
        for notice in printed.notices {
            note(notice);
        }
        Ok(printed.pdf)
    }
}

fn cannot_draw(error: impl std::fmt::Display) -> Failure {
    Failure::local("cannot draw the code", error, "check that the token is whole")
}

fn write_picture(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    files::write_atomic(path, bytes, files::PRIVATE_FILE_MODE)
        .map_err(|error| Failure::file("write", path, crate::client::root_cause(&error)))
}

#[cfg(test)]
mod tests;
