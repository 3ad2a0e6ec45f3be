//! The check before printing: every character is in a font, or is replaced by something legible.
//!
//! So a sheet never shows an empty box. Chinese is replaced by English, a character of a name by `*`; English
//! that cannot be printed either is an error.

use crate::fonts::{Fonts, Weight};

use super::content::{Label, LabelledValue, Section, SheetContent};
use super::{PrintError, PrintNotice};

/// The content with everything unprintable replaced, and the notices about it.
pub(super) fn only(content: &SheetContent, fonts: &Fonts) -> Result<(SheetContent, Vec<PrintNotice>), PrintError> {
    let mut check = Check {
        fonts,
        notices: Vec::new(),
    };
    let legible = SheetContent {
        token: content.token.clone(),
        issuer: check.label("the issuer", &content.issuer)?,
        kind: check.label("the kind", &content.kind)?,
        name_label: check.label("the name's label", &content.name_label)?,
        masked_name: check.name(&content.masked_name),
        expiry: check.labelled("the expiry", &content.expiry)?,
        issued: check.labelled("the issue date", &content.issued)?,
        serial_label: check.label("the serial's label", &content.serial_label)?,
        serial: check.needed("the serial", &content.serial)?,
        present_with: check.label("the word in the frame", &content.present_with)?,
        sections: content
            .sections
            .iter()
            .map(|section| check.section(section))
            .collect::<Result<_, _>>()?,
        footer: check.label("the footer", &content.footer)?,
        date: content.date,
    };
    Ok((legible, check.notices))
}

struct Check<'a> {
    fonts: &'a Fonts,
    notices: Vec<PrintNotice>,
}

impl Check<'_> {
    fn label(&mut self, field: &'static str, label: &Label) -> Result<Label, PrintError> {
        if self.fonts.cover(&label.zh) {
            return Ok(Label {
                zh: label.zh.clone(),
                en: self.needed(field, &label.en)?,
            });
        }
        if label.en.is_empty() {
            return Err(PrintError::MissingGlyph { field });
        }
        self.notices.push(PrintNotice::EnglishOnly { field });
        Ok(Label {
            zh: String::new(),
            en: self.needed(field, &label.en)?,
        })
    }

    fn labelled(&mut self, field: &'static str, value: &LabelledValue) -> Result<LabelledValue, PrintError> {
        Ok(LabelledValue {
            label: self.label(field, &value.label)?,
            value: self.label(field, &value.value)?,
        })
    }

    fn section(&mut self, section: &Section) -> Result<Section, PrintError> {
        let lines = section.lines.iter().map(|line| self.label("a section's line", line));
        let lines = lines.collect::<Result<_, _>>()?;
        Ok(Section {
            heading: self.label("a section's heading", &section.heading)?,
            lines,
        })
    }

    fn needed(&self, field: &'static str, text: &str) -> Result<String, PrintError> {
        if self.fonts.cover(text) {
            Ok(text.to_owned())
        } else {
            Err(PrintError::MissingGlyph { field })
        }
    }

    fn name(&mut self, name: &str) -> String {
        let printed: String = name
            .chars()
            .map(|c| {
                if self.fonts.face_for(c, Weight::Bold).is_some() {
                    c
                } else {
                    '*'
                }
            })
            .collect();
        if printed != name {
            self.notices.push(PrintNotice::NameMaskedFurther);
        }
        printed
    }
}
