//! `citycode export`: the rows of a period as files.

use std::path::PathBuf;

use citycode_terminal::failure::Failure;
use citycode_terminal::output::spinner;
use clap::{Args, ValueEnum};
use futures::StreamExt as _;
use serde_json::{Value, json};

use super::Session;
use super::audit::{PeriodArgs, Purpose, progress_sentence, stopped};
use super::verify::json_lines;
use crate::export_files::{Export, ExportError, Format as FileFormat, TABLES};

/// Flags of `export`.
#[derive(Args)]
#[command(
    after_help = "Example:\n  citycode export --from 2026-05-01T00:00:00+08:00 --to 2026-06-01T00:00:00+08:00 --format parquet --out may --purpose \"monthly audit\"\n\nThe export is complete if DIR/manifest.json exists. The same command run again replaces an interrupted export."
)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    period: PeriodArgs,
    /// Format of the files.
    #[arg(long, value_enum)]
    format: FormatArg,
    /// Folder for the files; it is created if it is missing, and an earlier export in it is replaced.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Admin: write daily counts under ten too.
    #[arg(long)]
    exact: bool,
    #[command(flatten)]
    purpose: Purpose,
}

#[derive(Clone, Copy, ValueEnum)]
enum FormatArg {
    /// Apache Parquet.
    Parquet,
    /// Comma-separated values.
    Csv,
}

/// Writes the rows of a period.
pub(crate) async fn run(session: &Session, args: &ExportArgs) -> Result<(), Failure> {
    let (from, to) = (args.period.from.to_string(), args.period.to.to_string());
    let request = json!({"purpose": args.purpose.get()?, "from": from, "to": to, "exact": args.exact});
    let format = match args.format {
        FormatArg::Parquet => FileFormat::Parquet,
        FormatArg::Csv => FileFormat::Csv,
    };
    let response = session.client.post_for_lines("/api/v1/audit/export", &request).await?;
    let mut lines = std::pin::pin!(json_lines(response));
    let mut export = Export::begin(&args.out, format).map_err(|error| failed(&error))?;
    let bar = spinner();
    let result = loop {
        let mut line = lines.next().await.ok_or_else(stopped)??;
        if let Some(problem) = line.get_mut("problem") {
            return Err(Failure::from_problem(problem.take()));
        }
        if let Some(progress) = line.get("progress") {
            bar.set_message(progress_sentence(progress));
        }
        for table in &TABLES {
            let rows = line.get(table.name).and_then(Value::as_array);
            let mut rows = rows.into_iter().flatten();
            rows.try_for_each(|row| export.add(table.name, row))
                .map_err(|error| failed(&error))?;
        }
        if let Some(result) = line.get_mut("result") {
            break result.take();
        }
    };
    bar.finish_and_clear();
    let mut about = json!({"from": from, "to": to, "exact": args.exact});
    for name in ["read_to", "unreadable_batches"] {
        about[name] = result.get(name).cloned().unwrap_or_default();
    }
    let manifest = export.finish(about).map_err(|error| failed(&error))?;
    let rows = manifest
        .files
        .iter()
        .map(|file| format!("{} ({} rows)", file.name, file.rows));
    let rows = rows.collect::<Vec<_>>().join(", ");
    let facts = [
        ("done", "exported".to_owned()),
        ("folder", args.out.display().to_string()),
        ("files", rows),
    ];
    let manifest = serde_json::to_value(&manifest).expect("a tree of strings and numbers");
    session.output.thing(&manifest, &facts)
}

fn failed(error: &ExportError) -> Failure {
    let fix = match error {
        ExportError::Busy(_) => "wait for it, or name another folder",
        ExportError::File { .. } => "check the folder, its permissions and the free disk space, then run it again",
        ExportError::Row { .. } | ExportError::Table(_) | ExportError::Encoding(_) => {
            "use the same release of the program and of the server"
        }
    };
    Failure::local("cannot write the export", error, fix)
}
