//! `citycode rename`.

use clap::Args;

use super::assertion::Asserted;
use super::id_number::IdNumberArg;
use super::{Session, body, maybe, number, text};
use citycode_terminal::failure::Failure;

/// Flags of `rename`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  citycode rename --id-number @number.txt --name 张晓三 --reason 登记笔误\n  citycode rename --id-number @number.txt --name 张晓三 --reason 登记笔误 --channel app --assertion @assertion.jwt"
)]
pub(crate) struct RenameArgs {
    /// The person's ID number.
    #[arg(long, value_name = "N, - or @FILE")]
    id_number: Option<IdNumberArg>,
    /// The correct name.
    #[arg(long)]
    name: String,
    /// The reason; it is stored in the log, sealed.
    #[arg(long)]
    reason: String,
    /// The channel through which the person asks, with an assertion; none for an officer.
    #[arg(long)]
    channel: Option<String>,
    #[command(flatten)]
    asserted: Asserted,
}

pub(crate) async fn run(session: &Session, args: &RenameArgs) -> Result<(), Failure> {
    let body = body(&[
        ("id_number", number("--id-number", args.id_number.as_ref())?),
        ("name", text(&args.name)),
        ("reason", text(&args.reason)),
        ("channel", maybe(args.channel.as_ref())),
        ("authentication", args.asserted.authentication()?),
    ]);
    let done = "the name is corrected; codes are unchanged, and new prints show the new name";
    session.change("/api/v1/rename", body, done).await
}
