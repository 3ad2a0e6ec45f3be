//! `citycode issue`.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;
use uuid::Uuid;

use super::{Session, body, maybe, text};
use crate::failure::Failure;
use crate::phone::Phone;
use crate::picture::PictureFormat;

/// Flags of `issue`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  citycode issue --kind offline --id-number 11010519491231002X --channel kiosk --out code.pdf\n  citycode issue --kind live --id-number 11010519491231002X --channel app --phone phone.json"
)]
pub(crate) struct IssueArgs {
    /// The kind of code, e.g. live, family, sampling, offline.
    #[arg(long)]
    kind: String,
    /// The holder's ID number.
    #[arg(long)]
    id_number: String,
    /// The channel that asks.
    #[arg(long)]
    channel: String,
    /// ID number of a family member who acts for the holder.
    #[arg(long)]
    guardian: Option<String>,
    /// The file that stands in for the phone's key store; made if absent.
    #[arg(long, value_name = "FILE")]
    phone: Option<PathBuf>,
    /// Names this attempt; sent again it has no second effect.
    #[arg(long, value_name = "UUID")]
    command_id: Option<Uuid>,
    /// The channel has seen the disability certificate.
    #[arg(long)]
    disability: bool,
    /// The channel attests this special group of the policy.
    #[arg(long)]
    group: Option<String>,
    /// Also write a picture (.png, .svg) or a print sheet (.pdf).
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(crate) async fn run(session: &Session, args: &IssueArgs) -> Result<(), Failure> {
    // A wrong file name is found before anything is issued.
    let format = args.out.as_deref().map(PictureFormat::of).transpose()?;
    let command_id = session.command_id(args.command_id);
    let phone = args.phone.as_deref().map(Phone::at);
    let key = phone
        .as_ref()
        .map(|phone| phone.key_for(command_id, &args.kind, &*session.entropy))
        .transpose()?;
    let body = body(&[
        ("kind", text(&args.kind)),
        ("id_number", text(&args.id_number)),
        ("channel", text(&args.channel)),
        ("guardian", maybe(args.guardian.as_ref())),
        ("device_key", key),
        ("disability", args.disability.then_some(Value::Bool(true))),
        ("group", maybe(args.group.as_ref())),
        (
            "print",
            (format == Some(PictureFormat::Pdf)).then_some(Value::Bool(true)),
        ),
    ]);
    let code = session.client.post("/api/v1/issue", &body, Some(command_id)).await?;
    if let Some(phone) = &phone {
        let issued = super::issued(&code)?;
        phone.keep(command_id, &issued.code_id, &issued.token)?;
    }
    session.print_code(&code)?;
    match &args.out {
        Some(out) => session.paint(out, &code).await,
        None => Ok(()),
    }
}
