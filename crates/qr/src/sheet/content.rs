//! The content of a sheet, as data.

use std::fmt;

/// A text in Chinese and English. An empty one is omitted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Label {
    /// Chinese, printed first and large.
    pub zh: String,
    /// English, printed below and small; alone if there is no Chinese font.
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

/// A value with its label, e.g. 有效期至 / Valid until and a date in both languages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LabelledValue {
    /// The label.
    pub label: Label,
    /// The value.
    pub value: Label,
}

/// A heading with lines below it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Section {
    /// The heading.
    pub heading: Label,
    /// Its lines, numbered if there are several.
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

/// The whole content of a sheet.
#[derive(Clone, PartialEq, Eq)]
pub struct SheetContent {
    /// The text of the symbol, in QR's alphanumeric set.
    pub token: String,
    /// The issuer, e.g. 上海市 · 一网通办.
    pub issuer: Label,
    /// The kind of the code, e.g. 离线随申码 / Offline code.
    pub kind: Label,
    /// The label of the name, e.g. 姓名 / Name.
    pub name_label: Label,
    /// The name, already masked, e.g. 张*三.
    pub masked_name: String,
    /// The expiry; printed in at least 18 pt.
    pub expiry: LabelledValue,
    /// The date of issue; omitted if empty.
    pub issued: LabelledValue,
    /// The label of the serial.
    pub serial_label: Label,
    /// The serial for typing, printed in groups of four.
    pub serial: String,
    /// The text in the frame, e.g. 须与身份证一并出示.
    pub present_with: Label,
    /// How to report a loss, and other sections.
    pub sections: Vec<Section>,
    /// A last line in small type; omitted if empty.
    pub footer: Label,
    /// The day of issue, for the file's metadata: a sheet that is printed again has the same bytes.
    pub date: SheetDate,
}

/// `Debug` shows neither the token nor the name nor the serial.
impl fmt::Debug for SheetContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SheetContent")
            .field("kind", &self.kind)
            .field("date", &self.date)
            .finish_non_exhaustive()
    }
}
