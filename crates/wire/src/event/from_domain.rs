//! Domain → payload. Every event is destructured field by field, so that a new field is a compile error until
//! it is handled.

use citycode_domain::event::{
    CodeIssued, CodeRef, CodeReinstated, CodeReportedLost, CodeRevoked, CodeSuspended, ForeignMessageDeclared,
    HolderErased, HolderRegistered, HolderRenamed, IndexBlockLeased, IndexRangeRevoked, ListNamesAdvanced,
    PolicyAdopted, QueriesSealed, RelationshipEnded, RelationshipRecorded, ScanBatches, ScanBatchesSealed,
    SigningKeyAdded, SigningKeyCompromised, SigningKeyRetired, Slot, StandingChanged,
};
use citycode_domain::ids::{HolderId, ListFacts};

use super::field::{ground_value, id_bytes, sealed_bytes, standing_value};
use crate::proto::events::{v1, v2, v3};

impl From<&Slot> for v1::Slot {
    fn from(Slot { kind, guardian }: &Slot) -> Self {
        Self {
            kind: u32::from(kind.number()),
            guardian: guardian.map(|HolderId(id)| id_bytes(&id)),
        }
    }
}

impl From<&CodeRef> for v1::CodeRef {
    fn from(
        CodeRef {
            slot: Slot { kind, guardian },
            code_id,
            status,
        }: &CodeRef,
    ) -> Self {
        Self {
            kind: u32::from(kind.number()),
            guardian: guardian.map(|HolderId(id)| id_bytes(&id)),
            code_id: id_bytes(&code_id.0),
            list: status.list.0,
            index: status.index,
        }
    }
}

fn code_refs(codes: &[CodeRef]) -> Vec<v1::CodeRef> {
    codes.iter().map(v1::CodeRef::from).collect()
}

impl From<&HolderRegistered> for v1::HolderRegistered {
    fn from(HolderRegistered { holder }: &HolderRegistered) -> Self {
        Self {
            holder: id_bytes(&holder.0),
        }
    }
}

impl From<&RelationshipRecorded> for v1::RelationshipRecorded {
    fn from(RelationshipRecorded { guardian }: &RelationshipRecorded) -> Self {
        Self {
            guardian: id_bytes(&guardian.0),
        }
    }
}

impl From<&RelationshipEnded> for v1::RelationshipEnded {
    fn from(RelationshipEnded { guardian, codes }: &RelationshipEnded) -> Self {
        Self {
            guardian: id_bytes(&guardian.0),
            codes: code_refs(codes),
        }
    }
}

impl From<&CodeIssued> for v1::CodeIssued {
    fn from(event: &CodeIssued) -> Self {
        let CodeIssued {
            code,
            issued_at,
            expires_at,
            supersedes,
            standing,
            ground,
            acting_guardian,
            key_id,
            claims_digest,
            sealed_token,
        } = event;
        Self {
            code: Some(code.into()),
            issued_at: issued_at.0,
            expires_at: expires_at.0,
            supersedes: supersedes.as_ref().map(v1::CodeRef::from),
            standing: standing_value(*standing).into(),
            ground: ground_value(*ground).into(),
            acting_guardian: acting_guardian.map(|HolderId(id)| id_bytes(&id)),
            key_id: id_bytes(&key_id.0),
            claims_digest: id_bytes(&claims_digest.0),
            sealed_token: sealed_bytes(sealed_token),
        }
    }
}

impl From<&CodeReportedLost> for v1::CodeReportedLost {
    fn from(event: &CodeReportedLost) -> Self {
        let CodeReportedLost { code, acting_guardian } = event;
        Self {
            code: Some(code.into()),
            acting_guardian: acting_guardian.map(|HolderId(id)| id_bytes(&id)),
        }
    }
}

impl From<&CodeRevoked> for v1::CodeRevoked {
    fn from(CodeRevoked { code, reason }: &CodeRevoked) -> Self {
        Self {
            code: Some(code.into()),
            sealed_reason: sealed_bytes(reason),
        }
    }
}

impl From<&CodeSuspended> for v1::CodeSuspended {
    fn from(CodeSuspended { code, reason }: &CodeSuspended) -> Self {
        Self {
            code: Some(code.into()),
            sealed_reason: sealed_bytes(reason),
        }
    }
}

impl From<&CodeReinstated> for v1::CodeReinstated {
    fn from(CodeReinstated { slot, code, reason }: &CodeReinstated) -> Self {
        Self {
            slot: Some(slot.into()),
            code: code.as_ref().map(v1::CodeRef::from),
            sealed_reason: sealed_bytes(reason),
        }
    }
}

impl From<&StandingChanged> for v1::StandingChanged {
    fn from(event: &StandingChanged) -> Self {
        let StandingChanged {
            standing,
            codes,
            reason,
        } = event;
        Self {
            standing: standing_value(*standing).into(),
            codes: code_refs(codes),
            sealed_reason: sealed_bytes(reason),
        }
    }
}

impl From<&HolderErased> for v1::HolderErased {
    fn from(HolderErased { codes, by_officer }: &HolderErased) -> Self {
        Self {
            codes: code_refs(codes),
            by_officer: *by_officer,
        }
    }
}

impl From<&HolderRenamed> for v2::HolderRenamed {
    fn from(HolderRenamed { change, reason }: &HolderRenamed) -> Self {
        Self {
            change: id_bytes(&change.0),
            sealed_reason: sealed_bytes(reason),
        }
    }
}

impl From<&IndexRangeRevoked> for v2::IndexRangeRevoked {
    fn from(event: &IndexRangeRevoked) -> Self {
        let IndexRangeRevoked {
            list,
            first_index,
            count,
        } = event;
        Self {
            list: list.0,
            first_index: *first_index,
            count: *count,
        }
    }
}

impl From<&IndexBlockLeased> for v1::IndexBlockLeased {
    fn from(event: &IndexBlockLeased) -> Self {
        let IndexBlockLeased {
            list,
            // A version 1 name encodes the facts.
            facts: _,
            counter: _,
            first_index,
            count,
        } = event;
        Self {
            list: list.0,
            first_index: *first_index,
            count: *count,
        }
    }
}

/// The lease of a list whose name does not encode what the list contains.
pub(super) fn lease_of_version_2(event: &IndexBlockLeased, counter: u32) -> v2::IndexBlockLeased {
    let IndexBlockLeased {
        list,
        facts: ListFacts {
            partition,
            kind,
            retires_at,
        },
        counter: _,
        first_index,
        count,
    } = event;
    v2::IndexBlockLeased {
        list: list.0,
        first_index: *first_index,
        count: *count,
        partition: u32::from(*partition),
        kind: u32::from(kind.number()),
        retires_at: retires_at.0,
        counter,
    }
}

impl From<&ListNamesAdvanced> for v2::ListNamesAdvanced {
    fn from(event: &ListNamesAdvanced) -> Self {
        let ListNamesAdvanced {
            partition,
            next_counter,
        } = event;
        Self {
            partition: u32::from(*partition),
            next_counter: *next_counter,
        }
    }
}

impl From<&ForeignMessageDeclared> for v2::ForeignMessageDeclared {
    fn from(event: &ForeignMessageDeclared) -> Self {
        let ForeignMessageDeclared {
            sequence,
            digest,
            reason,
        } = event;
        Self {
            sequence: *sequence,
            digest: digest.to_vec().into(),
            reason: reason.clone(),
        }
    }
}

impl From<&PolicyAdopted> for v3::PolicyAdopted {
    fn from(PolicyAdopted { digest, text }: &PolicyAdopted) -> Self {
        Self {
            digest: id_bytes(&digest.0),
            text: text.clone(),
        }
    }
}

impl From<&ScanBatchesSealed> for v3::ScanBatchesSealed {
    fn from(ScanBatchesSealed { batches }: &ScanBatchesSealed) -> Self {
        let batches = batches.iter().map(v3::ScanBatches::from).collect();
        Self { batches }
    }
}

impl From<&ScanBatches> for v3::ScanBatches {
    fn from(batches: &ScanBatches) -> Self {
        let ScanBatches {
            day,
            writer,
            first,
            count,
            digest,
        } = batches;
        Self {
            day: *day,
            writer: id_bytes(&writer.0),
            first: *first,
            count: *count,
            digest: id_bytes(digest),
        }
    }
}

impl From<&QueriesSealed> for v3::QueriesSealed {
    fn from(QueriesSealed { first, count, digest }: &QueriesSealed) -> Self {
        Self {
            first: *first,
            count: *count,
            digest: id_bytes(digest),
        }
    }
}

impl From<&SigningKeyAdded> for v1::SigningKeyAdded {
    fn from(event: &SigningKeyAdded) -> Self {
        let SigningKeyAdded {
            key_id,
            public_key,
            signs_from,
        } = event;
        Self {
            key_id: id_bytes(&key_id.0),
            public_key: id_bytes(public_key),
            signs_from: signs_from.0,
        }
    }
}

impl From<&SigningKeyRetired> for v1::SigningKeyRetired {
    fn from(event: &SigningKeyRetired) -> Self {
        let SigningKeyRetired {
            key_id,
            signs_until,
            verifies_until,
        } = event;
        Self {
            key_id: id_bytes(&key_id.0),
            signs_until: signs_until.0,
            verifies_until: verifies_until.0,
        }
    }
}

impl From<&SigningKeyCompromised> for v1::SigningKeyCompromised {
    fn from(SigningKeyCompromised { key_id }: &SigningKeyCompromised) -> Self {
        Self {
            key_id: id_bytes(&key_id.0),
        }
    }
}
