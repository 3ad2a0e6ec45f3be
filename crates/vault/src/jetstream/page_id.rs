//! The addresses of pages: tables, names and subjects.

pub(super) const ALL_SUBJECTS: &str = "$KV.CC_VAULT.>";
const SUBJECT_PREFIX: &str = "$KV.CC_VAULT.";

/// The table of a page.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Table {
    /// ID number → holder.
    Index,
    /// Holder → personal data.
    People,
    /// A single page of keys: the key that seals officers' reasons.
    Reasons,
}

/// The address of a page.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct PageId {
    pub(super) table: Table,
    pub(super) name: PageName,
}

/// The name of a page within its table.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum PageName {
    /// The entries whose keyed hash starts with this number.
    Number(u16),
    /// The key with which entries are hashed.
    Keys,
    /// The mark: up to where in the log erasures were applied.
    Mark,
}

impl PageId {
    pub(super) fn subject(self) -> String {
        let table = match self.table {
            Table::Index => 'i',
            Table::People => 'p',
            Table::Reasons => 'r',
        };
        match self.name {
            PageName::Number(number) => format!("{SUBJECT_PREFIX}{table}.{number:04x}"),
            PageName::Keys => format!("{SUBJECT_PREFIX}{table}.keys"),
            PageName::Mark => format!("{SUBJECT_PREFIX}{table}.mark"),
        }
    }

    /// The page of a subject.
    pub(super) fn from_subject(subject: &str) -> Option<Self> {
        let (table, number) = subject.strip_prefix(SUBJECT_PREFIX)?.split_once('.')?;
        let table = match table {
            "i" => Table::Index,
            "p" => Table::People,
            "r" => Table::Reasons,
            _ => return None,
        };
        let name = match number {
            "keys" => PageName::Keys,
            "mark" => PageName::Mark,
            number => PageName::Number(u16::from_str_radix(number, 16).ok()?),
        };
        Some(PageId { table, name })
    }
}
