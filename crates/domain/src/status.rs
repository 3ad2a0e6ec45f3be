//! What a projection of the log knows of one code.

use crate::standing::Standing;

/// Why a code died before its time. Dead is for good.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Death {
    /// A newer code of the same kind took its place (R4).
    Superseded,
    /// Its holder reported it lost (R14).
    ReportedLost,
    /// An officer revoked it, its relationship ended (R17), or its holder was erased (R28).
    Revoked,
}

/// Whether a code lives. Expiry is not part of it: that stands in the claims.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Life {
    /// Nothing speaks against it.
    Valid,
    /// An officer holds it (R22); it may live again.
    Suspended,
    /// Dead for good.
    Dead(Death),
}

/// The answer of a projection for (list, index, claims digest).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Status {
    /// No code was ever issued at this place, as far as known.
    NeverIssued,
    /// A code was issued at this place, but not with these claims: a forgery by whoever holds a key (R25).
    OtherClaims,
    /// The very code that the log knows.
    Issued {
        /// Whether it lives.
        life: Life,
        /// Its holder's standing.
        standing: Standing,
    },
}
