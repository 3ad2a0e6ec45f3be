//! The events of the log. They contain everything that replay needs, including random draws.
//!
//! They contain no personal data in the clear: holders are random numbers, and the caller seals tokens and
//! reasons under a key of the holder ([`Sealed`]), so that destroying the key makes them unreadable.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::ids::{
    ClaimsDigest, CodeId, CodeKind, HolderId, KeyId, ListFacts, ListId, NameChangeId, PolicyDigest, ScanWriterId,
    StatusRef,
};
use crate::standing::Standing;
use crate::time::Timestamp;

/// Bytes sealed under a key of the holder; opaque to this crate.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Sealed(pub Vec<u8>);

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes)", self.0.len())
    }
}

/// The unit in which a holder has at most one valid code: one per kind, and one per guardian for kinds that are
/// per guardian (R3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Slot {
    /// The kind.
    pub kind: CodeKind,
    /// The guardian, for kinds that are per guardian; `None` otherwise.
    pub guardian: Option<HolderId>,
}

/// A code as later events refer to it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CodeRef {
    /// The slot for which it was issued.
    pub slot: Slot,
    /// The code.
    pub code_id: CodeId,
    /// The status list that contains the code, and its index there.
    pub status: StatusRef,
}

/// The ground on which a holder was eligible (R12). It is decided once, at issue.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum EligibilityGround {
    /// The kind is for everyone.
    Everyone,
    /// Younger than the age that the policy names.
    Under,
    /// Of the age that the policy names, or older.
    From,
    /// Holds the city's disability certificate, attested by the channel.
    Disability,
    /// Belongs to a special group of the policy, attested by the channel.
    Group,
}

/// A resident was registered (R3: once).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HolderRegistered {
    /// The new, random holder.
    pub holder: HolderId,
}

/// A family relationship was recorded, in the dependent's stream (R17).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RelationshipRecorded {
    /// The person who may act for the holder from now on.
    pub guardian: HolderId,
}

/// A family relationship ended, and with it the codes that depended on it (R17).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RelationshipEnded {
    /// The person who may no longer act for the holder.
    pub guardian: HolderId,
    /// The codes that ended with it.
    pub codes: Vec<CodeRef>,
}

/// A code was issued. The code that it supersedes ended in the same event (R4).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CodeIssued {
    /// The new code.
    pub code: CodeRef,
    /// Start of validity, inclusive.
    pub issued_at: Timestamp,
    /// Expiry, exclusive.
    pub expires_at: Timestamp,
    /// The valid code that this one replaces, if there was one.
    pub supersedes: Option<CodeRef>,
    /// The holder's standing at issue (R21).
    pub standing: Standing,
    /// Why the holder was eligible.
    pub ground: EligibilityGround,
    /// The family member who acted for the holder, also in kinds that are not per guardian (R9, R13).
    pub acting_guardian: Option<HolderId>,
    /// The key that signed the token.
    pub key_id: KeyId,
    /// SHA-256 of the exact signed claims (R25).
    pub claims_digest: ClaimsDigest,
    /// The whole token text, sealed under the holder's key; a reprint unseals it (R6).
    pub sealed_token: Sealed,
}

/// The holder reported a code lost (R14, R15).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CodeReportedLost {
    /// The lost code.
    pub code: CodeRef,
    /// The family member who reported it for the holder.
    pub acting_guardian: Option<HolderId>,
}

/// An officer revoked a code (R22).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CodeRevoked {
    /// The revoked code.
    pub code: CodeRef,
    /// The officer's reason, sealed.
    pub reason: Sealed,
}

/// An officer put a slot and its code on hold (R22).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CodeSuspended {
    /// The code that is refused from now on.
    pub code: CodeRef,
    /// The officer's reason, sealed.
    pub reason: Sealed,
}

/// An officer lifted a hold (R22).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CodeReinstated {
    /// The slot whose hold was lifted.
    pub slot: Slot,
    /// The code that is valid again; `None` if it was reported lost in the meantime.
    pub code: Option<CodeRef>,
    /// The officer's reason, sealed.
    pub reason: Sealed,
}

/// The health authority changed a holder's standing; one event covers every valid code (R21).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StandingChanged {
    /// The new standing.
    pub standing: Standing,
    /// Every code of the holder that is neither ended nor expired.
    pub codes: Vec<CodeRef>,
    /// The authority's reason, sealed.
    pub reason: Sealed,
}

/// A person's name was corrected. Only the vault contains names (R28); codes stay as they are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HolderRenamed {
    /// The id under which the vault stores the new name.
    pub change: NameChangeId,
    /// The reason, sealed.
    pub reason: Sealed,
}

/// A holder was erased, and every code ended (R28).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HolderErased {
    /// The codes that ended with it.
    pub codes: Vec<CodeRef>,
    /// Whether an officer ordered it (required while a code is on hold or the standing is not green).
    pub by_officer: bool,
}

/// An issuer leased a block of indices of a status list for its exclusive use. Leases are never returned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IndexBlockLeased {
    /// The list.
    pub list: ListId,
    /// What the list contains.
    pub facts: ListFacts,
    /// The counter of the list in its partition, from 0; `None` for lists of version 1.
    pub counter: Option<u32>,
    /// The first index of the block.
    pub first_index: u32,
    /// The number of indices.
    pub count: u32,
}

/// Commits of the log were lost, and codes may have been issued in them at these indices. No code there is valid
/// unless it was issued before this event, and none is issued there after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IndexRangeRevoked {
    /// The list.
    pub list: ListId,
    /// The first index.
    pub first_index: u32,
    /// The number of indices.
    pub count: u32,
}

/// New codes no longer use a list name of this partition with a lower counter: neither a name that has not been
/// assigned yet, nor a list that was leased before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListNamesAdvanced {
    /// The partition.
    pub partition: u16,
    /// The least counter that the next list may have.
    pub next_counter: u32,
}

/// An operator declared that a message in the log is not a commit. Every reader skips it from here on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ForeignMessageDeclared {
    /// Its sequence in the partition of this event.
    pub sequence: u64,
    /// BLAKE3 of its payload.
    pub digest: [u8; 32],
    /// The operator's reason in words; it must not contain personal data.
    pub reason: String,
}

/// A service started to use a policy. Recorded verdicts are recomputed under the policy that their records name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PolicyAdopted {
    /// SHA-256 of the text.
    pub digest: PolicyDigest,
    /// The whole policy file.
    pub text: String,
}

/// Digests of batches of scan records that were sealed since the last such event. A record that is removed, added or
/// rewritten afterwards does not agree with them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScanBatchesSealed {
    /// At most one for each writer and day.
    pub batches: Vec<ScanBatches>,
}

/// Consecutive batches of one writer and day.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScanBatches {
    /// The day of the records, in days since 1970-01-01 (UTC).
    pub day: u32,
    /// The process that wrote them.
    pub writer: ScanWriterId,
    /// Number of the first batch among the writer's batches of the day, from 1.
    pub first: u64,
    /// Number of batches, at least 1.
    pub count: u32,
    /// BLAKE3 over the BLAKE3 digests of the sealed batches, in order.
    pub digest: [u8; 32],
}

/// The digest of consecutive records of the stream of queries. A query that is removed, changed or moved afterwards does
/// not agree with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueriesSealed {
    /// Sequence of the first record in the stream of queries, from 1.
    pub first: u64,
    /// Number of records, at least 1.
    pub count: u32,
    /// BLAKE3 over the BLAKE3 digests of the records, in order.
    pub digest: [u8; 32],
}

/// A signing key was added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SigningKeyAdded {
    /// The key's id in tokens.
    pub key_id: KeyId,
    /// Its public half, Ed25519.
    pub public_key: [u8; 32],
    /// Start of the time in which it signs, inclusive.
    pub signs_from: Timestamp,
}

/// A signing key was retired; it verifies until the last of its codes has expired.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SigningKeyRetired {
    /// The key.
    pub key_id: KeyId,
    /// End of the time in which it signs, exclusive; a token issued later is refused.
    pub signs_until: Timestamp,
    /// End of the time in which it verifies, exclusive.
    pub verifies_until: Timestamp,
}

/// A signing key may have been stolen. Codes that the log records as issued stay valid (R25); a gate that does
/// not follow the whole log answers `cannot_check`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SigningKeyCompromised {
    /// The key.
    pub key_id: KeyId,
}

/// Any event of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(
    missing_docs,
    reason = "each variant is its struct of the same name, documented above"
)]
pub enum Event {
    HolderRegistered(HolderRegistered),
    RelationshipRecorded(RelationshipRecorded),
    RelationshipEnded(RelationshipEnded),
    CodeIssued(CodeIssued),
    CodeReportedLost(CodeReportedLost),
    CodeRevoked(CodeRevoked),
    CodeSuspended(CodeSuspended),
    CodeReinstated(CodeReinstated),
    StandingChanged(StandingChanged),
    HolderRenamed(HolderRenamed),
    HolderErased(HolderErased),
    IndexBlockLeased(IndexBlockLeased),
    IndexRangeRevoked(IndexRangeRevoked),
    ListNamesAdvanced(ListNamesAdvanced),
    ForeignMessageDeclared(ForeignMessageDeclared),
    PolicyAdopted(PolicyAdopted),
    ScanBatchesSealed(ScanBatchesSealed),
    QueriesSealed(QueriesSealed),
    SigningKeyAdded(SigningKeyAdded),
    SigningKeyRetired(SigningKeyRetired),
    SigningKeyCompromised(SigningKeyCompromised),
}

impl Event {
    /// The name under which the log records events of this type. A name never changes and is never reused.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::HolderRegistered(_) => "HolderRegistered",
            Self::RelationshipRecorded(_) => "RelationshipRecorded",
            Self::RelationshipEnded(_) => "RelationshipEnded",
            Self::CodeIssued(_) => "CodeIssued",
            Self::CodeReportedLost(_) => "CodeReportedLost",
            Self::CodeRevoked(_) => "CodeRevoked",
            Self::CodeSuspended(_) => "CodeSuspended",
            Self::CodeReinstated(_) => "CodeReinstated",
            Self::StandingChanged(_) => "StandingChanged",
            Self::HolderRenamed(_) => "HolderRenamed",
            Self::HolderErased(_) => "HolderErased",
            Self::IndexBlockLeased(_) => "IndexBlockLeased",
            Self::IndexRangeRevoked(_) => "IndexRangeRevoked",
            Self::ListNamesAdvanced(_) => "ListNamesAdvanced",
            Self::ForeignMessageDeclared(_) => "ForeignMessageDeclared",
            Self::PolicyAdopted(_) => "PolicyAdopted",
            Self::ScanBatchesSealed(_) => "ScanBatchesSealed",
            Self::QueriesSealed(_) => "QueriesSealed",
            Self::SigningKeyAdded(_) => "SigningKeyAdded",
            Self::SigningKeyRetired(_) => "SigningKeyRetired",
            Self::SigningKeyCompromised(_) => "SigningKeyCompromised",
        }
    }
}
