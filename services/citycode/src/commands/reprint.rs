//! `citycode reprint`.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use super::holders_code::HoldersCode;
use super::{Session, body};
use crate::failure::Failure;
use crate::picture::PictureFormat;

/// Flags of `reprint`.
#[derive(Args)]
#[command(
    after_help = "Example:\n  citycode reprint --kind offline --id-number 11010519491231002X --channel pc --out again.pdf"
)]
pub(crate) struct ReprintArgs {
    #[command(flatten)]
    whose: HoldersCode,
    /// Also write a picture (.png, .svg) or a print sheet (.pdf).
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(crate) async fn run(session: &Session, args: &ReprintArgs) -> Result<(), Failure> {
    let format = args.out.as_deref().map(PictureFormat::of).transpose()?;
    let print = (format == Some(PictureFormat::Pdf)).then_some(Value::Bool(true));
    let mut parts = args.whose.parts().to_vec();
    parts.push(("print", print));
    let code = session
        .client
        .post("/api/v1/reprint", &body(&parts), Some(session.command_id(None)))
        .await?;
    session.print_code(&code).await?;
    match &args.out {
        Some(out) => session.paint(out, &code).await,
        None => Ok(()),
    }
}
