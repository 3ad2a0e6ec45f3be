//! The flags by which a channel names a holder's code of a kind: `issue`, `reprint`, `report-loss`.

use clap::Args;
use serde_json::Value;

use super::{maybe, text};

/// Whose code of which kind, and who asks.
#[derive(Args)]
pub(crate) struct HoldersCode {
    /// The kind of code, e.g. live, family, sampling, offline.
    #[arg(long)]
    pub(crate) kind: String,
    /// The holder's ID number.
    #[arg(long)]
    id_number: String,
    /// The channel that asks.
    #[arg(long)]
    channel: String,
    /// ID number of a family member who acts for the holder.
    #[arg(long)]
    guardian: Option<String>,
}

impl HoldersCode {
    /// Its parts of a request's body.
    pub(crate) fn parts(&self) -> [(&'static str, Option<Value>); 4] {
        [
            ("kind", text(&self.kind)),
            ("id_number", text(&self.id_number)),
            ("channel", text(&self.channel)),
            ("guardian", maybe(self.guardian.as_ref())),
        ]
    }
}
