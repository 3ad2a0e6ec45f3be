//! The tour of `citycode demo`: a temporary system, real pictures, and each verdict compared with the rules.
//!
//! All steps use the HTTP API of a system that this process runs on a free port; the scanned pictures are written to
//! files and read back.

mod tour;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use citycode_domain::id_number::check_character;
use citycode_service_kit::clock::Clock;
use citycode_service_kit::entropy::{Draw as _, Entropy};
use serde_json::{Value, json};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::client::Client;
use crate::phone::Phone;
use crate::picture::{IssuedCode, Painter, PictureFormat, write_presentation};
use citycode_runtime::up::{Environment, Settings, System};
use citycode_terminal::failure::Failure;
use citycode_terminal::output::{Output, note};

/// Runs the tour. Exit code 0 if every verdict agrees with the rules, 1 otherwise.
pub(crate) async fn run(
    out: Option<PathBuf>,
    output: Output,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<u8, Failure> {
    let store = tempfile::tempdir().map_err(|error| {
        Failure::local(
            "cannot create a temporary store",
            error,
            "free some space in the temporary folder",
        )
    })?;
    let out = match out {
        Some(out) => out,
        None => std::env::temp_dir().join(format!("citycode-demo-{:08x}", entropy.u64())),
    };
    std::fs::create_dir_all(&out).map_err(|error| Failure::file("make", &out, error))?;
    let (data, marks) = (store.path().join("data"), store.path().join("marks"));
    let settings = Settings {
        listen: ([127, 0, 0, 1], 0).into(),
        data: Some(data),
        marks: Some(marks),
        ..Settings::default()
    };
    let environment = Environment {
        clock: Arc::clone(&clock),
        entropy: Arc::clone(&entropy),
    };
    let system = System::start(settings, environment).await;
    let system = system.map_err(|error| Failure::local("the temporary system does not start", error, "try again"))?;
    let toured = async {
        let tour = Guide::new(&system, &out, clock, entropy).await?;
        tour::walk(&tour).await
    }
    .await;
    system.stop().await;
    let findings = toured?;
    report(&findings, output, &out)
}

/// One verdict of the tour.
pub(crate) struct Finding {
    pub(crate) question: &'static str,
    pub(crate) scanned: String,
    pub(crate) expected: &'static str,
    pub(crate) got: String,
}

fn report(findings: &[Finding], output: Output, out: &Path) -> Result<u8, Failure> {
    let wrong = findings
        .iter()
        .filter(|finding| finding.got != finding.expected)
        .count();
    let entry = |finding: &Finding| {
        json!({ "question": finding.question, "scanned": finding.scanned, "expected": finding.expected,
                "got": finding.got, "ok": finding.got == finding.expected })
    };
    let entries: Vec<Value> = findings.iter().map(entry).collect();
    let rows = findings.iter().map(|finding| {
        let sign = if finding.got == finding.expected {
            output.colour("✔", 32)
        } else {
            output.colour("✘", 31)
        };
        vec![
            finding.question.into(),
            finding.scanned.clone(),
            finding.expected.into(),
            finding.got.clone(),
            sign,
        ]
    });
    let whole = json!({ "findings": entries, "wrong": wrong, "pictures": out.display().to_string() });
    output.list(
        &whole,
        &entries,
        &["question", "scanned", "expected", "got", ""],
        rows.collect(),
    )?;
    note(format_args!("pictures and the print sheet are in {}", out.display()));
    if wrong > 0 {
        note(format_args!("{wrong} verdicts differ from the rules"));
    }
    Ok(u8::from(wrong > 0))
}

/// Takes the tour's steps over HTTP.
pub(crate) struct Guide {
    client: Client,
    painter: Painter,
    folder: PathBuf,
    pub(crate) clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl Guide {
    async fn new(
        system: &System,
        folder: &Path,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, Failure> {
        let token = std::fs::read_to_string(&system.admin_token_file)
            .map_err(|error| Failure::file("read", &system.admin_token_file, error))?;
        let client = Client::new(&format!("http://{}", system.address), Some(Zeroizing::new(token)))?;
        let policy = client.get("/api/v1/policy").await?;
        let policy = serde_json::from_value(policy).map_err(|error| crate::commands::unexpected(&error))?;
        Ok(Self {
            client,
            painter: Painter::new(policy, None)?,
            folder: folder.to_owned(),
            clock,
            entropy,
        })
    }

    /// Registers an invented resident of this age.
    pub(crate) async fn resident(&self, name: &str, age: i64) -> Result<String, Failure> {
        let year = 1970 + self.clock.now().0 / 31_556_952 - age;
        let body = format!("310101{year:04}0101{:03}", self.entropy.below(1000));
        let number = format!("{body}{}", char::from(check_character(body.as_bytes())));
        self.post(
            "register",
            json!({ "id_number": number, "name": name, "channel": "kiosk" }),
        )
        .await?;
        Ok(number)
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Result<Value, Failure> {
        self.client
            .post(&format!("/api/v1/{path}"), &body, Some(self.id()))
            .await
    }

    fn id(&self) -> Uuid {
        uuid::Builder::from_random_bytes(self.entropy.array()).into_uuid()
    }

    /// Issues a code and writes its picture; returns the picture's path.
    pub(crate) async fn issue(&self, name: &str, request: Value) -> Result<PathBuf, Failure> {
        let code = self.post("issue", request).await?;
        self.paint(name, &code)
    }

    pub(crate) fn paint(&self, name: &str, code: &Value) -> Result<PathBuf, Failure> {
        let code: IssuedCode =
            serde_json::from_value(code.clone()).map_err(|error| crate::commands::unexpected(&error))?;
        let path = self.folder.join(format!("{name}.png"));
        self.painter.write(&path, PictureFormat::Png, &code)?;
        if code.masked_name.is_some() {
            self.painter
                .write(&self.folder.join(format!("{name}.pdf")), PictureFormat::Pdf, &code)?;
        }
        Ok(path)
    }

    /// Issues a code that is bound to a phone; returns the phone and the token.
    pub(crate) async fn issue_to_phone(&self, name: &str, mut request: Value) -> Result<(Phone, String), Failure> {
        let phone = Phone::at(&self.folder.join(format!("{name}.phone.json")));
        let command_id = self.id();
        let kind = request["kind"].as_str().unwrap_or_default().to_owned();
        request["device_key"] = phone.key_for(command_id, &kind, &*self.entropy)?;
        let code = self.client.post("/api/v1/issue", &request, Some(command_id)).await?;
        let code: IssuedCode = serde_json::from_value(code).map_err(|error| crate::commands::unexpected(&error))?;
        phone.record_code(command_id, &code.code_id, &code.token)?;
        Ok((phone, code.token))
    }

    /// A picture of what the phone displayed `seconds_ago`.
    pub(crate) fn show(&self, name: &str, phone: &(Phone, String), seconds_ago: i64) -> Result<PathBuf, Failure> {
        let at = citycode_domain::time::Timestamp(self.clock.now().0 - seconds_ago);
        let text = phone.0.present(&phone.1, at)?;
        let path = self.folder.join(format!("{name}.png"));
        write_presentation(&path, PictureFormat::Png, &text)?;
        Ok(path)
    }

    /// Reads a picture back and requests the verdict at a place.
    pub(crate) async fn scan(&self, picture: &Path, place: &str, more: Value) -> Result<String, Failure> {
        let code = crate::commands::verify::read_image(picture).await?;
        let mut request = json!({ "place": place, "code": code });
        merge(&mut request, more);
        self.verdict(request).await
    }

    pub(crate) async fn verdict(&self, request: Value) -> Result<String, Failure> {
        let verdict = self.post("verify", request).await?;
        let word = |key: &str| verdict[key].as_str().unwrap_or("?").to_owned();
        Ok(format!("{} / {}", word("decision"), word("reason")))
    }
}

fn merge(into: &mut Value, more: Value) {
    if let (Value::Object(into), Value::Object(more)) = (into, more) {
        into.extend(more);
    }
}
