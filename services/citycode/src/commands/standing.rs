//! `citycode standing`.

use clap::Args;

use super::id_number::IdNumberArg;
use super::{Session, body, number, text};
use citycode_terminal::failure::Failure;

/// Flags of `standing`.
#[derive(Args)]
#[command(after_help = "Example:\n  citycode standing --id-number @number.txt --set yellow --reason 密切接触")]
pub(crate) struct StandingArgs {
    /// The person's ID number.
    #[arg(long, value_name = "N, - or @FILE")]
    id_number: Option<IdNumberArg>,
    /// The new standing.
    #[arg(long, value_parser = ["green", "yellow", "red"])]
    set: String,
    /// The reason; it is stored in the log, sealed.
    #[arg(long)]
    reason: String,
}

pub(crate) async fn run(session: &Session, args: &StandingArgs) -> Result<(), Failure> {
    let body = body(&[
        ("id_number", number("--id-number", args.id_number.as_ref())?),
        ("standing", text(&args.set)),
        ("reason", text(&args.reason)),
    ]);
    session
        .change(
            "/api/v1/standing",
            body,
            "the standing is set for every valid code of the person",
        )
        .await
}
