//! `citycode history`.

use clap::Args;

use super::audit::PastArgs;
use super::codes::print_list;
use super::id_number::IdNumberArg;
use super::{Session, body, maybe, maybe_number, number};
use citycode_terminal::failure::Failure;

/// Flags of `history`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  citycode history --kind offline --id-number @number.txt\n  citycode history --code-id 00112233445566ff\n  citycode history --code-id 00112233445566ff --as-of 2026-05-03T08:14:00+08:00 --purpose \"complaint 17\""
)]
#[group(skip)]
pub(crate) struct HistoryArgs {
    /// The kind of code.
    #[arg(long, conflicts_with = "code_id", required_unless_present = "code_id")]
    kind: Option<String>,
    /// The holder's ID number.
    #[arg(long, requires = "kind", value_name = "N, - or @FILE")]
    id_number: Option<IdNumberArg>,
    /// For family codes: ID number of the family member.
    #[arg(long, requires = "kind", value_name = "N, - or @FILE")]
    guardian: Option<IdNumberArg>,
    /// The code, 16 hex digits.
    #[arg(long)]
    code_id: Option<String>,
    #[command(flatten)]
    past: PastArgs,
}

pub(crate) async fn run(session: &Session, args: &HistoryArgs) -> Result<(), Failure> {
    let id_number = match &args.kind {
        Some(_) => number("--id-number", args.id_number.as_ref())?,
        None => None,
    };
    let body = body(&[
        ("kind", maybe(args.kind.as_ref())),
        ("id_number", id_number),
        ("guardian", maybe_number("--guardian", args.guardian.as_ref())?),
        ("code_id", maybe(args.code_id.as_ref())),
        ("as_of", args.past.as_of()),
        ("purpose", args.past.purpose()?),
    ]);
    let answer = session.client.post("/api/v1/history", &body, None).await?;
    print_list(
        session,
        &answer,
        "entries",
        &["decided_at", "event", "actor", "code_id", "position"],
    )
    .await
}
