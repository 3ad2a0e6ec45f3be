//! `citycode relate` and `citycode unrelate`.

use clap::Args;

use super::{Session, body, maybe, text};
use crate::failure::Failure;

/// Flags of `relate` and `unrelate`.
#[derive(Args)]
#[command(after_help = "Example:\n  citycode relate --guardian 110105198001010019 --dependent 11010520150101001X")]
pub(crate) struct RelateArgs {
    /// ID number of the family member who acts.
    #[arg(long)]
    guardian: String,
    /// ID number of the relative whom the codes stand for.
    #[arg(long)]
    dependent: String,
    /// The channel at which both are present; none for an officer.
    #[arg(long)]
    channel: Option<String>,
}

pub(crate) async fn run(session: &Session, args: &RelateArgs, what: &str) -> Result<(), Failure> {
    let channel = if what == "relate" {
        maybe(args.channel.as_ref())
    } else {
        None
    };
    let body = body(&[
        ("guardian", text(&args.guardian)),
        ("dependent", text(&args.dependent)),
        ("channel", channel),
    ]);
    let done = if what == "relate" {
        "related"
    } else {
        "the relationship ended, and the codes that rest on it"
    };
    session.change(&format!("/api/v1/{what}"), body, done).await
}
