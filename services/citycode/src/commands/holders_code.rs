//! The flags with which a channel names a holder's code: `issue`, `reprint`, `report-loss`.

use clap::Args;
use serde_json::Value;

use super::assertion::Asserted;
use super::id_number::IdNumberArg;
use super::{maybe_number, number, text};
use citycode_terminal::failure::Failure;

/// The holder, the kind of code, and the requesting channel.
#[derive(Args)]
pub(crate) struct HoldersCode {
    /// The kind of code, e.g. live, family, sampling, offline.
    #[arg(long)]
    pub(crate) kind: String,
    /// The holder's ID number.
    #[arg(long, value_name = "N, - or @FILE")]
    id_number: Option<IdNumberArg>,
    /// The requesting channel.
    #[arg(long)]
    channel: String,
    /// ID number of a family member who acts for the holder.
    #[arg(long, value_name = "N, - or @FILE")]
    guardian: Option<IdNumberArg>,
    #[command(flatten)]
    asserted: Asserted,
}

impl HoldersCode {
    /// The fields of a request's body. Reads standard input or files if the flags name them.
    ///
    /// # Errors
    /// An ID number is missing, or it or the assertion cannot be read.
    pub(crate) fn parts(&self) -> Result<[(&'static str, Option<Value>); 5], Failure> {
        Ok([
            ("kind", text(&self.kind)),
            ("id_number", number("--id-number", self.id_number.as_ref())?),
            ("channel", text(&self.channel)),
            ("guardian", maybe_number("--guardian", self.guardian.as_ref())?),
            ("authentication", self.asserted.authentication()?),
        ])
    }
}
