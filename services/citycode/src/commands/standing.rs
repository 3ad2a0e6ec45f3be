//! `citycode standing`.

use clap::Args;

use super::{Session, body, text};
use crate::failure::Failure;

/// Flags of `standing`.
#[derive(Args)]
#[command(after_help = "Example:\n  citycode standing --id-number 11010519491231002X --set yellow --reason 密切接触")]
pub(crate) struct StandingArgs {
    /// The person's ID number.
    #[arg(long)]
    id_number: String,
    /// The new standing.
    #[arg(long, value_parser = ["green", "yellow", "red"])]
    set: String,
    /// Why; stands sealed in the log.
    #[arg(long)]
    reason: String,
}

pub(crate) async fn run(session: &Session, args: &StandingArgs) -> Result<(), Failure> {
    let body = body(&[
        ("id_number", text(&args.id_number)),
        ("standing", text(&args.set)),
        ("reason", text(&args.reason)),
    ]);
    session
        .change(
            "/api/v1/standing",
            body,
            "the standing is set, for every valid code of the person",
        )
        .await
}
