//! `citycode erase`.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use clap::Args;
use serde_json::Value;

use super::id_number::{self, IdNumberArg};
use super::{Session, body};
use citycode_terminal::failure::Failure;

/// Flags of `erase`.
#[derive(Args)]
#[command(after_help = "Example:\n  citycode erase --id-number @number.txt --yes")]
pub(crate) struct EraseArgs {
    /// The person's ID number.
    #[arg(long, value_name = "N, - or @FILE")]
    id_number: Option<IdNumberArg>,
    /// Do not ask for confirmation.
    #[arg(long)]
    yes: bool,
}

pub(crate) async fn run(session: &Session, args: &EraseArgs) -> Result<(), Failure> {
    let id_number = id_number::required("--id-number", args.id_number.as_ref())?;
    if !args.yes && !confirmed()? {
        return Err(Failure::local(
            "nothing was erased",
            "the confirmation was not answered with yes",
            "answer yes, or give --yes",
        ));
    }
    let body = body(&[("id_number", Some(Value::from(id_number)))]);
    session
        .change(
            "/api/v1/erase",
            body,
            "erased: every code is revoked, and the personal data is destroyed",
        )
        .await
}

fn confirmed() -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(
            "erasing cannot be undone, and standard input is not a terminal for the confirmation",
            "give --yes",
        ));
    }
    let _ = write!(std::io::stderr(), "Erasing cannot be undone. Type yes to go on: ");
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| Failure::usage(error, "give --yes"))?;
    Ok(answer.trim() == "yes")
}
