//! `citycode import`: issues codes to the residents of a CSV file. A repeated import issues nothing twice.

mod prints;

use std::collections::HashMap;
use std::path::PathBuf;

use bytes::Bytes;
use citycode_residents_file::Encoding;
use clap::Args;
use futures::StreamExt as _;
use serde_json::{Value, json};

use super::verify::json_lines;
use super::{DONE, Session, body, issued, text};
use crate::residents::{self, BadRow, DecidedBy, Rejects, Resident};
use citycode_terminal::failure::Failure;
use citycode_terminal::output::{note, progress};
use prints::Prints;

/// Rows in flight to the server; a chunk of the request body has a sixteenth of them.
const ROWS_AHEAD: usize = 4096;

/// Flags of `import`.
#[derive(Args)]
#[command(
    after_help = "Example:\n  citycode import residents.csv --kind offline --channel pc --out prints/\n\nColumns: id_number,name[,disability,group]. Bad rows go into FILE.rejected.csv, which can be imported once it is corrected.\n\nExit code 0 if any row was issued or kept, 1 if every row was rejected; `rejected` in the summary counts them."
)]
pub(crate) struct ImportArgs {
    /// The CSV file. Its encoding is that of its byte order mark, or --encoding, or else UTF-8 or GB18030.
    file: PathBuf,
    /// The encoding of a file without a byte order mark, as web standards name it: gb18030, big5, shift_jis, …
    #[arg(long, value_name = "NAME", value_parser = residents::encoding)]
    encoding: Option<&'static Encoding>,
    /// The kind of code.
    #[arg(long)]
    kind: String,
    /// The channel on whose behalf the codes are issued.
    #[arg(long)]
    channel: String,
    /// Replace valid codes too; by default a valid code is kept.
    #[arg(long)]
    reissue: bool,
    /// Write into this folder a print of each new code, and of each kept code without a print there.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(crate) async fn run(session: &Session, args: &ImportArgs) -> Result<u8, Failure> {
    let file = residents::read(&args.file, args.encoding)?;
    if file.decided_by == DecidedBy::Content && file.encoding.name() != "UTF-8" {
        note(format_args!(
            "the file was read as {}: it has no byte order mark and is not UTF-8; give --encoding if it is another",
            file.encoding.name()
        ));
    }
    let encoding = file.encoding.name();
    let rejects = Rejects::beside(&args.file, file.columns);
    rejects.try_place()?;
    let (good, bad): (Vec<_>, Vec<_>) = file.rows.into_iter().partition(Result::is_ok);
    let good: Vec<Resident> = good.into_iter().filter_map(Result::ok).collect();
    let prints = match &args.out {
        Some(folder) => Some(Prints::into_folder(folder, &args.kind, session.painter(None).await?)?),
        None => None,
    };
    let mut import = Import {
        unsent_bad: bad.into_iter().filter_map(Result::err).collect(),
        by_line: good.iter().map(|row| (row.line, row.clone())).collect(),
        rejects,
        prints,
        answered: 0,
        issued: 0,
        kept: 0,
    };
    if let Err(failure) = import.send(session, args, good).await {
        if import.answered == 0 {
            import.prints.iter().for_each(Prints::abandon);
            return Err(failure);
        }
        return Err(import.interrupted(&failure));
    }
    import.finish(session, encoding)
}

/// An import under way.
struct Import {
    /// Invalid rows, which are never sent. They are written to the rejects only after the first answer, because an
    /// import that fails as a whole writes nothing.
    unsent_bad: Vec<BadRow>,
    by_line: HashMap<u64, Resident>,
    rejects: Rejects,
    prints: Option<Prints>,
    answered: u64,
    issued: u64,
    kept: u64,
}

impl Import {
    async fn send(&mut self, session: &Session, args: &ImportArgs, rows: Vec<Resident>) -> Result<(), Failure> {
        let options = body(&[
            ("kind", text(&args.kind)),
            ("channel", text(&args.channel)),
            ("reissue", args.reissue.then_some(json!(true))),
            ("print", self.prints.is_some().then_some(json!(true))),
        ]);
        let sent = rows.len() as u64;
        let bar = progress(sent, "rows");
        let request = reqwest::Body::wrap_stream(lines(options, rows));
        let response = session.client.stream("/api/v1/import", request).await?;
        let mut answers = std::pin::pin!(json_lines(response));
        let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
        loop {
            let answer = tokio::select! {
                answer = answers.next() => answer,
                _ = &mut interrupt => {
                    return Err(Failure::local("the import stopped", "it was interrupted at this terminal", ""));
                }
            };
            let Some(answer) = answer else { break };
            self.take(&answer?)?;
            bar.inc(1);
        }
        bar.finish_and_clear();
        if self.answered < sent {
            return Err(Failure::local("the import stopped", "the server ended the stream", ""));
        }
        self.reject_unsent()
    }

    fn reject_unsent(&mut self) -> Result<(), Failure> {
        for bad in std::mem::take(&mut self.unsent_bad) {
            self.rejects.add(bad.line, &bad.reason, &bad.fields)?;
        }
        Ok(())
    }

    fn take(&mut self, answer: &Value) -> Result<(), Failure> {
        self.answered += 1;
        self.reject_unsent()?;
        let line = answer.get("line").and_then(Value::as_u64).unwrap_or_default();
        match answer.get("outcome").and_then(Value::as_str) {
            Some("issued") => self.issued += 1,
            Some("kept") => self.kept += 1,
            _ => {
                let text = |key: &str| {
                    answer
                        .pointer(&format!("/problem/{key}"))
                        .and_then(Value::as_str)
                        .unwrap_or_default()
                };
                let reason = format!("{} [{}]", text("detail"), text("code"));
                let fields = self.by_line.get(&line).map(|row| row.fields.as_slice());
                return self.rejects.add(line, &reason, fields.unwrap_or_default());
            }
        }
        if let (Some(prints), Some(code)) = (&mut self.prints, answer.get("code")) {
            prints.write(line, &issued(code)?);
        }
        Ok(())
    }

    fn finish(self, session: &Session, encoding: &str) -> Result<u8, Failure> {
        self.rejects.finish()?;
        if self.rejects.count > 0 {
            note(format_args!(
                "{} rows were rejected; see {}",
                self.rejects.count,
                self.rejects.path().display()
            ));
        }
        if let Some((missing, why)) = self
            .prints
            .as_ref()
            .and_then(|prints| Some((prints.missing, prints.first_failure.as_ref()?)))
        {
            return Err(Failure::local(
                "not every print could be written",
                format_args!(
                    "{}; {missing} codes are valid but have no print ({})",
                    why.why(),
                    self.counts()
                ),
                "free some disk space, then run the same command again: it writes the missing prints and issues nothing twice",
            ));
        }
        let summary = json!({
            "issued": self.issued,
            "kept": self.kept,
            "rejected": self.rejects.count,
            "encoding": encoding,
        });
        let facts = [
            ("issued", self.issued.to_string()),
            ("kept", self.kept.to_string()),
            ("rejected", self.rejects.count.to_string()),
            ("encoding", encoding.to_owned()),
        ];
        session.output.thing(&summary, &facts)?;
        // Scripts must notice if every row was rejected.
        Ok(if self.issued + self.kept == 0 && self.rejects.count > 0 {
            1
        } else {
            DONE
        })
    }

    fn counts(&self) -> String {
        format!(
            "{} issued, {} kept, {} rejected so far",
            self.issued, self.kept, self.rejects.count
        )
    }

    fn interrupted(&self, failure: &Failure) -> Failure {
        Failure::of_code(
            citycode_service_kit::problem::Code::Unavailable,
            "the import was interrupted",
            format_args!("{} ({})", failure.why(), self.counts()),
            Some(
                "answered rows are done; run the same command again: nothing is issued twice, and missing prints are written",
            ),
        )
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
    // A chunk contains many rows, because a chunk per row would cost more than the row.
    first
        .chain(rest)
        .ready_chunks(ROWS_AHEAD / 16)
        .map(|chunk| Ok(Bytes::from(chunk.concat())))
}
