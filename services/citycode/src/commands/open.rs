//! `citycode open`: opens a page of a system on this machine, signed in by a start link.
//!
//! The link's secret is not put into a command line, which every user of the machine can see: the browser opens a
//! private file that leads to the link.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use citycode_service_kit::files;
use citycode_terminal::failure::Failure;
use citycode_terminal::output::{Format, note, say};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::id_number::{self, IdNumberArg};
use super::{Session, body, maybe};

/// Flags of `open`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  citycode open staff\n  citycode open resident --id-number @number.txt\n  citycode open admin --print\n\nA link works once, for ten minutes, on this machine. It needs a system that this user runs with `citycode up`."
)]
pub(crate) struct OpenArgs {
    /// Whose page.
    #[arg(value_enum)]
    identity: Identity,
    /// The resident's ID number; `-` for standard input, `@FILE` for a file.
    #[arg(long, value_name = "N")]
    id_number: Option<IdNumberArg>,
    /// Print the link instead of opening the browser.
    #[arg(long)]
    print: bool,
}

/// Whose page is opened.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Identity {
    /// A resident's own codes.
    Resident,
    /// A kiosk.
    Kiosk,
    /// A staffed checkpoint or sampling desk.
    Staff,
    /// An unattended gate.
    Gate,
    /// Operations, as administrator.
    Ops,
    /// Operations, as officer.
    Officer,
    /// Operations, as health authority.
    HealthAuthority,
    /// Operations, as auditor.
    Auditor,
    /// Operations, as privacy officer.
    Privacy,
    /// Operations, as administrator.
    Admin,
}

impl Identity {
    fn word(self) -> &'static str {
        match self {
            Self::Resident => "resident",
            Self::Kiosk => "kiosk",
            Self::Staff => "staff",
            Self::Gate => "gate",
            Self::Officer => "officer",
            Self::HealthAuthority => "health_authority",
            Self::Auditor => "auditor",
            Self::Privacy => "privacy",
            Self::Ops | Self::Admin => "admin",
        }
    }
}

pub(crate) async fn run(session: &Session, args: &OpenArgs) -> Result<(), Failure> {
    let id_number = if args.identity == Identity::Resident {
        Some(id_number::required("--id-number", args.id_number.as_ref())?)
    } else if args.id_number.is_some() {
        return Err(Failure::usage(
            "--id-number stands only with `open resident`",
            "omit it, or open the page of a resident",
        ));
    } else {
        None
    };
    let request = body(&[
        ("identity", Some(json!(args.identity.word()))),
        ("id_number", maybe(id_number.as_ref())),
    ]);
    let answer = session.client.post("/api/v1/start-links", &request, None).await?;
    let secret = answer.get("secret").and_then(Value::as_str).unwrap_or_default();
    let link = format!("{}/start#{secret}", session.client.server().trim_end_matches('/'));
    if session.output.format != Format::Table {
        return session
            .output
            .object(&json!({ "link": link, "expires_at": answer.get("expires_at") }));
    }
    if args.print {
        return say(&link);
    }
    open(&link)
}

/// Opens the link in the user's browser.
fn open(link: &str) -> Result<(), Failure> {
    let file = leading_to(link)?;
    let opened = Command::new("xdg-open")
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match opened {
        Ok(status) if status.success() => {
            note("opened the page in the browser; the link works once, for ten minutes");
            Ok(())
        }
        _ => Err(Failure::local(
            "cannot open a browser",
            "this machine has no program that opens web pages",
            "run the command with --print, and open the printed link in a browser on this machine",
        )),
    }
}

/// Writes a page that leads to the link; only this user can read it.
fn leading_to(link: &str) -> Result<PathBuf, Failure> {
    let folder = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let path = folder.join(format!("citycode-open-{}.html", std::process::id()));
    let page = format!(
        "<!doctype html><meta charset=\"utf-8\"><title>citycode</title><meta http-equiv=\"refresh\" content=\"0; url={link}\">\n"
    );
    write(&path, &page).map(|()| path)
}

fn write(path: &Path, page: &str) -> Result<(), Failure> {
    // A file of an earlier process with this number is replaced.
    let _ = std::fs::remove_file(path);
    files::create_private(path, page.as_bytes()).map_err(|error| {
        Failure::local(
            "cannot write the page that leads to the link",
            error,
            "run the command with --print",
        )
    })
}
