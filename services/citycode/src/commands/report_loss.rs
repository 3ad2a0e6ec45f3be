//! `citycode report-loss`.

use clap::Args;

use super::{Session, body, maybe, text};
use crate::failure::Failure;

/// Flags of `report-loss`.
#[derive(Args)]
#[command(
    after_help = "Example:\n  citycode report-loss --kind offline --id-number 11010519491231002X --channel kiosk"
)]
pub(crate) struct ReportLossArgs {
    /// The kind of code that is lost.
    #[arg(long)]
    kind: String,
    /// The holder's ID number.
    #[arg(long)]
    id_number: String,
    /// The channel at which it is reported.
    #[arg(long)]
    channel: String,
    /// ID number of a family member who acts for the holder.
    #[arg(long)]
    guardian: Option<String>,
}

pub(crate) async fn run(session: &Session, args: &ReportLossArgs) -> Result<(), Failure> {
    let body = body(&[
        ("kind", text(&args.kind)),
        ("id_number", text(&args.id_number)),
        ("channel", text(&args.channel)),
        ("guardian", maybe(args.guardian.as_ref())),
    ]);
    session
        .change(
            "/api/v1/report-loss",
            body,
            "reported lost: every print of it is dead; other kinds are untouched",
        )
        .await
}
