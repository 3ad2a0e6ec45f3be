//! Data on standard output: a table for people, JSON for programs. Talk goes to standard error, see [`note`].

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::failure::Failure;

/// Whether the one JSON value of this process was printed, or begun.
static VALUE_PRINTED: AtomicBool = AtomicBool::new(false);

/// In which form data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// One indented JSON value.
    Json,
    /// One JSON value a line.
    Ndjson,
}

/// Where data goes, and how it looks there.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// The form asked for.
    pub format: Format,
    /// Whether colours may be used: on a terminal, unless `NO_COLOR` is set (no-color.org).
    pub coloured: bool,
}

/// A line of a table about one thing: what, value.
pub type Fact = (&'static str, String);

impl Output {
    /// For this process's standard output.
    #[must_use]
    pub fn new(format: Format) -> Self {
        let forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            format,
            coloured: !forbidden && std::io::stdout().is_terminal(),
        }
    }

    /// Prints one thing: as JSON, or as a table of its `facts`.
    ///
    /// # Errors
    /// [`Failure`] if standard output cannot be written.
    pub fn thing(self, value: &Value, facts: &[Fact]) -> Result<(), Failure> {
        if self.format != Format::Table {
            return self.object(value);
        }
        let mut table = plain_table();
        for (what, fact) in facts {
            table.add_row([(*what).to_owned(), printable(fact)]);
        }
        self.lines(&table.trim_fmt())
    }

    /// Prints a list: as one JSON value, as one line of JSON an entry, or as a table.
    ///
    /// # Errors
    /// [`Failure`] if standard output cannot be written.
    pub fn list(
        self,
        whole: &Value,
        entries: &[Value],
        header: &[&str],
        rows: Vec<Vec<String>>,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Json => self.object(whole),
            Format::Ndjson => entries.iter().try_for_each(|entry| self.object(entry)),
            Format::Table => {
                let mut table = plain_table();
                table.set_header(header.iter().map(|title| (*title).to_owned()));
                for row in rows {
                    table.add_row(row.iter().map(|cell| printable(cell)).collect::<Vec<_>>());
                }
                self.lines(&table.trim_fmt())
            }
        }
    }

    /// Prints one JSON value, indented unless lines were asked for.
    ///
    /// # Errors
    /// [`Failure`] if standard output cannot be written.
    pub fn object(self, value: &Value) -> Result<(), Failure> {
        let text = if self.format == Format::Ndjson {
            value.to_string()
        } else {
            format!("{value:#}")
        };
        self.lines(&text)
    }

    /// Whether standard output takes nothing more: with [`Format::Json`] it is exactly one value.
    #[must_use]
    pub fn is_complete(self) -> bool {
        self.format == Format::Json && VALUE_PRINTED.load(Ordering::Relaxed)
    }

    /// Prints values as they come, see [`Sequence`].
    #[must_use]
    pub fn sequence(self) -> Sequence {
        Sequence {
            output: self,
            begun: false,
        }
    }

    /// Prints text as it is, with a line end, and flushes it.
    ///
    /// # Errors
    /// [`Failure`] if standard output cannot be written.
    pub fn lines(self, text: &str) -> Result<(), Failure> {
        VALUE_PRINTED.store(true, Ordering::Relaxed);
        let mut out = std::io::stdout().lock();
        writeln!(out, "{text}")
            .and_then(|()| out.flush())
            .map_err(|error| Failure::local("cannot write to standard output", error, "give it a reader that stays"))
    }

    /// `text` in a colour (an SGR number, ECMA-48 8.3.117), where colours may be used.
    #[must_use]
    pub fn colour(self, text: &str, sgr: u8) -> String {
        if self.coloured {
            format!("\u{1b}[{sgr}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Values printed as they come, a line each. With [`Format::Json`] they are the elements of one array, whose lines
/// begin with `[` or `,`.
pub struct Sequence {
    output: Output,
    begun: bool,
}

impl Sequence {
    /// Prints a value; in a table `row` is what stands for it.
    ///
    /// # Errors
    /// [`Failure`] if standard output cannot be written.
    pub fn add(&mut self, value: &Value, row: impl FnOnce() -> String) -> Result<(), Failure> {
        match self.output.format {
            Format::Table => self.output.lines(&row()),
            Format::Ndjson => self.output.lines(&value.to_string()),
            Format::Json => {
                let before = if std::mem::replace(&mut self.begun, true) {
                    ','
                } else {
                    '['
                };
                self.output.lines(&format!("{before}{value}"))
            }
        }
    }

    /// Ends it. A failure that ended it is an element too, as `{"problem":…}`; with [`Format::Ndjson`] the caller's
    /// report prints it.
    ///
    /// # Errors
    /// The failure, or [`Failure`] if standard output cannot be written.
    pub fn end(mut self, ended: Result<u8, Failure>) -> Result<u8, Failure> {
        if self.output.format == Format::Json {
            if let Err(failure) = &ended {
                self.add(&serde_json::json!({ "problem": failure.problem() }), String::new)?;
            }
            self.output.lines(if self.begun { "]" } else { "[]" })?;
        }
        ended
    }
}

/// A bar for work of so many parts, on a terminal only; it counts `what`.
#[must_use]
pub fn progress(parts: u64, what: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(&format!(
        "{{bar:40}} {{pos}}/{{len}} {what}, {{per_sec}}, {{eta}} left {{msg}}"
    ));
    ProgressBar::new(parts).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Writes one line to standard output and flushes it: what a supervisor or a script waits for.
///
/// # Errors
/// [`Failure`] if standard output cannot be written.
pub fn say(line: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let said = writeln!(out, "{line}").and_then(|()| out.flush());
    said.map_err(|error| Failure::local("cannot write to standard output", error, "give it a reader that stays"))
}

/// Says something to the person, on standard error.
pub fn note(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "citycode: {text}");
}

/// What a server sent may hold terminal commands; they become visible marks.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() && c != '\n' { '\u{FFFD}' } else { c })
        .collect()
}

fn plain_table() -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic);
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_cell_cannot_command_the_terminal() {
        assert_eq!(printable("a\u{1b}]0;x\u{7}\nb"), "a\u{FFFD}]0;x\u{FFFD}\nb");
    }

    #[test]
    fn without_leave_there_is_no_colour() {
        let plain = Output {
            format: Format::Table,
            coloured: false,
        };
        assert_eq!(plain.colour("x", 32), "x");
        assert_eq!(
            Output {
                coloured: true,
                ..plain
            }
            .colour("x", 32),
            "\u{1b}[32mx\u{1b}[0m"
        );
    }
}
