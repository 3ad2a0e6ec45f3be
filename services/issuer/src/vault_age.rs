//! Compares the vault with the log after a restore, and records up to which position of the log the vault is complete.
//!
//! A vault that was restored from an older backup lacks people whom the log registered, who could register again and
//! have two valid codes. It also contains people whom the log records as erased, and outdated names. The vault's mark is
//! the log position up to which erasures and name corrections were applied to it; it is part of a backup.
//!
//! | module | does |
//! |---|---|
//! | `compare` | applies the erasures and corrections of a part of the log to the vault, finds people who are not in it |
//! | `mark` | advances the mark of the vault of one process |
//! | `on_servers` | the same for a vault that several issuers use at once, and the check before an issuer serves calls |
//!
//! [`unknown_holders`](crate::unknown_holders) ends the codes of people who are not in the vault.

mod compare;
mod mark;
mod on_servers;

use citycode_event_store::ReadError;
use citycode_vault::VaultError;

pub(crate) use compare::unknown_among;
pub use compare::{Unknown, compare, instant};
pub use mark::VaultMark;
pub use on_servers::{ErasureMark, VaultAge};

/// Why no calls may be served with the current vault.
#[derive(Debug, thiserror::Error)]
pub enum VaultAgeError {
    /// The vault cannot be used.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The log cannot be read.
    #[error("the event log cannot be read: {0}")]
    Read(#[from] ReadError),
    /// The log cannot be followed or decoded, or a command on it failed.
    #[error("the event log cannot be folded: {0}")]
    Log(String),
    /// People of the log are not in the vault.
    #[error(
        "the part `vault` is older than the event log: {0}. Restore the newest backup of the vault; if this is the newest, \
         stop every issuer and run `citycode vault suspend-unknown` (docs/operations/city.md, \"Restoring from the archive\")"
    )]
    Older(String),
}
