//! The only code that writes holders' streams: decide on the folded state, append, wait for the fold.
//!
//! Issuer and revocation both write holders' streams through this crate. [`HolderLog::execute`] reads state
//! from the register (an in-memory fold of the log), expects the bucket's tail in the append, and treats every
//! outcome as the event store's contract requires: after a conflict it decides again on newer state, after an
//! unknown outcome it sends the same bytes again, and a repeated command returns the stored events.
//!
//! A decision ([`Decide`]) is a pure function: what it needs is prepared before the lock of the bucket is taken.
//!
//! This crate does not contain the meaning of commands (the domain decides), tokens, or the vault.

mod append;
mod execute;
mod locks;
mod policies;

pub use execute::{Begun, CommandContext, Decide, Decided, ExecuteError, Executed, HolderLog};
pub use policies::is_auditable;
