//! `citycode report-loss`.

use clap::Args;

use super::holders_code::HoldersCode;
use super::{Session, body};
use citycode_terminal::failure::Failure;

/// Flags of `report-loss`.
#[derive(Args)]
#[command(after_help = "Example:\n  citycode report-loss --kind offline --id-number @number.txt --channel kiosk")]
pub(crate) struct ReportLossArgs {
    #[command(flatten)]
    code: HoldersCode,
}

pub(crate) async fn run(session: &Session, args: &ReportLossArgs) -> Result<(), Failure> {
    let body = body(&args.code.parts()?);
    session
        .change(
            "/api/v1/report-loss",
            body,
            "reported lost: the code and every print of it are dead; other kinds are unchanged",
        )
        .await
}
