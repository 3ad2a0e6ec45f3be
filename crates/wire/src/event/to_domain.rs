//! Payload → domain, for every version. Every message is destructured field by field, so that a new field is a
//! compile error until it is handled.

use bytes::Bytes;
use citycode_domain::event::{
    CodeIssued, CodeReinstated, CodeReportedLost, CodeRevoked, CodeSuspended, Event, ForeignMessageDeclared,
    HolderErased, HolderRegistered, HolderRenamed, IndexBlockLeased, IndexRangeRevoked, ListNamesAdvanced,
    PolicyAdopted, QueriesSealed, RelationshipEnded, RelationshipRecorded, ScanBatches, ScanBatchesSealed, Sealed,
    SigningKeyAdded, SigningKeyCompromised, SigningKeyRetired, StandingChanged,
};
use citycode_domain::ids::{ListFacts, ListId};
use citycode_domain::time::Timestamp;

use super::field::{
    BadField, claims_digest, code_ref, code_refs, ground, holder_id, key_id, kind, name_change_id, optional_code_ref,
    optional_holder_id, partition, policy_digest, public_key, scan_writer_id, slot, standing,
};
use crate::proto::events::{v1, v2, v3};

/// Longest policy in bytes, as in the proto file; that of a policy file.
const MAX_POLICY_BYTES: usize = 64 * 1024;
/// Most entries of one `ScanBatchesSealed`, as in the proto file.
const MAX_SCAN_BATCHES: usize = 4_096;

/// Whether sealed bytes are copied out of the payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sealing {
    /// They are copied.
    Keep,
    /// They are left empty.
    Skip,
}

impl Sealing {
    fn take(self, bytes: &Bytes) -> Sealed {
        match self {
            Self::Keep => Sealed(bytes.to_vec()),
            Self::Skip => Sealed::default(),
        }
    }
}

/// A payload of the log that converts to a domain event if its fields are valid.
pub(super) trait FromPayload: prost::Message + Default {
    /// Returns the event, or the first invalid field.
    fn into_event(self, sealing: Sealing) -> Result<Event, BadField>;
}

impl FromPayload for v1::HolderRegistered {
    fn into_event(self, _: Sealing) -> Result<Event, BadField> {
        let Self { holder } = self;
        Ok(Event::HolderRegistered(HolderRegistered {
            holder: holder_id("holder", &holder)?,
        }))
    }
}

impl FromPayload for v1::RelationshipRecorded {
    fn into_event(self, _: Sealing) -> Result<Event, BadField> {
        let Self { guardian } = self;
        Ok(Event::RelationshipRecorded(RelationshipRecorded {
            guardian: holder_id("guardian", &guardian)?,
        }))
    }
}

impl FromPayload for v1::RelationshipEnded {
    fn into_event(self, _: Sealing) -> Result<Event, BadField> {
        let Self { guardian, codes } = self;
        Ok(Event::RelationshipEnded(RelationshipEnded {
            guardian: holder_id("guardian", &guardian)?,
            codes: code_refs("codes", codes)?,
        }))
    }
}

impl FromPayload for v1::CodeIssued {
    fn into_event(self, sealing: Sealing) -> Result<Event, BadField> {
        let Self {
            code,
            issued_at,
            expires_at,
            supersedes,
            standing: standing_value,
            ground: ground_value,
            acting_guardian,
            key_id: key,
            claims_digest: digest,
            sealed_token,
        } = self;
        Ok(Event::CodeIssued(CodeIssued {
            code: code_ref("code", code)?,
            issued_at: Timestamp(issued_at),
            expires_at: Timestamp(expires_at),
            supersedes: optional_code_ref("supersedes", supersedes)?,
            standing: standing("standing", standing_value)?,
            ground: ground("ground", ground_value)?,
            acting_guardian: optional_holder_id("acting_guardian", acting_guardian.as_ref())?,
            key_id: key_id("key_id", &key)?,
            claims_digest: claims_digest("claims_digest", &digest)?,
            sealed_token: sealing.take(&sealed_token),
        }))
    }
}

impl FromPayload for v1::CodeReportedLost {
    fn into_event(self, _: Sealing) -> Result<Event, BadField> {
        let Self { code, acting_guardian } = self;
        Ok(Event::CodeReportedLost(CodeReportedLost {
            code: code_ref("code", code)?,
            acting_guardian: optional_holder_id("acting_guardian", acting_guardian.as_ref())?,
        }))
    }
}

impl FromPayload for v1::CodeRevoked {
    fn into_event(self, sealing: Sealing) -> Result<Event, BadField> {
        let Self { code, sealed_reason } = self;
        Ok(Event::CodeRevoked(CodeRevoked {
            code: code_ref("code", code)?,
            reason: sealing.take(&sealed_reason),
        }))
    }
}

impl FromPayload for v1::CodeSuspended {
    fn into_event(self, sealing: Sealing) -> Result<Event, BadField> {
        let Self { code, sealed_reason } = self;
        Ok(Event::CodeSuspended(CodeSuspended {
            code: code_ref("code", code)?,
            reason: sealing.take(&sealed_reason),
        }))
    }
}

impl FromPayload for v1::CodeReinstated {
    fn into_event(self, sealing: Sealing) -> Result<Event, BadField> {
        let Self {
            slot: freed,
            code,
            sealed_reason,
        } = self;
        Ok(Event::CodeReinstated(CodeReinstated {
            slot: slot("slot", freed)?,
            code: optional_code_ref("code", code)?,
            reason: sealing.take(&sealed_reason),
        }))
    }
}

impl FromPayload for v1::StandingChanged {
    fn into_event(self, sealing: Sealing) -> Result<Event, BadField> {
        let Self {
            standing: standing_value,
            codes,
            sealed_reason,
        } = self;
        Ok(Event::StandingChanged(StandingChanged {
            standing: standing("standing", standing_value)?,
            codes: code_refs("codes", codes)?,
            reason: sealing.take(&sealed_reason),
        }))
    }
}

impl FromPayload for v1::HolderErased {
    fn into_event(self, _: Sealing) -> Result<Event, BadField> {
        let Self { codes, by_officer } = self;
        Ok(Event::HolderErased(HolderErased {
            codes: code_refs("codes", codes)?,
            by_officer,
        }))
    }
}

/// Returns the number of indices of a block if the last one is valid; otherwise a fold would have to guess. An empty
/// block has no last index and is refused too.
fn block_len(first_index: u32, count: u32) -> Result<u32, BadField> {
    count
        .checked_sub(1)
        .and_then(|last| first_index.checked_add(last))
        .map(|_| count)
        .ok_or(BadField::new("count"))
}

impl FromPayload for v1::IndexBlockLeased {
    fn into_event(self, _: Sealing) -> Result<Event, BadField> {
        let Self {
            list,
            first_index,
            count,
        } = self;
        let list = ListId(list);
        let count = block_len(first_index, count)?;
        Ok(Event::IndexBlockLeased(IndexBlockLeased {
            list,
            // Version 1 is read as version 2: the name encodes what version 1 did not record.
            facts: ListFacts::of_version_1(list).ok_or(BadField::new("list"))?,
            counter: None,
            first_index,
            count,
        }))
    }
}

impl FromPayload for v2::IndexBlockLeased {
    fn into_event(self, _: Sealing) -> Result<Event, BadField> {
        let Self {
            list,
            first_index,
            count,
            partition: number,
            kind: kind_number,
            retires_at,
            counter,
        } = self;
        let list = ListId(list);
        Ok(Event::IndexBlockLeased(IndexBlockLeased {
            list: if list.is_version_2() {
                list
            } else {
                return Err(BadField::new("list"));
            },
            facts: ListFacts {
                partition: partition("partition", number)?,
                kind: kind("kind", kind_number)?,
                retires_at: Timestamp(retires_at),
            },
            counter: Some(counter),
            first_index,
            count: block_len(first_index, count)?,
        }))
    }
}

impl FromPayload for v2::HolderRenamed {
    fn into_event(self, sealing: Sealing) -> Result<Event, BadField> {
        let Self { change, sealed_reason } = self;
        Ok(Event::HolderRenamed(HolderRenamed {
            change: name_change_id("change", &change)?,
            reason: sealing.take(&sealed_reason),
        }))
    }
}

impl FromPayload for v2::IndexRangeRevoked {
    fn into_event(self, _: Sealing) -> Result<Event, BadField> {
        let Self {
            list,
            first_index,
            count,
        } = self;
        Ok(Event::IndexRangeRevoked(IndexRangeRevoked {
            list: ListId(list),
            first_index,
            count: block_len(first_index, count)?,
        }))
    }
}

impl FromPayload for v2::ListNamesAdvanced {
    fn into_event(self, _: Sealing) -> Result<Event, BadField> {
        let Self {
            partition: number,
            next_counter,
        } = self;
        Ok(Event::ListNamesAdvanced(ListNamesAdvanced {
            partition: partition("partition", number)?,
            next_counter,
        }))
    }
}

impl FromPayload for v2::ForeignMessageDeclared {
    fn into_event(self, _: Sealing) -> Result<Event, BadField> {
        let Self {
            sequence,
            digest,
            reason,
        } = self;
        let digest = <[u8; 32]>::try_from(&digest[..]).map_err(|_| BadField::new("digest"))?;
        if sequence == 0 {
            return Err(BadField::new("sequence"));
        }
        Ok(Event::ForeignMessageDeclared(ForeignMessageDeclared {
            sequence,
            digest,
            reason,
        }))
    }
}

impl FromPayload for v3::PolicyAdopted {
    fn into_event(self, _: Sealing) -> Result<Event, BadField> {
        let Self { digest, text } = self;
        if text.len() > MAX_POLICY_BYTES {
            return Err(BadField::new("text"));
        }
        Ok(Event::PolicyAdopted(PolicyAdopted {
            digest: policy_digest("digest", &digest)?,
            text,
        }))
    }
}

impl FromPayload for v3::ScanBatchesSealed {
    fn into_event(self, _: Sealing) -> Result<Event, BadField> {
        let Self { batches } = self;
        if batches.is_empty() || batches.len() > MAX_SCAN_BATCHES {
            return Err(BadField::new("batches"));
        }
        let batches: Result<_, _> = batches.iter().map(scan_batches).collect();
        Ok(Event::ScanBatchesSealed(ScanBatchesSealed {
            batches: batches.map_err(|bad: BadField| bad.inside("batches"))?,
        }))
    }
}

fn scan_batches(batches: &v3::ScanBatches) -> Result<ScanBatches, BadField> {
    let v3::ScanBatches {
        day,
        writer,
        first,
        count,
        digest,
    } = batches;
    let last = first.checked_add(u64::from(*count));
    if *first == 0 || *count == 0 || last.is_none() {
        return Err(BadField::new("first"));
    }
    Ok(ScanBatches {
        day: *day,
        writer: scan_writer_id("writer", writer)?,
        first: *first,
        count: *count,
        digest: <[u8; 32]>::try_from(&digest[..]).map_err(|_| BadField::new("digest"))?,
    })
}

impl FromPayload for v3::QueriesSealed {
    fn into_event(self, _: Sealing) -> Result<Event, BadField> {
        let Self { first, count, digest } = self;
        if first == 0 || count == 0 || first.checked_add(u64::from(count)).is_none() {
            return Err(BadField::new("first"));
        }
        Ok(Event::QueriesSealed(QueriesSealed {
            first,
            count,
            digest: <[u8; 32]>::try_from(&digest[..]).map_err(|_| BadField::new("digest"))?,
        }))
    }
}

impl FromPayload for v1::SigningKeyAdded {
    fn into_event(self, _: Sealing) -> Result<Event, BadField> {
        let Self {
            key_id: key,
            public_key: public,
            signs_from,
        } = self;
        Ok(Event::SigningKeyAdded(SigningKeyAdded {
            key_id: key_id("key_id", &key)?,
            public_key: public_key("public_key", &public)?,
            signs_from: Timestamp(signs_from),
        }))
    }
}

impl FromPayload for v1::SigningKeyRetired {
    fn into_event(self, _: Sealing) -> Result<Event, BadField> {
        let Self {
            key_id: key,
            signs_until,
            verifies_until,
        } = self;
        Ok(Event::SigningKeyRetired(SigningKeyRetired {
            key_id: key_id("key_id", &key)?,
            signs_until: Timestamp(signs_until),
            verifies_until: Timestamp(verifies_until),
        }))
    }
}

impl FromPayload for v1::SigningKeyCompromised {
    fn into_event(self, _: Sealing) -> Result<Event, BadField> {
        let Self { key_id: key } = self;
        Ok(Event::SigningKeyCompromised(SigningKeyCompromised {
            key_id: key_id("key_id", &key)?,
        }))
    }
}
