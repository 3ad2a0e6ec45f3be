//! The results of a bench: figures with references and goals, as a table and as JSON.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde::Serialize;

/// The goal of a figure. The ratio is the figure's value divided by its reference.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
    RatioAtMost(f64),
    RatioAtLeast(f64),
}

impl Goal {
    fn words(self) -> String {
        match self {
            Self::AtMost(limit) => format!("value <= {limit}"),
            Self::AtLeast(limit) => format!("value >= {limit}"),
            Self::RatioAtMost(limit) => format!("ratio <= {limit}"),
            Self::RatioAtLeast(limit) => format!("ratio >= {limit}"),
        }
    }

    fn holds(self, value: f64, ratio: Option<f64>) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
            Self::RatioAtMost(limit) => ratio.is_some_and(|ratio| ratio <= limit),
            Self::RatioAtLeast(limit) => ratio.is_some_and(|ratio| ratio >= limit),
        }
    }
}

/// One figure.
#[derive(Serialize)]
pub(crate) struct Figure {
    name: &'static str,
    value: f64,
    unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    goal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ok: Option<bool>,
}

impl Figure {
    pub(crate) fn new(name: &'static str, value: f64, unit: &'static str) -> Self {
        Self {
            name,
            value: rounded(value),
            unit,
            reference: None,
            ratio: None,
            goal: None,
            ok: None,
        }
    }

    /// Sets the reference, measured in the same run and in the same unit.
    pub(crate) fn reference(mut self, reference: f64) -> Self {
        self.reference = Some(rounded(reference));
        self.ratio = Some(rounded(self.value / reference));
        self
    }

    /// Adds a goal; all goals must hold.
    pub(crate) fn goal(mut self, goal: Goal) -> Self {
        let words = goal.words();
        self.goal = Some(match self.goal.take() {
            Some(before) => format!("{before} and {words}"),
            None => words,
        });
        self.ok = Some(self.ok.unwrap_or(true) && goal.holds(self.value, self.ratio));
        self
    }
}

/// Four significant digits: more than any of these figures is reproducible to.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let digits = 3 - value.abs().log10().floor() as i32;
    let factor = 10f64.powi(digits);
    (value * factor).round() / factor
}

/// The figures of one bench, and the machine.
#[derive(Serialize)]
pub(crate) struct Report {
    bench: &'static str,
    machine: String,
    figures: Vec<Figure>,
    #[serde(skip)]
    notes: Vec<String>,
}

impl Report {
    pub(crate) fn new(bench: &'static str) -> Self {
        Self {
            bench,
            machine: machine(),
            figures: Vec::new(),
            notes: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, figure: Figure) {
        eprintln!("citycode-bench: {} = {} {}", figure.name, figure.value, figure.unit);
        self.figures.push(figure);
    }

    /// Adds a note to the figures.
    pub(crate) fn note(&mut self, note: String) {
        eprintln!("citycode-bench: {note}");
        self.notes.push(note);
    }

    pub(crate) fn all_hold(&self) -> bool {
        self.figures.iter().all(|figure| figure.ok != Some(false))
    }

    pub(crate) fn table(&self) -> String {
        let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |v| v.to_string());
        let mut rows = vec![
            ["figure", "value", "unit", "reference", "ratio", "goal", ""]
                .map(ToOwned::to_owned)
                .to_vec(),
        ];
        rows.extend(self.figures.iter().map(|figure| {
            let held = match figure.ok {
                Some(true) => "holds",
                Some(false) => "MISSED",
                None => "",
            };
            vec![
                figure.name.to_owned(),
                figure.value.to_string(),
                figure.unit.to_owned(),
                number(figure.reference),
                number(figure.ratio),
                figure.goal.clone().unwrap_or_else(|| "-".to_owned()),
                held.to_owned(),
            ]
        }));
        let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..7).map(width).collect();
        let mut table = format!("{}: {}\n", self.bench, self.machine);
        for row in &rows {
            let cells = row.iter().zip(&widths);
            let line: Vec<String> = cells.map(|(cell, width)| format!("{cell:<width$}")).collect();
            table.push_str(line.join("  ").trim_end());
            table.push('\n');
        }
        for note in &self.notes {
            table.push_str(&format!("- {note}\n"));
        }
        table
    }

    pub(crate) fn write_json(&self, file: &Path) -> Result<()> {
        let json = serde_json::to_string_pretty(self)?;
        std::fs::write(file, json + "\n").with_context(|| format!("cannot write {}", file.display()))
    }
}

/// Cores, processor, memory, kernel, load and date.
fn machine() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpuinfo = read("/proc/cpuinfo");
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':'))
            .map_or_else(|| "unknown".to_owned(), |(_, value)| value.trim().to_owned())
    };
    let memory = field(&read("/proc/meminfo"), "MemTotal");
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let date = Command::new("date").args(["-u", "+%F"]).output();
    let date = date.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    );
    format!(
        "{cores} x {}, {memory}, Linux {}, {date}, load before {}",
        field(&cpuinfo, "model name"),
        kernel.trim(),
        load.split(' ').next().unwrap_or("unknown"),
    )
}
