//! The tables and their columns. `docs/export.md` describes them; a test compares both.

/// What a column contains, and how it is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// UTF-8. A CSV cell that a spreadsheet would run as a formula has an apostrophe before it.
    Text,
    /// A number from 0 to 2⁶³ − 1.
    Number,
    /// An instant: in CSV RFC 3339 in UTC, in Parquet milliseconds since 1970-01-01T00:00:00Z.
    Instant,
    /// A day in UTC: in CSV `YYYY-MM-DD`, in Parquet days since 1970-01-01.
    Day,
    /// `true` or `false`.
    Flag,
}

impl Kind {
    /// The word for it in the documentation.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Number => "number",
            Self::Instant => "instant",
            Self::Day => "day",
            Self::Flag => "flag",
        }
    }
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its name, as in the rows of the API.
    pub name: &'static str,
    /// What it contains.
    pub kind: Kind,
    /// Whether it may have no value: an empty cell in CSV, null in Parquet.
    pub optional: bool,
}

const fn required(name: &'static str, kind: Kind) -> Column {
    Column {
        name,
        kind,
        optional: false,
    }
}

const fn optional(name: &'static str, kind: Kind) -> Column {
    Column {
        name,
        kind,
        optional: true,
    }
}

/// A table, which is one file.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Its name, which is also that of its file, and of its rows in the API.
    pub name: &'static str,
    /// Its columns, in order.
    pub columns: &'static [Column],
}

/// The tables of an export.
pub const TABLES: [Table; 3] = [
    Table {
        name: "events",
        columns: &[
            required("partition", Kind::Number),
            required("sequence", Kind::Number),
            required("ordinal", Kind::Number),
            required("decided_at", Kind::Instant),
            required("event", Kind::Text),
            required("actor_role", Kind::Text),
            optional("code", Kind::Number),
            optional("kind", Kind::Text),
            optional("expires_at", Kind::Instant),
            optional("supersedes", Kind::Number),
        ],
    },
    Table {
        name: "verdicts",
        columns: &[
            required("at", Kind::Instant),
            required("place", Kind::Text),
            required("device", Kind::Text),
            optional("scan_id", Kind::Text),
            optional("code", Kind::Number),
            optional("kind", Kind::Text),
            required("decision", Kind::Text),
            required("reason", Kind::Text),
            optional("recomputed_decision", Kind::Text),
            optional("recomputed_reason", Kind::Text),
            optional("agrees", Kind::Flag),
            optional("not_recomputable", Kind::Text),
            optional("policy", Kind::Text),
            required("partition", Kind::Number),
            required("sequence", Kind::Number),
            required("age_ms", Kind::Number),
        ],
    },
    Table {
        name: "daily",
        columns: &[
            required("day", Kind::Day),
            optional("event", Kind::Text),
            optional("place", Kind::Text),
            optional("kind", Kind::Text),
            optional("decision", Kind::Text),
            optional("reason", Kind::Text),
            optional("count", Kind::Number),
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_describes_exactly_these_columns() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/export.md");
        let document = std::fs::read_to_string(path).expect("docs/export.md");
        for table in TABLES {
            let heading = format!("## `{}`", table.name);
            let (_, section) = document.split_once(&heading).expect("a section for each table");
            let section = section.split("\n## ").next().expect("a section");
            let rows = section.lines().filter(|line| line.starts_with("| `"));
            let described: Vec<_> = rows
                .map(|row| {
                    row.split('|')
                        .map(str::trim)
                        .skip(1)
                        .take(2)
                        .collect::<Vec<_>>()
                        .join(" ")
                })
                .collect();
            let columns = table.columns.iter().map(|column| {
                let may_lack = if column.optional { ", optional" } else { "" };
                format!("`{}` {}{may_lack}", column.name, column.kind.name())
            });
            assert_eq!(described, columns.collect::<Vec<_>>(), "{}", table.name);
        }
    }
}
