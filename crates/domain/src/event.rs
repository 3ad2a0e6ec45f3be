//! Events: what the log holds, in the past tense. Everything that replay needs stands in them, random draws included.
//!
//! Nothing personal stands in the clear: holders are random numbers, tokens and reasons are sealed by the
//! caller under a key of the holder's own ([`Sealed`]), so that destroying the key forgets them.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::ids::{ClaimsDigest, CodeId, CodeKind, HolderId, KeyId, ListFacts, ListId, NameChangeId, StatusRef};
use crate::standing::Standing;
use crate::time::Timestamp;

/// Bytes sealed under a key of the holder's own; opaque here.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Sealed(pub Vec<u8>);

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes)", self.0.len())
    }
}

/// Where a holder may have one valid code: one per kind, and for kinds that are per guardian one per guardian (R3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Slot {
    /// The kind.
    pub kind: CodeKind,
    /// The guardian, in kinds that are per guardian; otherwise none.
    pub guardian: Option<HolderId>,
}

/// One code as later events name it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CodeRef {
    /// The slot it was issued for.
    pub slot: Slot,
    /// The code.
    pub code_id: CodeId,
    /// Where its status stands.
    pub status: StatusRef,
}

/// Why a holder was found eligible (R12), judged once, at issue.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum EligibilityGround {
    /// The kind is for everyone.
    Everyone,
    /// Under the age that the policy names.
    Under,
    /// Of the age that the policy names, or older.
    From,
    /// Holds the city's disability certificate, attested by the channel.
    Disability,
    /// Belongs to a special group of the policy, attested by the channel.
    Group,
}

/// A resident became known (R3: once).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HolderRegistered {
    /// The new, random holder.
    pub holder: HolderId,
}

/// A family relationship was recorded, in the dependent's stream (R17).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RelationshipRecorded {
    /// Who may act for the holder from now on.
    pub guardian: HolderId,
}

/// A family relationship ended; the codes that rested on it died with it (R17).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RelationshipEnded {
    /// Who may no longer act for the holder.
    pub guardian: HolderId,
    /// The codes that died.
    pub codes: Vec<CodeRef>,
}

/// A code was born; the one that it supersedes died in the same instant (R4).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CodeIssued {
    /// The newborn.
    pub code: CodeRef,
    /// Valid from.
    pub issued_at: Timestamp,
    /// Dead from.
    pub expires_at: Timestamp,
    /// The code that died by it, where one was valid.
    pub supersedes: Option<CodeRef>,
    /// The standing it is born with (R21).
    pub standing: Standing,
    /// Why the holder was eligible.
    pub ground: EligibilityGround,
    /// A family member acting for the holder, also in kinds that are not per guardian (R9, R13).
    pub acting_guardian: Option<HolderId>,
    /// The key that signed the token.
    pub key_id: KeyId,
    /// SHA-256 of the exact signed claims (R25).
    pub claims_digest: ClaimsDigest,
    /// The whole token text, sealed under the holder's key; reprint unseals it (R6).
    pub sealed_token: Sealed,
}

/// The holder reported a code lost (R14, R15).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CodeReportedLost {
    /// The code that died.
    pub code: CodeRef,
    /// A family member who reported it for the holder.
    pub acting_guardian: Option<HolderId>,
}

/// An officer revoked a code (R22).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CodeRevoked {
    /// The code that died.
    pub code: CodeRef,
    /// The officer's reason, sealed.
    pub reason: Sealed,
}

/// An officer put a hold on a slot and its code (R22).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CodeSuspended {
    /// The code that refuses from now on.
    pub code: CodeRef,
    /// The officer's reason, sealed.
    pub reason: Sealed,
}

/// An officer lifted a hold (R22).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CodeReinstated {
    /// The slot that is free again.
    pub slot: Slot,
    /// The code that lives again; none where it was reported lost meanwhile.
    pub code: Option<CodeRef>,
    /// The officer's reason, sealed.
    pub reason: Sealed,
}

/// The health authority changed a holder's standing; in one event for every valid code (R21).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StandingChanged {
    /// The new standing.
    pub standing: Standing,
    /// Every code of the holder that is not dead.
    pub codes: Vec<CodeRef>,
    /// The authority's reason, sealed.
    pub reason: Sealed,
}

/// A person's name was corrected. The names stand in the vault alone (R28); codes stay as they are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HolderRenamed {
    /// Under which the vault has the new name.
    pub change: NameChangeId,
    /// Why, sealed.
    pub reason: Sealed,
}

/// A holder is forgotten; every code died (R28).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HolderErased {
    /// The codes that died.
    pub codes: Vec<CodeRef>,
    /// Whether an officer ordered it (needed while a code is held or the standing is not green).
    pub by_officer: bool,
}

/// An issuer took a block of places of a status list for itself, for ever.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IndexBlockLeased {
    /// The list.
    pub list: ListId,
    /// What it holds.
    pub facts: ListFacts,
    /// The how manieth list of its partition it is, from 0; of lists of version 1, none.
    pub counter: Option<u32>,
    /// First place of the block.
    pub first_index: u32,
    /// How many places.
    pub count: u32,
}

/// Changes of the log were lost, and codes may have been born in them at these places: no code there is valid that was not
/// issued before this event, and none is issued there after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IndexRangeRevoked {
    /// The list.
    pub list: ListId,
    /// First place.
    pub first_index: u32,
    /// How many places.
    pub count: u32,
}

/// No name of a status list of this partition with a lower counter is used for new codes any more: neither one that is
/// still to be given, nor a list that was leased before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListNamesAdvanced {
    /// The partition.
    pub partition: u16,
    /// The counter of its next list, at least.
    pub next_counter: u32,
}

/// An operator declared that a message in the log is no commit and was none: everybody skips it from here on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ForeignMessageDeclared {
    /// Where it stands in the partition of this event.
    pub sequence: u64,
    /// BLAKE3 of its payload.
    pub digest: [u8; 32],
    /// Why, in the operator's words; nothing personal.
    pub reason: String,
}

/// A signing key came into use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SigningKeyAdded {
    /// Its name in tokens.
    pub key_id: KeyId,
    /// Its public half, Ed25519.
    pub public_key: [u8; 32],
    /// Signs from this instant.
    pub signs_from: Timestamp,
}

/// A signing key's window was closed; it verifies until the last of its codes has expired.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SigningKeyRetired {
    /// The key.
    pub key_id: KeyId,
    /// Signs until this instant, exclusive; a token issued later refuses.
    pub signs_until: Timestamp,
    /// Verifies until this instant, exclusive.
    pub verifies_until: Timestamp,
}

/// A signing key may be in other hands. What the log knows as issued stays valid (R25); a gate that does not
/// know the whole log answers that it cannot check.
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
    SigningKeyAdded(SigningKeyAdded),
    SigningKeyRetired(SigningKeyRetired),
    SigningKeyCompromised(SigningKeyCompromised),
}

impl Event {
    /// The name under which the log records events of this type; never changed, never used anew.
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
            Self::SigningKeyAdded(_) => "SigningKeyAdded",
            Self::SigningKeyRetired(_) => "SigningKeyRetired",
            Self::SigningKeyCompromised(_) => "SigningKeyCompromised",
        }
    }
}
