//! The status of one code in a projection of the log.

use crate::standing::Standing;

/// Why a code ended before its expiry. This is permanent.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Death {
    /// A newer code of the same kind replaced it (R4).
    Superseded,
    /// Its holder reported it lost (R14).
    ReportedLost,
    /// An officer revoked it, its relationship ended (R17), or its holder was erased (R28).
    Revoked,
}

/// Whether a code is valid. Expiry is not part of it: the claims contain the expiry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Life {
    /// It is valid.
    Valid,
    /// An officer put it on hold (R22); it may become valid again.
    Suspended,
    /// It ended permanently.
    Dead(Death),
}

/// The answer of a projection for (list, index, claims digest).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Status {
    /// No code was issued at this index, as far as the projection is folded.
    NeverIssued,
    /// A code was issued at this index, but with other claims: a forgery with a stolen key (R25).
    OtherClaims,
    /// The code was issued with these claims.
    Issued {
        /// Whether it is valid.
        life: Life,
        /// Its holder's standing.
        standing: Standing,
    },
}
