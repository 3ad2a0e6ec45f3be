//! `/ops/import`: registers the residents of a CSV file and issues their codes. A resident who has a valid code keeps it,
//! so the same file sent twice issues nothing twice.

mod rows;

use askama::Template;
use axum::Form;
use axum::extract::{Multipart, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use citycode_residents_file::{BadRow, ResidentsFile};
use data_encoding::{BASE64, HEXLOWER};
use http::StatusCode;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use serde::Deserialize;
use std::sync::Arc;

use super::access::{Operating, TabLink};
use super::fields::{Faults, Field, choices, kinds};
use super::numbers;
use super::streamed::{self, Streamed};
use crate::frame::{Frame, page};
use crate::problem_page::PageError;
use crate::session::Session;
use crate::site::{SharedSite, Site};

/// Largest file: some sixty thousand residents. The command line imports larger ones.
const MAX_FILE_BYTES: usize = 8 << 20;
/// Largest form: a file, or the rejects of one in base64.
pub(super) const MAX_UPLOAD_BYTES: usize = 2 * MAX_FILE_BYTES;
/// Longest value of a field that is not the file.
const MAX_FIELD_BYTES: usize = 1_024;

#[derive(Template)]
#[template(path = "ops/import.html")]
struct ImportPage<'a> {
    f: Frame<'a>,
    tabs: Vec<TabLink>,
    file_error: String,
    fields: Vec<Field>,
    most: String,
    checked: Option<Checked>,
}

/// What a file contains, before anything is done.
struct Checked {
    summary: String,
    encoding: &'static str,
    /// Line and reason of the first bad rows.
    first_bad: Vec<String>,
}

pub(super) async fn show(State(site): SharedSite, op: Operating) -> Response {
    let f = op.frame(&site, "/ops/import");
    page(StatusCode::OK, &import_page(&op, f, &Sent::default()))
}

/// A reload of the answer leads to the form.
pub(super) async fn again(_: Operating) -> Redirect {
    Redirect::to("/ops/import")
}

fn import_page<'a>(op: &Operating, f: Frame<'a>, sent: &Sent) -> ImportPage<'a> {
    let channels = f
        .site
        .policy
        .channels
        .iter()
        .map(|channel| (channel.name.clone(), f.label(&channel.label)));
    let channels = choices(channels, &sent.channel);
    ImportPage {
        tabs: op.tabs(&f),
        file_error: String::new(),
        fields: vec![
            Field::new(&f, "kind", kinds(&f, &sent.kind), ""),
            Field::new(&f, "channel", channels, ""),
        ],
        most: numbers::grouped((MAX_FILE_BYTES >> 20) as u64),
        checked: None,
        f,
    }
}

/// The form.
#[derive(Default)]
struct Sent {
    form_token: String,
    kind: String,
    channel: String,
    /// `check` or `import`.
    step: String,
    file: Vec<u8>,
    is_too_large: bool,
}

impl Sent {
    /// # Errors
    /// [`PageError::StaleForm`] if it is not one of ours, or was interrupted.
    async fn read(mut form: Multipart) -> Result<Self, PageError> {
        let mut sent = Self::default();
        loop {
            let field = match form.next_field().await {
                Ok(Some(field)) => field,
                Ok(None) => return Ok(sent),
                Err(error) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => return Ok(sent.too_large()),
                Err(_) => return Err(PageError::StaleForm),
            };
            let name = field.name().unwrap_or_default().to_owned();
            let bytes = match field.bytes().await {
                Ok(bytes) => bytes,
                Err(error) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => return Ok(sent.too_large()),
                Err(_) => return Err(PageError::StaleForm),
            };
            if name == "file" {
                sent.is_too_large = bytes.len() > MAX_FILE_BYTES;
                sent.file = bytes.to_vec();
                continue;
            }
            let text = std::str::from_utf8(&bytes)
                .ok()
                .filter(|text| text.len() <= MAX_FIELD_BYTES);
            let text = text.ok_or(PageError::StaleForm)?.to_owned();
            match name.as_str() {
                "form_token" => sent.form_token = text,
                "kind" => sent.kind = text,
                "channel" => sent.channel = text,
                "step" => sent.step = text,
                _ => {}
            }
        }
    }

    fn too_large(self) -> Self {
        Self {
            is_too_large: true,
            ..self
        }
    }

    /// The rows of the file; or what is wrong with it, in words.
    fn parse(&self, f: &Frame<'_>) -> Result<ResidentsFile, String> {
        if self.is_too_large {
            return Err(f.t1(
                "ops-file-too-large",
                "most",
                &numbers::grouped((MAX_FILE_BYTES >> 20) as u64),
            ));
        }
        if self.file.is_empty() {
            return Err(f.t("ops-file-missing"));
        }
        let parsed = citycode_residents_file::parse(&self.file, None);
        parsed.map_err(|error| f.t1("ops-file-wrong", "error", &error.to_string()))
    }
}

/// Checks or imports a file.
pub(super) async fn run(State(site): SharedSite, op: Operating, form: Multipart) -> Result<Response, PageError> {
    let sent = Sent::read(form).await?;
    op.check(&site, &sent.form_token)?;
    let f = op.frame(&site, "/ops/import");
    let parsed = sent.parse(&f);
    let mut faults = Faults::default();
    if site.kind(&sent.kind).is_none() {
        faults.add("kind", f.t("ops-kind-wrong"));
    }
    if site.policy.channel(&sent.channel).is_none() {
        faults.add("channel", f.t("ops-channel-wrong"));
    }
    let file = match parsed {
        Ok(file) if faults.is_empty() => file,
        parsed => {
            let mut shown = import_page(&op, f, &sent);
            faults.show_in(&mut shown.fields);
            shown.file_error = parsed.err().unwrap_or_default();
            return Ok(page(StatusCode::UNPROCESSABLE_ENTITY, &shown));
        }
    };
    if sent.step != "import" {
        let mut shown = import_page(&op, f, &sent);
        shown.checked = Some(checked(&shown.f, &file));
        return Ok(page(StatusCode::OK, &shown));
    }
    let shown = Streamed {
        tabs: op.tabs(&f),
        title: f.t("ops-tab-import"),
        script: "",
        back: "/ops/import",
        f,
    };
    let wanted = rows::Wanted {
        kind: sent.kind,
        channel: sent.channel,
        caller: op.caller()?,
    };
    let own = Arc::clone(&site);
    Ok(streamed::answer(&shown, move |parts| async move {
        rows::import(&own, &op, wanted, file, &parts).await;
    }))
}

/// Bad rows that the check shows.
const SHOWN_BAD: usize = 20;

fn checked(f: &Frame<'_>, file: &ResidentsFile) -> Checked {
    let bad = file.rows.iter().filter_map(|row| row.as_ref().err());
    let good = file.rows.iter().filter(|row| row.is_ok()).count();
    let number = |number: usize| numbers::grouped(number as u64);
    let told = |row: &BadRow| f.t2("ops-bad-row", ("line", &row.line.to_string()), ("reason", &row.reason));
    Checked {
        summary: f.t2(
            "ops-checked",
            ("good", &number(good)),
            ("bad", &number(file.rows.len() - good)),
        ),
        encoding: file.encoding.name(),
        first_bad: bad.take(SHOWN_BAD).map(told).collect(),
    }
}

/// Rejected rows as a file in a form, with a mark that these pages made it.
struct RejectsFile {
    content: String,
    mark: String,
}

impl RejectsFile {
    fn new(site: &Site, session: &Session, csv: &[u8]) -> Self {
        Self {
            content: BASE64.encode(csv),
            mark: mark(site, session, csv),
        }
    }
}

/// Only this session's own rejects are given back: nobody can be made to save another file from this address.
fn mark(site: &Site, session: &Session, csv: &[u8]) -> String {
    HEXLOWER.encode(&site.seal.name(&format!("ops-rejects {}", session.id), csv))
}

/// The form that saves the rejects.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Saving {
    form_token: String,
    content: String,
    mark: String,
}

/// The rejected rows as a file.
pub(super) async fn rejects(
    State(site): SharedSite,
    op: Operating,
    Form(saving): Form<Saving>,
) -> Result<Response, PageError> {
    op.check(&site, &saving.form_token)?;
    let csv = BASE64
        .decode(saving.content.as_bytes())
        .map_err(|_| PageError::StaleForm)?;
    if saving.mark != mark(&site, &op.session, &csv) {
        return Err(PageError::StaleForm);
    }
    let headers = [
        (CONTENT_TYPE, "text/csv; charset=utf-8"),
        (CONTENT_DISPOSITION, "attachment; filename=\"rejected.csv\""),
    ];
    Ok((headers, csv).into_response())
}
