//! The one way in which a holder's stream is written: decide on the folded state, append, wait for the fold.
//!
//! Issuer and revocation both write holders' streams; this is what they share. [`HolderLog::execute`] takes what
//! it decides on from the register (an in-memory fold of the log), expects the bucket's tail in the append, and
//! treats every outcome as the contract of the event store asks: a conflict decides again on newer state, an
//! unknown outcome repeats the same bytes, a repeated command answers with the stored events.
//!
//! It leaves out what a command means (the domain decides, through [`Decide`]), tokens, and the vault.

mod append;
mod execute;
mod locks;

pub use execute::{Begun, CommandContext, Decide, ExecuteError, Executed, HolderLog, PureDecision};
