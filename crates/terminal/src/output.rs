//! Data on standard output: a table for people, JSON for programs. Messages go to standard error, see [`note`].

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::failure::Failure;

/// Whether printing of the one JSON value of this process has started.
static VALUE_PRINTED: AtomicBool = AtomicBool::new(false);

/// The format in which data is printed.
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

/// The format of data on standard output.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// The requested format.
    pub format: Format,
    /// Whether colours may be used: on a terminal, unless `NO_COLOR` is set (no-color.org).
    pub coloured: bool,
}

/// A row of a table about one object: name and value.
pub type Fact = (&'static str, String);

impl Output {
    /// An output to this process's standard output.
    #[must_use]
    pub fn new(format: Format) -> Self {
        let forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            format,
            coloured: !forbidden && std::io::stdout().is_terminal(),
        }
    }

    /// Prints one object: as JSON, or as a table of its `facts`.
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

    /// Prints a list: as one JSON value, as one line of JSON per entry, or as a table.
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

    /// Prints one JSON value, indented unless [`Format::Ndjson`] was requested.
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

    /// Whether nothing more may be printed: with [`Format::Json`], standard output is exactly one value.
    #[must_use]
    pub fn is_complete(self) -> bool {
        self.format == Format::Json && VALUE_PRINTED.load(Ordering::Relaxed)
    }

    /// Prints values as they arrive, see [`Sequence`].
    #[must_use]
    pub fn sequence(self) -> Sequence {
        Sequence {
            output: self,
            started: false,
        }
    }

    /// Prints text unchanged, with a line end, and flushes it.
    ///
    /// # Errors
    /// [`Failure`] if standard output cannot be written.
    pub fn lines(self, text: &str) -> Result<(), Failure> {
        VALUE_PRINTED.store(true, Ordering::Relaxed);
        let mut out = std::io::stdout().lock();
        writeln!(out, "{text}")
            .and_then(|()| out.flush())
            .map_err(|error| Failure::local("cannot write to standard output", error, "keep its reader open"))
    }

    /// `text` in a colour (an SGR number, ECMA-48 8.3.117), if colours may be used.
    #[must_use]
    pub fn colour(self, text: &str, sgr: u8) -> String {
        if self.coloured {
            format!("\u{1b}[{sgr}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Values printed as they arrive, one per line. With [`Format::Json`] they are the elements of one array, whose lines
/// start with `[` or `,`.
pub struct Sequence {
    output: Output,
    started: bool,
}

impl Sequence {
    /// Prints a value; a table contains its `row` instead.
    ///
    /// # Errors
    /// [`Failure`] if standard output cannot be written.
    pub fn add(&mut self, value: &Value, row: impl FnOnce() -> String) -> Result<(), Failure> {
        match self.output.format {
            Format::Table => self.output.lines(&row()),
            Format::Ndjson => self.output.lines(&value.to_string()),
            Format::Json => {
                let before = if std::mem::replace(&mut self.started, true) {
                    ','
                } else {
                    '['
                };
                self.output.lines(&format!("{before}{value}"))
            }
        }
    }

    /// Ends the sequence. With [`Format::Json`], a failure that ended it becomes the last element, as `{"problem":…}`;
    /// with [`Format::Ndjson`] the caller's report prints it.
    ///
    /// # Errors
    /// The failure, or [`Failure`] if standard output cannot be written.
    pub fn end(mut self, ended: Result<u8, Failure>) -> Result<u8, Failure> {
        if self.output.format == Format::Json {
            if let Err(failure) = &ended {
                self.add(&serde_json::json!({ "problem": failure.problem() }), String::new)?;
            }
            self.output.lines(if self.started { "]" } else { "[]" })?;
        }
        ended
    }
}

/// A progress bar for `parts` units of `what`; hidden unless standard error is a terminal.
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

/// A message that replaces the one before, for work of unknown length; hidden unless standard error is a terminal.
#[must_use]
pub fn spinner() -> ProgressBar {
    if std::io::stderr().is_terminal() {
        ProgressBar::new_spinner()
    } else {
        ProgressBar::hidden()
    }
}

/// Writes one line to standard output and flushes it; supervisors and scripts wait for such lines.
///
/// # Errors
/// [`Failure`] if standard output cannot be written.
pub fn say(line: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let written = writeln!(out, "{line}").and_then(|()| out.flush());
    written.map_err(|error| Failure::local("cannot write to standard output", error, "keep its reader open"))
}

/// Prints a message for people on standard error.
pub fn note(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "citycode: {text}");
}

/// Replaces control characters of a server's text, which could command the terminal, by U+FFFD.
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
    fn colours_are_used_only_if_enabled() {
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
