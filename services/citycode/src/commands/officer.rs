//! `citycode revoke`, `suspend` and `reinstate`.

use clap::Args;

use super::id_number::IdNumberArg;
use super::{Session, body, maybe_number, number, text};
use citycode_terminal::failure::Failure;

/// Flags of `suspend` and `reinstate`.
#[derive(Args)]
#[command(after_help = "Example:\n  citycode suspend --kind offline --id-number @number.txt --reason 核实身份")]
pub(crate) struct OfficerArgs {
    /// The kind of code.
    #[arg(long)]
    kind: String,
    /// The holder's ID number.
    #[arg(long, value_name = "N, - or @FILE")]
    id_number: Option<IdNumberArg>,
    /// The reason; it is stored in the log, sealed.
    #[arg(long)]
    reason: String,
    /// For family codes: ID number of the family member.
    #[arg(long, value_name = "N, - or @FILE")]
    guardian: Option<IdNumberArg>,
}

/// Flags of `revoke`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  citycode revoke --kind offline --id-number @number.txt --reason 核实身份\n  citycode revoke --code-id 00112233445566ff --reason 核实身份"
)]
pub(crate) struct RevokeArgs {
    /// The kind of code.
    #[arg(long, required_unless_present = "code_id")]
    kind: Option<String>,
    /// The holder's ID number.
    #[arg(long, value_name = "N, - or @FILE", conflicts_with = "code_id")]
    id_number: Option<IdNumberArg>,
    /// The reason; it is stored in the log, sealed, if the holder is known.
    #[arg(long)]
    reason: String,
    /// For family codes: ID number of the family member.
    #[arg(long, value_name = "N, - or @FILE", conflicts_with = "code_id")]
    guardian: Option<IdNumberArg>,
    /// The code, 16 hex digits, if its holder is not known any more.
    #[arg(long, conflicts_with = "kind")]
    code_id: Option<String>,
}

pub(crate) async fn revoke(session: &Session, args: &RevokeArgs) -> Result<(), Failure> {
    let (path, body) = match &args.code_id {
        Some(code_id) => {
            let body = body(&[("code_id", text(code_id)), ("reason", text(&args.reason))]);
            ("/api/v1/revoke-code", body)
        }
        None => {
            let body = body(&[
                ("kind", text(args.kind.as_deref().unwrap_or_default())),
                ("id_number", number("--id-number", args.id_number.as_ref())?),
                ("reason", text(&args.reason)),
                ("guardian", maybe_number("--guardian", args.guardian.as_ref())?),
            ]);
            ("/api/v1/revoke", body)
        }
    };
    session.change(path, body, "revoked permanently").await
}

pub(crate) async fn run(session: &Session, args: &OfficerArgs, what: &str) -> Result<(), Failure> {
    let body = body(&[
        ("kind", text(&args.kind)),
        ("id_number", number("--id-number", args.id_number.as_ref())?),
        ("reason", text(&args.reason)),
        ("guardian", maybe_number("--guardian", args.guardian.as_ref())?),
    ]);
    let done = match what {
        "suspend" => "suspended until it is reinstated",
        _ => "reinstated",
    };
    session.change(&format!("/api/v1/{what}"), body, done).await
}
