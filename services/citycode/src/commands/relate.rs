//! `citycode relate` and `citycode unrelate`.

use clap::Args;

use super::id_number::IdNumberArg;
use super::{Session, body, maybe, number};
use citycode_terminal::failure::Failure;

/// Flags of `relate` and `unrelate`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  citycode relate --guardian @mother.txt --dependent @child.txt\n  citycode relate --guardian - --dependent - < two-lines.txt"
)]
pub(crate) struct RelateArgs {
    /// ID number of the family member who acts.
    #[arg(long, value_name = "N, - or @FILE")]
    guardian: Option<IdNumberArg>,
    /// ID number of the relative for whom the codes are issued.
    #[arg(long, value_name = "N, - or @FILE")]
    dependent: Option<IdNumberArg>,
    /// The channel where both are present; none for an officer.
    #[arg(long)]
    channel: Option<String>,
}

pub(crate) async fn run(session: &Session, args: &RelateArgs, what: &str) -> Result<(), Failure> {
    let channel = if what == "relate" {
        maybe(args.channel.as_ref())
    } else {
        None
    };
    let body = body(&[
        ("guardian", number("--guardian", args.guardian.as_ref())?),
        ("dependent", number("--dependent", args.dependent.as_ref())?),
        ("channel", channel),
    ]);
    let done = if what == "relate" {
        "related"
    } else {
        "the relationship is ended, and the codes that depend on it are revoked"
    };
    session.change(&format!("/api/v1/{what}"), body, done).await
}
