//! `citycode reprint`.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use super::holders_code::HoldersCode;
use super::{Session, body};
use crate::picture::PictureFormat;
use citycode_terminal::failure::Failure;

/// Flags of `reprint`.
#[derive(Args)]
#[command(
    after_help = "Example:\n  citycode reprint --kind offline --id-number @number.txt --channel pc --out again.pdf"
)]
pub(crate) struct ReprintArgs {
    #[command(flatten)]
    code: HoldersCode,
    /// Also write a picture (.png, .svg) or a print sheet (.pdf).
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(crate) async fn run(session: &Session, args: &ReprintArgs) -> Result<(), Failure> {
    let format = args.out.as_deref().map(PictureFormat::of).transpose()?;
    let mut parts = args.code.parts()?.to_vec();
    let picture = session.prepare_picture(args.out.as_deref(), &args.code.kind).await?;
    let print = (format == Some(PictureFormat::Pdf)).then_some(Value::Bool(true));
    parts.push(("print", print));
    let code = session
        .client
        .post("/api/v1/reprint", &body(&parts), Some(session.command_id()))
        .await?;
    session.deliver(&code, picture, Ok(())).await
}
