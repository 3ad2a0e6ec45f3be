//! What stands on a sheet, as data.

use std::fmt;

/// A text in Chinese and English. An empty one is left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Label {
    /// Chinese, printed first and large.
    pub zh: String,
    /// English, printed below and small; alone where there is no Chinese font.
    pub en: String,
}

impl Label {
    /// A label of both texts.
    pub fn new(zh: impl Into<String>, en: impl Into<String>) -> Self {
        Self {
            zh: zh.into(),
            en: en.into(),
        }
    }
}

/// A value with what it is, e.g. 有效期至 / Valid until and a date in both languages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LabelledValue {
    /// What it is.
    pub label: Label,
    /// The value.
    pub value: Label,
}

/// A heading with lines under it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Section {
    /// The heading.
    pub heading: Label,
    /// Its lines, each numbered when there are several.
    pub lines: Vec<Label>,
}

/// A calendar date, for the file's metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SheetDate {
    /// Year, e.g. 2022.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
}

impl SheetDate {
    pub(crate) fn is_plausible(self) -> bool {
        (1970..=9999).contains(&self.year) && (1..=12).contains(&self.month) && (1..=31).contains(&self.day)
    }
}

/// Everything that a sheet shows.
#[derive(Clone, PartialEq, Eq)]
pub struct SheetContent {
    /// The text of the symbol, in QR's alphanumeric set.
    pub token: String,
    /// Who issues, e.g. 上海市 · 一网通办.
    pub issuer: Label,
    /// The kind of the code, e.g. 离线随申码 / Offline code.
    pub kind: Label,
    /// What the name is called, e.g. 姓名 / Name.
    pub name_label: Label,
    /// The name, already masked, e.g. 张*三.
    pub masked_name: String,
    /// When it ends; printed in at least 18 pt.
    pub expiry: LabelledValue,
    /// When it was issued; left out if empty.
    pub issued: LabelledValue,
    /// What the serial is called.
    pub serial_label: Label,
    /// The serial for typing; printed in groups of four.
    pub serial: String,
    /// The word in the frame, e.g. 须与身份证一并出示.
    pub present_with: Label,
    /// How to report a loss, and other sections.
    pub sections: Vec<Section>,
    /// A last line in small letters; left out if empty.
    pub footer: Label,
    /// The day of issue, for the file's metadata: a sheet printed again has the same bytes.
    pub date: SheetDate,
}

/// Shows neither the token nor the name nor the serial.
impl fmt::Debug for SheetContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SheetContent")
            .field("kind", &self.kind)
            .field("date", &self.date)
            .finish_non_exhaustive()
    }
}
