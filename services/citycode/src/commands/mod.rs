//! The commands, one file each. A command takes its flags, calls the server, prints, and returns the exit code.

mod assertion;
pub(crate) mod audit;
pub(crate) mod codes;
pub(crate) mod completions;
pub(crate) mod demo;
mod doctor;
pub(crate) mod erase;
pub(crate) mod export;
pub(crate) mod history;
mod holders_code;
mod id_number;
pub(crate) mod import;
pub(crate) mod issue;
pub(crate) mod keys;
pub(crate) mod log;
pub(crate) mod officer;
pub(crate) mod open;
pub(crate) mod policy;
pub(crate) mod present;
mod queries;
pub(crate) mod register;
pub(crate) mod relate;
pub(crate) mod rename;
pub(crate) mod report_loss;
pub(crate) mod reprint;
pub(crate) mod standing;
pub(crate) mod tokens;
pub(crate) mod verify;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use citycode_operator::{archive, migrate, provision, secrets, vault, witness};
use citycode_runtime::up;
use citycode_service_kit::clock::Clock;
use citycode_service_kit::entropy::{Draw as _, Entropy};
use citycode_service_kit::files;
use id_number::IdNumberArg;
use serde_json::{Map, Value};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::cli::{Cli, Command, Connection};
use crate::client::Client;
use crate::picture::{IssuedCode, Painter, PictureFormat, PreparedFile};
use crate::policy_view::PolicyView;
use citycode_runtime::local_token;
use citycode_terminal::failure::Failure;
use citycode_terminal::output::{Format, Output};

/// Exit code of success.
const DONE: u8 = 0;

/// A picture that can be written once the code is issued.
pub(crate) struct Picture {
    painter: Painter,
    format: PictureFormat,
    file: PreparedFile,
}

/// The dependencies of every client command.
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) output: Output,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    /// The command id given on the command line.
    command_id: Option<Uuid>,
    /// Fetched at most once.
    policy: tokio::sync::OnceCell<PolicyView>,
}

/// Runs one command and returns the exit code.
pub(crate) async fn run(
    cli: Cli,
    output: Output,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<u8, Failure> {
    match cli.command {
        Command::Up(args) => return up::run(&args, up::Environment { clock, entropy }).await.map(|()| DONE),
        Command::Demo(args) => return demo::run(&args, output, clock, entropy).await,
        Command::Completions(args) => return completions::run(&args, output).map(|()| DONE),
        Command::Secrets(args) => return secrets::run(&args, output, &clock, &entropy).map(|()| DONE),
        Command::Provision(args) => return provision::run(&args, output, &*clock, &entropy).await.map(|()| DONE),
        Command::Archive(args) => return archive::run(&args, &clock).await.map(|()| DONE),
        Command::Log(args) if args.needs_no_server() => return log::run_here(&args, output, &*clock).await,
        Command::Witness(args) => return witness::run(&args, &clock, &entropy).await.map(|()| DONE),
        Command::Vault(args) => return vault::run(&args, output, &clock, &entropy).await.map(|()| DONE),
        Command::Policy(args) => return policy::run(&args, output).map(|()| DONE),
        Command::Restore(args) => return migrate::run(&args, output).await.map(|()| DONE),
        Command::Migrate(args) => return migrate::run(&args, output).await.map(|()| DONE),
        Command::Version => return print_version(output).map(|()| DONE),
        _ => {}
    }
    let client = client(&cli)?;
    let session = Session::new((client, output), (clock, entropy), cli.connection.command_id);
    match cli.command {
        Command::Register(args) => register::run(&session, &args).await,
        Command::Relate(args) => relate::relate(&session, &args).await,
        Command::Unrelate(args) => relate::unrelate(&session, &args).await,
        Command::Issue(args) => issue::run(&session, &args).await,
        Command::Present(args) => present::run(&session, &args),
        Command::Reprint(args) => reprint::run(&session, &args).await,
        Command::ReportLoss(args) => report_loss::run(&session, &args).await,
        Command::Revoke(args) => officer::revoke(&session, &args).await,
        Command::Suspend(args) => officer::run(&session, &args, "suspend").await,
        Command::Reinstate(args) => officer::run(&session, &args, "reinstate").await,
        Command::Rename(args) => rename::run(&session, &args).await,
        Command::Standing(args) => standing::run(&session, &args).await,
        Command::Codes(args) => codes::run(&session, &args).await,
        Command::Erase(args) => erase::run(&session, &args).await,
        Command::Verify(args) => return verify::run(&session, &args).await,
        Command::Import(args) => return import::run(&session, &args).await,
        Command::History(args) => history::run(&session, &args).await,
        Command::Explain(args) => return audit::explain(&session, &args).await,
        Command::Audit(args) => return audit::run(&session, &args).await,
        Command::Log(args) => return log::run(&session, &args).await,
        Command::WhatIf(args) => audit::what_if(&session, &args).await,
        Command::Export(args) => export::run(&session, &args).await,
        Command::Keys(args) => keys::run(&session, &args).await,
        Command::Open(args) => open::run(&session, &args).await,
        Command::Tokens(args) => tokens::run(&session, &args).await,
        Command::Doctor => return doctor::run(&session).await,
        Command::Archive(_)
        | Command::Restore(_)
        | Command::Up(_)
        | Command::Demo(_)
        | Command::Provision(_)
        | Command::Secrets(_)
        | Command::Vault(_)
        | Command::Witness(_)
        | Command::Migrate(_)
        | Command::Completions(_)
        | Command::Policy(_)
        | Command::Version => Ok(()),
    }
    .map(|()| DONE)
}

fn print_version(output: Output) -> Result<(), Failure> {
    let version = serde_json::json!({ "version": env!("CARGO_PKG_VERSION") });
    match output.format {
        Format::Table => output.lines(concat!("citycode ", env!("CARGO_PKG_VERSION"))),
        Format::Json | Format::Ndjson => output.object(&version),
    }
}

/// A given token is sent to the given server; the local admin's token is sent only to the server that wrote it.
fn client(cli: &Cli) -> Result<Client, Failure> {
    let server = &cli.connection.server;
    // `present` uses the same flag for the code's token, and calls no server.
    if matches!(cli.command, Command::Present(_)) {
        return Client::new(server, None);
    }
    match given_token(&cli.connection)? {
        Some(token) => Client::new(server, Some(token)),
        None => match local_token::find(server) {
            Some(local) => Client::of_local(server, local),
            None => Client::new(server, None),
        },
    }
}

fn given_token(connection: &Connection) -> Result<Option<Zeroizing<String>>, Failure> {
    if let Some(token) = &connection.token {
        return Ok(Some(Zeroizing::new(token.trim().to_owned())));
    }
    if let Some(path) = &connection.token_file {
        let bytes = files::read_private(path).map_err(|error| Failure::file("read", path, error))?;
        let text = std::str::from_utf8(&bytes).map_err(|error| Failure::file("read", path, error))?;
        return Ok(Some(Zeroizing::new(text.trim().to_owned())));
    }
    Ok(None)
}

impl Session {
    fn new(
        (client, output): (Client, Output),
        (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>),
        command_id: Option<Uuid>,
    ) -> Self {
        Self {
            client,
            output,
            clock,
            entropy,
            command_id,
            policy: tokio::sync::OnceCell::new(),
        }
    }

    /// The given command id, or a random one (UUID version 4), so that a retry after a lost connection is safe.
    pub(crate) fn command_id(&self) -> Uuid {
        self.command_id
            .unwrap_or_else(|| uuid::Builder::from_random_bytes(self.entropy.array()).into_uuid())
    }

    /// Sends a change and prints the answer; a table shows `done` and the code.
    pub(crate) async fn change(&self, path: &str, body: Value, done: &str) -> Result<(), Failure> {
        let answer = self.client.post(path, &body, Some(self.command_id())).await?;
        let mut facts = vec![("done", done.to_owned())];
        if let Some(code_id) = answer.get("code_id").and_then(Value::as_str) {
            facts.push(("code", code_id.to_owned()));
        }
        self.output.thing(&answer, &facts)
    }

    /// Checks everything on this machine that a picture of a code needs, before the code is requested.
    pub(crate) async fn prepare_picture(&self, out: Option<&Path>, kind: &str) -> Result<Option<Picture>, Failure> {
        let Some(out) = out else {
            return Ok(None);
        };
        let format = PictureFormat::of(out)?;
        let painter = self.painter(None).await?;
        let file = painter.prepare(out, format, kind)?;
        Ok(Some(Picture { painter, format, file }))
    }

    /// Prints an issued or reprinted code, after its picture is written. `stored` is the result of storing the code on
    /// this machine. If that or the picture fails, the failure states that the code is issued and how to get it again.
    pub(crate) async fn deliver(
        &self,
        code: &Value,
        picture: Option<Picture>,
        stored: Result<(), Failure>,
    ) -> Result<(), Failure> {
        let painted = stored.and_then(|()| match picture {
            Some(picture) => picture.painter.fill(picture.file, picture.format, &issued(code)?),
            None => Ok(()),
        });
        match painted {
            Ok(()) => self.print_code(code).await,
            Err(failure) => {
                if self.output.format == Format::Table {
                    self.print_code(code).await?;
                }
                Err(failure.after_issue(code))
            }
        }
    }

    pub(crate) async fn painter(&self, font: Option<PathBuf>) -> Result<Painter, Failure> {
        Painter::new(self.policy().await?, font)
    }

    /// The server's policy.
    pub(crate) async fn policy(&self) -> Result<PolicyView, Failure> {
        let fetched = self.policy.get_or_try_init(async || {
            let policy = self.client.get("/api/v1/policy").await?;
            serde_json::from_value(policy).map_err(|error| unexpected(&error))
        });
        fetched.await.cloned()
    }

    /// For the times in a table, which are in the policy's zone. Other formats use UTC; so does a table if the policy
    /// cannot be fetched.
    pub(crate) async fn calendar(&self) -> PolicyView {
        match self.output.format {
            Format::Table => self.policy().await.unwrap_or_default(),
            Format::Json | Format::Ndjson => PolicyView::default(),
        }
    }

    /// Prints an issued code.
    pub(crate) async fn print_code(&self, code: &Value) -> Result<(), Failure> {
        let calendar = self.calendar().await;
        let text = |key: &str| code.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
        let mut facts: Vec<(&'static str, String)> = vec![
            ("code", text("code_id")),
            ("kind", text("kind")),
            ("issued", calendar.local_time(&text("issued_at"))),
            ("expires", calendar.local_time(&text("expires_at"))),
        ];
        if code.get("supersedes").is_some_and(Value::is_string) {
            facts.push(("replaces (now dead)", text("supersedes")));
        }
        facts.push(("token", text("token")));
        self.output.thing(code, &facts)
    }
}

/// Parses an answer as an issued code.
pub(crate) fn issued(code: &Value) -> Result<IssuedCode, Failure> {
    serde_json::from_value(code.clone()).map_err(|error| unexpected(&error))
}

pub(crate) fn unexpected(error: &dyn std::fmt::Display) -> Failure {
    Failure::local(
        "the server's answer cannot be parsed",
        error,
        "check whether the server has another version",
    )
}

/// A JSON object of the parts that are present; absent parts have no field.
pub(crate) fn body(parts: &[(&str, Option<Value>)]) -> Value {
    let present = parts
        .iter()
        .filter_map(|(key, value)| Some(((*key).to_owned(), value.clone()?)));
    Value::Object(present.collect::<Map<_, _>>())
}

/// A text as a part of a body.
pub(crate) fn text(value: &str) -> Option<Value> {
    Some(Value::from(value))
}

/// An optional text as a part of a body.
pub(crate) fn maybe(value: Option<&String>) -> Option<Value> {
    value.map(|value| Value::from(value.as_str()))
}

/// The ID number of a required flag, as a part of a body.
pub(crate) fn number(flag: &str, given: Option<&IdNumberArg>) -> Result<Option<Value>, Failure> {
    id_number::required(flag, given).map(|number| Some(Value::from(number)))
}

/// The ID number of an optional flag, as a part of a body.
pub(crate) fn maybe_number(flag: &str, given: Option<&IdNumberArg>) -> Result<Option<Value>, Failure> {
    Ok(id_number::optional(flag, given)?.map(Value::from))
}
