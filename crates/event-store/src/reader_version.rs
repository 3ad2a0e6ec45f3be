//! The minimum reader version of a log: which programs can read it.

use std::fmt;

/// A version of the program as a reader of logs. Every release that writes new event types or new event versions
/// increases it.
///
/// A log's manifest contains the minimum version that can read it. A program refuses to open a log whose minimum
/// exceeds [`ReaderVersion::CURRENT`], and it writes the new events of a version only to logs whose minimum is at least
/// that version. So events of version 2 reach a log only after [`crate::EventStore::raise_minimum_reader`], and a
/// program of version 1 then refuses to open the log, instead of failing at the first event that it cannot read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReaderVersion(pub u32);

impl ReaderVersion {
    /// The version of the first release: event payloads of `citycode.events.v1`.
    pub const FIRST: Self = Self(1);
    /// The version of this program, which also reads the payloads of `citycode.events.v2` and `citycode.events.v3`. The
    /// minimum of new logs.
    pub const CURRENT: Self = Self(3);
}

impl fmt::Display for ReaderVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a log's minimum reader version was not raised. The version is then unchanged; an engine that stores it in
/// several places may have changed some of them, and a repeated call completes the change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RaiseError {
    /// This program itself could not read the log after the change.
    #[error(
        "this program reads logs up to reader version {}, but {to} was requested",
        ReaderVersion::CURRENT
    )]
    NotRead {
        /// The requested version.
        to: ReaderVersion,
    },
    /// The engine cannot write the manifest now; a retry may succeed.
    #[error("the manifest of the log cannot be changed now: {0}")]
    Unavailable(String),
    /// The engine refuses the change; a retry does not help.
    #[error("the manifest of the log was not changed: {0}")]
    Refused(String),
    /// The store was closed.
    #[error("the event store is closed")]
    Closed,
}

impl RaiseError {
    /// Refuses a version that this program does not support.
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
