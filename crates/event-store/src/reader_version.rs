//! Which programs can read a log: the reader version that its manifest demands.

use std::fmt;

/// A version of the program as a reader of logs. Every release that writes new event types or new versions of events
/// has a higher one than the release before.
///
/// A log's manifest names the least version that can read it. A program refuses to open a log that demands more than
/// [`ReaderVersion::CURRENT`], and it writes what is new in a version only to logs that demand that version. So the
/// events of version 2 reach a log only after [`crate::EventStore::raise_minimum_reader`], and a program of version 1
/// refuses the log by name instead of stopping in the middle of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReaderVersion(pub u32);

impl ReaderVersion {
    /// The version of the first release: event payloads of `citycode.events.v1`.
    pub const FIRST: Self = Self(1);
    /// The version of this program: it reads the payloads of `citycode.events.v2`, too. New logs demand it.
    pub const CURRENT: Self = Self(2);
}

impl fmt::Display for ReaderVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a log's minimum reader version was not raised. The version then stands where it stood, or, where the engine
/// keeps it in several places, the raise is finished by asking again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RaiseError {
    /// This program could not read the log any more.
    #[error("this program reads logs up to reader version {current}, and {to} was asked for", current = ReaderVersion::CURRENT)]
    NotRead {
        /// What was asked for.
        to: ReaderVersion,
    },
    /// The engine cannot write the manifest now.
    #[error("the manifest of the log cannot be changed now: {0}")]
    Unavailable(String),
    /// The engine refuses, and asking again does not help.
    #[error("the manifest of the log was not changed: {0}")]
    Refused(String),
    /// The store was closed.
    #[error("the event store is closed")]
    Closed,
}

impl RaiseError {
    /// Refuses a version that this program does not read itself.
    ///
    /// # Errors
    /// [`RaiseError::NotRead`].
    pub fn check(to: ReaderVersion) -> Result<(), Self> {
        if to > ReaderVersion::CURRENT {
            return Err(Self::NotRead { to });
        }
        Ok(())
    }
}
