//! `citycode register`.

use clap::Args;
use serde_json::Value;

use super::assertion::Asserted;
use super::id_number::IdNumberArg;
use super::{Session, body, maybe, number, text};
use citycode_terminal::failure::Failure;

/// Flags of `register`.
#[derive(Args)]
#[command(after_help = "Example:\n  citycode register --id-number @number.txt --name 张小三 --channel kiosk")]
pub(crate) struct RegisterArgs {
    /// The resident ID number, 18 characters.
    #[arg(long, value_name = "N, - or @FILE")]
    id_number: Option<IdNumberArg>,
    /// The name.
    #[arg(long)]
    name: String,
    /// The channel has seen the disability certificate.
    #[arg(long)]
    disability: bool,
    /// The channel attests this special group of the policy.
    #[arg(long)]
    group: Option<String>,
    /// The registering channel.
    #[arg(long)]
    channel: Option<String>,
    #[command(flatten)]
    asserted: Asserted,
}

pub(crate) async fn run(session: &Session, args: &RegisterArgs) -> Result<(), Failure> {
    let body = body(&[
        ("id_number", number("--id-number", args.id_number.as_ref())?),
        ("name", text(&args.name)),
        ("disability", args.disability.then_some(Value::Bool(true))),
        ("group", maybe(args.group.as_ref())),
        ("channel", maybe(args.channel.as_ref())),
        ("authentication", args.asserted.authentication()?),
    ]);
    session.change("/api/v1/register", body, "registered").await
}
