//! `citycode import`: a CSV of residents becomes issued codes. Running it again issues nothing twice.

use std::collections::HashMap;
use std::path::PathBuf;

use bytes::Bytes;
use clap::Args;
use futures::StreamExt as _;
use serde_json::{Value, json};

use super::verify::json_lines;
use super::{DONE, Session, body, issued, text};
use crate::failure::Failure;
use crate::output::{note, progress};
use crate::picture::Painter;
use crate::residents::{self, Rejects, Resident};

/// Rows on the way to the server at once.
const ROWS_AHEAD: usize = 4096;

/// Flags of `import`.
#[derive(Args)]
#[command(
    after_help = "Example:\n  citycode import residents.csv --kind offline --channel pc --out prints/\n\nColumns: id_number,name[,disability,group]. Bad rows go into FILE.rejected.csv.\n\nExit code 0 where any row was issued or kept, 1 where every row was rejected; `rejected` in the summary counts them."
)]
pub(crate) struct ImportArgs {
    /// The CSV file, UTF-8 or GBK.
    file: PathBuf,
    /// The kind of code.
    #[arg(long)]
    kind: String,
    /// The channel in whose name it happens.
    #[arg(long)]
    channel: String,
    /// Replace valid codes too; without it who has one keeps it.
    #[arg(long)]
    reissue: bool,
    /// Print each new code into this folder.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(crate) async fn run(session: &Session, args: &ImportArgs) -> Result<u8, Failure> {
    let rows = residents::read(&args.file)?;
    let mut rejects = Rejects::beside(&args.file);
    rejects.try_place()?;
    let mut good: Vec<Resident> = Vec::with_capacity(rows.len());
    for row in rows {
        match row {
            Ok(resident) => good.push(resident),
            Err(bad) => rejects.add(bad.line, &bad.reason, &bad.fields)?,
        }
    }
    let printer = match &args.out {
        Some(folder) => {
            std::fs::create_dir_all(folder).map_err(|error| Failure::file("make", folder, error))?;
            let painter = session.painter(None).await?;
            painter.try_folder(folder, &args.kind)?;
            Some((folder.clone(), painter))
        }
        None => None,
    };
    let options = body(&[
        ("kind", text(&args.kind)),
        ("channel", text(&args.channel)),
        ("reissue", args.reissue.then_some(json!(true))),
        ("print", printer.is_some().then_some(json!(true))),
    ]);
    let bar = progress(good.len() as u64, "rows");
    let by_line: HashMap<u64, Resident> = good.iter().map(|row| (row.line, row.clone())).collect();
    let sent = good.len() as u64;
    let response = session
        .client
        .stream("/api/v1/import", reqwest::Body::wrap_stream(lines(options, good)))
        .await?;
    let mut counts = Counts::default();
    let mut answers = std::pin::pin!(json_lines(response));
    while let Some(answer) = answers.next().await {
        let answer = answer.map_err(|failure| interrupted(&failure, &counts))?;
        counts.take(&answer, &by_line, &mut rejects, printer.as_ref())?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    if counts.answered < sent {
        let failure = Failure::local("the import stopped", "the server ended the stream", "");
        return Err(interrupted(&failure, &counts));
    }
    if rejects.count > 0 {
        note(format_args!(
            "{} rows were rejected; see {}",
            rejects.count,
            rejects.path().display()
        ));
    }
    let summary = json!({ "issued": counts.issued, "kept": counts.kept, "rejected": rejects.count });
    let facts = [
        ("issued", counts.issued.to_string()),
        ("kept", counts.kept.to_string()),
        ("rejected", rejects.count.to_string()),
    ];
    session.output.thing(&summary, &facts)?;
    // Nothing could be done at all: a script should notice.
    Ok(if counts.issued + counts.kept == 0 && rejects.count > 0 {
        1
    } else {
        DONE
    })
}

#[derive(Default)]
struct Counts {
    answered: u64,
    issued: u64,
    kept: u64,
}

impl Counts {
    fn take(
        &mut self,
        answer: &Value,
        by_line: &HashMap<u64, Resident>,
        rejects: &mut Rejects,
        printer: Option<&(PathBuf, Painter)>,
    ) -> Result<(), Failure> {
        self.answered += 1;
        let line = answer.get("line").and_then(Value::as_u64).unwrap_or_default();
        match answer.get("outcome").and_then(Value::as_str) {
            Some("issued") => {
                self.issued += 1;
                if let (Some((folder, painter)), Some(code)) = (printer, answer.get("code")) {
                    let code = issued(code)?;
                    let format = painter.format_for(&code.kind);
                    let name = format!("{line:07}-{}.{}", code.code_id, format.extension());
                    painter.write(&folder.join(name), format, &code)?;
                }
            }
            Some("kept") => self.kept += 1,
            _ => {
                let said = |key: &str| {
                    answer
                        .pointer(&format!("/problem/{key}"))
                        .and_then(Value::as_str)
                        .unwrap_or_default()
                };
                let reason = format!("{} [{}]", said("detail"), said("code"));
                let fields = by_line
                    .get(&line)
                    .map(|row| vec![row.id_number.clone(), row.name.clone()]);
                rejects.add(line, &reason, &fields.unwrap_or_default())?;
            }
        }
        Ok(())
    }
}

fn lines(options: Value, rows: Vec<Resident>) -> impl futures::Stream<Item = Result<Bytes, std::io::Error>> {
    let first = futures::stream::iter([Bytes::from(format!("{options}\n"))]);
    let rest = futures::stream::iter(rows).map(|row| {
        let row = body(&[
            ("line", Some(json!(row.line))),
            ("id_number", text(&row.id_number)),
            ("name", text(&row.name)),
            ("disability", row.disability.then_some(json!(true))),
            ("group", row.group.as_deref().and_then(text)),
        ]);
        Bytes::from(format!("{row}\n"))
    });
    // Many rows to a chunk: a chunk for each row would cost more than the row.
    first
        .chain(rest)
        .ready_chunks(ROWS_AHEAD / 16)
        .map(|chunk| Ok(Bytes::from(chunk.concat())))
}

fn interrupted(failure: &Failure, counts: &Counts) -> Failure {
    Failure::of_code(
        citycode_service_kit::problem::Code::Unavailable,
        "the import was interrupted",
        format_args!(
            "{} ({} issued, {} kept so far)",
            failure.why(),
            counts.issued,
            counts.kept
        ),
        Some("what was answered stands; run the same command again, and nothing is issued twice"),
    )
}
