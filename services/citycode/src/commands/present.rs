//! `citycode present`: what a phone displays now. Needs no server.

use std::path::PathBuf;

use citycode_domain::time::Timestamp;
use clap::Args;
use serde_json::json;

use super::Session;
use crate::phone::Phone;
use crate::picture::{PictureFormat, write_presentation};
use citycode_terminal::failure::Failure;

/// How long a proof is valid (R16).
const FRESH_SECONDS: i64 = 60;

/// Flags of `present`.
#[derive(Args)]
#[command(after_help = "Example:\n  citycode present --token \"$TOKEN\" --phone phone.json --out now.png")]
pub(crate) struct PresentArgs {
    /// The code's token, as `issue` printed it. This command does not use an access token.
    #[arg(long, value_name = "TEXT")]
    token: String,
    /// The file used as the phone's key store.
    #[arg(long, value_name = "FILE")]
    phone: PathBuf,
    /// The time of the proof; default: now.
    #[arg(long, value_name = "RFC3339")]
    at: Option<jiff::Timestamp>,
    /// Also write a picture (.png, .svg).
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(crate) fn run(session: &Session, args: &PresentArgs) -> Result<(), Failure> {
    let format = args.out.as_deref().map(PictureFormat::of).transpose()?;
    let time = Timestamp(
        args.at
            .map_or_else(|| session.clock.now().0, jiff::Timestamp::as_second),
    );
    let presentation = Phone::at(&args.phone).present(&args.token, time)?;
    let until = jiff::Timestamp::from_second(time.0.saturating_add(FRESH_SECONDS));
    let until = until
        .map_err(|error| Failure::usage(error, "give a time before the year 10000"))?
        .to_string();
    let answer = json!({ "presentation": presentation, "fresh_until": until });
    if let (Some(out), Some(format)) = (&args.out, format) {
        write_presentation(out, format, &presentation)?;
    }
    session
        .output
        .thing(&answer, &[("presentation", presentation), ("fresh until", until)])
}
