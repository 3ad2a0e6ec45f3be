//! Sends the rows of a file to the issuer, and tells how it goes.

use std::collections::HashMap;

use askama::Template;
use citycode_residents_file::{BadRow, Resident, ResidentsFile, rejects_header, rejects_row};
use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::proto::issuer::v1::import_request::Part;
use citycode_wire::proto::issuer::v1::{
    Attestation, ImportOptions, ImportOutcome, ImportRequest, ImportResponse, ImportRow,
};
use futures::stream;

use super::RejectsFile;
use crate::caller::PageCaller;
use crate::frame::Frame;
use crate::ops::access::Operating;
use crate::ops::numbers;
use crate::ops::streamed::{Failed, Parts, Progress};
use crate::site::Site;

/// The answer shows so many lines of progress.
const PROGRESS_LINES: usize = 10;

/// What is imported, and by whom.
pub(super) struct Wanted {
    pub(super) kind: String,
    pub(super) channel: String,
    pub(super) caller: PageCaller,
}

#[derive(Template)]
#[template(path = "ops/import_part.html")]
struct Told<'a> {
    f: &'a Frame<'a>,
    issued: String,
    kept: String,
    rejected: usize,
    /// Line and reason of the first rejected rows.
    first: Vec<(u64, String)>,
    file: RejectsFile,
}

/// Imports the file.
pub(super) async fn import(site: &Site, op: &Operating, wanted: Wanted, file: ResidentsFile, parts: &Parts) {
    let f = op.frame(site, "/ops/import");
    let mut import = Import::new(&f, file.columns);
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for row in file.rows {
        match row {
            Ok(row) => good.push(row),
            Err(row) => bad.push(row),
        }
    }
    if let Err(problem) = import.send(site, wanted, good, parts).await {
        parts.send(&Failed::new(&f, &problem)).await;
    }
    for BadRow { line, reason, fields } in bad {
        import.reject(line, reason, &fields);
    }
    import.rejected.sort_by_key(|(line, _, _)| *line);
    let csv = import.csv();
    let first = import.rejected.iter().take(super::SHOWN_BAD);
    let told = Told {
        issued: numbers::grouped(import.issued),
        kept: numbers::grouped(import.kept),
        rejected: import.rejected.len(),
        first: first.map(|(line, reason, _)| (*line, reason.clone())).collect(),
        file: RejectsFile::new(site, &op.session, &csv),
        f: &f,
    };
    parts.send(&told).await;
}

/// An import under way.
struct Import<'a> {
    f: &'a Frame<'a>,
    columns: Vec<String>,
    issued: u64,
    kept: u64,
    /// Line, reason, and the fields of the row.
    rejected: Vec<(u64, String, Vec<String>)>,
}

impl<'a> Import<'a> {
    fn new(f: &'a Frame<'a>, columns: Vec<String>) -> Self {
        Self {
            f,
            columns,
            issued: 0,
            kept: 0,
            rejected: Vec::new(),
        }
    }

    fn reject(&mut self, line: u64, reason: String, fields: &[String]) {
        self.rejected.push((line, reason, fields.to_vec()));
    }

    /// The rejected rows as a file that can be corrected and imported.
    fn csv(&self) -> Vec<u8> {
        let mut csv = rejects_header(&self.columns);
        for (line, reason, fields) in &self.rejected {
            csv.extend(rejects_row(*line, reason, fields));
        }
        csv
    }

    /// Sends the rows. After a failure the answered rows are done.
    async fn send(&mut self, site: &Site, wanted: Wanted, rows: Vec<Resident>, parts: &Parts) -> Result<(), Problem> {
        let all = rows.len();
        let by_line: HashMap<u64, Vec<String>> = rows.iter().map(|row| (row.line, row.fields.clone())).collect();
        let options = Part::Options(ImportOptions {
            kind: wanted.kind,
            channel: wanted.channel,
            reissue: false,
            print: false,
        });
        let messages = [options].into_iter().chain(rows.into_iter().map(message));
        let messages: Vec<_> = messages.map(|part| ImportRequest { part: Some(part) }).collect();
        let mut issuer = site.clients.issuer.clone();
        let answers = issuer
            .import(site.request(&wanted.caller, stream::iter(messages))?)
            .await?;
        let mut answers = answers.into_inner();
        let (mut done, step) = (0, all.div_ceil(PROGRESS_LINES).max(1));
        while let Some(answer) = answers.message().await? {
            self.take(&answer, &by_line);
            done += 1;
            if done % step == 0 && done < all {
                let (done, all) = (numbers::grouped(done as u64), numbers::grouped(all as u64));
                let text = self.f.t2("ops-progress-rows", ("done", &done), ("all", &all));
                if !parts.send(&Progress { text }).await {
                    return Err(Problem::new(Code::Unavailable, "the reader left"));
                }
            }
        }
        if done < all {
            return Err(Problem::new(Code::Unavailable, "the issuer ended the import"));
        }
        Ok(())
    }

    fn take(&mut self, answer: &ImportResponse, by_line: &HashMap<u64, Vec<String>>) {
        match answer.outcome() {
            ImportOutcome::Issued => self.issued += 1,
            ImportOutcome::Kept => self.kept += 1,
            ImportOutcome::Rejected | ImportOutcome::Unspecified => {
                let code = answer.problem.as_ref().map_or("", |problem| problem.code.as_str());
                let problem = Problem::new(Code::parse(code).unwrap_or(Code::Internal), "");
                let reason = format!("{} [{code}]", self.f.problem(&problem));
                let fields = by_line.get(&answer.line).cloned().unwrap_or_default();
                self.reject(answer.line, reason, &fields);
            }
        }
    }
}

fn message(row: Resident) -> Part {
    let attests = row.disability || row.group.is_some();
    Part::Row(ImportRow {
        line: row.line,
        id_number: row.id_number,
        name: row.name,
        attestation: attests.then(|| Attestation {
            disability: row.disability,
            group: row.group.unwrap_or_default(),
        }),
    })
}
