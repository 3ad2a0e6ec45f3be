//! `citycode reprint`.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use super::{Session, body, maybe, text};
use crate::failure::Failure;
use crate::picture::PictureFormat;

/// Flags of `reprint`.
#[derive(Args)]
#[command(
    after_help = "Example:\n  citycode reprint --kind offline --id-number 11010519491231002X --channel pc --out again.pdf"
)]
pub(crate) struct ReprintArgs {
    /// The kind of code.
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
    /// Also write a picture (.png, .svg) or a print sheet (.pdf).
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(crate) async fn run(session: &Session, args: &ReprintArgs) -> Result<(), Failure> {
    let format = args.out.as_deref().map(PictureFormat::of).transpose()?;
    let body = body(&[
        ("kind", text(&args.kind)),
        ("id_number", text(&args.id_number)),
        ("channel", text(&args.channel)),
        ("guardian", maybe(args.guardian.as_ref())),
        (
            "print",
            (format == Some(PictureFormat::Pdf)).then_some(Value::Bool(true)),
        ),
    ]);
    let code = session
        .client
        .post("/api/v1/reprint", &body, Some(session.command_id(None)))
        .await?;
    session.print_code(&code)?;
    match &args.out {
        Some(out) => session.paint(out, &code).await,
        None => Ok(()),
    }
}
