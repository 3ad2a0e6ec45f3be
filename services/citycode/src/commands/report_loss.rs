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
    whose: HoldersCode,
}

pub(crate) async fn run(session: &Session, args: &ReportLossArgs) -> Result<(), Failure> {
    let body = body(&args.whose.parts()?);
    session
        .change(
            "/api/v1/report-loss",
            body,
            "reported lost: every print of it is dead; other kinds are untouched",
        )
        .await
}
