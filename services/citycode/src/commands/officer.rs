//! `citycode revoke`, `suspend` and `reinstate`.

use clap::Args;

use super::id_number::IdNumberArg;
use super::{Session, body, maybe_number, number, text};
use crate::failure::Failure;

/// Flags of an officer's act.
#[derive(Args)]
#[command(after_help = "Example:\n  citycode suspend --kind offline --id-number @number.txt --reason 核实身份")]
pub(crate) struct OfficerArgs {
    /// The kind of code.
    #[arg(long)]
    kind: String,
    /// The holder's ID number.
    #[arg(long, value_name = "N, - or @FILE")]
    id_number: Option<IdNumberArg>,
    /// Why; stands sealed in the log.
    #[arg(long)]
    reason: String,
    /// For family codes: ID number of the family member.
    #[arg(long, value_name = "N, - or @FILE")]
    guardian: Option<IdNumberArg>,
}

pub(crate) async fn run(session: &Session, args: &OfficerArgs, what: &str) -> Result<(), Failure> {
    let body = body(&[
        ("kind", text(&args.kind)),
        ("id_number", number("--id-number", args.id_number.as_ref())?),
        ("reason", text(&args.reason)),
        ("guardian", maybe_number("--guardian", args.guardian.as_ref())?),
    ]);
    let done = match what {
        "revoke" => "revoked, for good",
        "suspend" => "on hold until it is reinstated",
        _ => "reinstated",
    };
    session.change(&format!("/api/v1/{what}"), body, done).await
}
