//! `citycode revoke`, `suspend` and `reinstate`.

use clap::Args;

use super::{Session, body, maybe, text};
use crate::failure::Failure;

/// Flags of an officer's act.
#[derive(Args)]
#[command(after_help = "Example:\n  citycode suspend --kind offline --id-number 11010519491231002X --reason 核实身份")]
pub(crate) struct OfficerArgs {
    /// The kind of code.
    #[arg(long)]
    kind: String,
    /// The holder's ID number.
    #[arg(long)]
    id_number: String,
    /// Why; stands sealed in the log.
    #[arg(long)]
    reason: String,
    /// For family codes: ID number of the family member.
    #[arg(long)]
    guardian: Option<String>,
}

pub(crate) async fn run(session: &Session, args: &OfficerArgs, what: &str) -> Result<(), Failure> {
    let body = body(&[
        ("kind", text(&args.kind)),
        ("id_number", text(&args.id_number)),
        ("reason", text(&args.reason)),
        ("guardian", maybe(args.guardian.as_ref())),
    ]);
    let done = match what {
        "revoke" => "revoked, for good",
        "suspend" => "on hold until it is reinstated",
        _ => "reinstated",
    };
    session.change(&format!("/api/v1/{what}"), body, done).await
}
