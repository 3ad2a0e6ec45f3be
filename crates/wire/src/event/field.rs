//! Validation of single fields of event payloads.

use bytes::Bytes;
use citycode_domain::event::{CodeRef, EligibilityGround, Sealed, Slot};
use citycode_domain::ids::{
    ClaimsDigest, CodeId, CodeKind, HolderId, KeyId, ListId, NameChangeId, PolicyDigest, ScanWriterId, StatusRef,
};
use citycode_domain::standing::Standing;

use crate::proto::events::v1;

/// An invalid field, by its name in the protobuf file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct BadField {
    /// The enclosing field, if the field is inside a message.
    within: Option<&'static str>,
    name: &'static str,
}

impl BadField {
    pub(super) const fn new(name: &'static str) -> Self {
        Self { within: None, name }
    }

    pub(super) const fn inside(self, outer: &'static str) -> Self {
        Self {
            within: Some(outer),
            name: self.name,
        }
    }

    pub(super) fn path(self) -> String {
        match self.within {
            Some(outer) => format!("{outer}.{}", self.name),
            None => self.name.to_owned(),
        }
    }
}

macro_rules! id_field {
    ($($function:ident -> $id:ident),+ $(,)?) => {
        $(pub(super) fn $function(name: &'static str, bytes: &Bytes) -> Result<$id, BadField> {
            $id::from_slice(bytes).ok_or(BadField::new(name))
        })+
    };
}

id_field!(
    holder_id -> HolderId,
    code_id -> CodeId,
    key_id -> KeyId,
    claims_digest -> ClaimsDigest,
    name_change_id -> NameChangeId,
    policy_digest -> PolicyDigest,
    scan_writer_id -> ScanWriterId,
);

pub(super) fn optional_holder_id(name: &'static str, bytes: Option<&Bytes>) -> Result<Option<HolderId>, BadField> {
    bytes.map(|bytes| holder_id(name, bytes)).transpose()
}

pub(super) fn public_key(name: &'static str, bytes: &Bytes) -> Result<[u8; 32], BadField> {
    bytes.as_ref().try_into().map_err(|_| BadField::new(name))
}

/// A log has at most 256 partitions.
pub(super) fn partition(name: &'static str, number: u32) -> Result<u16, BadField> {
    u8::try_from(number).map(u16::from).map_err(|_| BadField::new(name))
}

pub(super) fn kind(name: &'static str, number: u32) -> Result<CodeKind, BadField> {
    u8::try_from(number)
        .ok()
        .and_then(CodeKind::new)
        .ok_or(BadField::new(name))
}

pub(super) fn standing(name: &'static str, value: i32) -> Result<Standing, BadField> {
    match v1::Standing::try_from(value) {
        Ok(v1::Standing::Green) => Ok(Standing::Green),
        Ok(v1::Standing::Yellow) => Ok(Standing::Yellow),
        Ok(v1::Standing::Red) => Ok(Standing::Red),
        Ok(v1::Standing::Unspecified) | Err(_) => Err(BadField::new(name)),
    }
}

pub(super) const fn standing_value(standing: Standing) -> v1::Standing {
    match standing {
        Standing::Green => v1::Standing::Green,
        Standing::Yellow => v1::Standing::Yellow,
        Standing::Red => v1::Standing::Red,
    }
}

pub(super) fn ground(name: &'static str, value: i32) -> Result<EligibilityGround, BadField> {
    match v1::EligibilityGround::try_from(value) {
        Ok(v1::EligibilityGround::Everyone) => Ok(EligibilityGround::Everyone),
        Ok(v1::EligibilityGround::Under) => Ok(EligibilityGround::Under),
        Ok(v1::EligibilityGround::From) => Ok(EligibilityGround::From),
        Ok(v1::EligibilityGround::Disability) => Ok(EligibilityGround::Disability),
        Ok(v1::EligibilityGround::Group) => Ok(EligibilityGround::Group),
        Ok(v1::EligibilityGround::Unspecified) | Err(_) => Err(BadField::new(name)),
    }
}

pub(super) const fn ground_value(ground: EligibilityGround) -> v1::EligibilityGround {
    match ground {
        EligibilityGround::Everyone => v1::EligibilityGround::Everyone,
        EligibilityGround::Under => v1::EligibilityGround::Under,
        EligibilityGround::From => v1::EligibilityGround::From,
        EligibilityGround::Disability => v1::EligibilityGround::Disability,
        EligibilityGround::Group => v1::EligibilityGround::Group,
    }
}

pub(super) fn slot(name: &'static str, message: Option<v1::Slot>) -> Result<Slot, BadField> {
    let v1::Slot { kind: number, guardian } = message.ok_or(BadField::new(name))?;
    Ok(Slot {
        kind: kind("kind", number).map_err(|bad| bad.inside(name))?,
        guardian: optional_holder_id("guardian", guardian.as_ref()).map_err(|bad| bad.inside(name))?,
    })
}

pub(super) fn code_ref(name: &'static str, message: Option<v1::CodeRef>) -> Result<CodeRef, BadField> {
    present_code_ref(name, message.ok_or(BadField::new(name))?)
}

pub(super) fn optional_code_ref(name: &'static str, message: Option<v1::CodeRef>) -> Result<Option<CodeRef>, BadField> {
    message.map(|message| present_code_ref(name, message)).transpose()
}

pub(super) fn code_refs(name: &'static str, messages: Vec<v1::CodeRef>) -> Result<Vec<CodeRef>, BadField> {
    messages
        .into_iter()
        .map(|message| present_code_ref(name, message))
        .collect()
}

fn present_code_ref(name: &'static str, message: v1::CodeRef) -> Result<CodeRef, BadField> {
    let read = || {
        let v1::CodeRef {
            kind: number,
            guardian,
            code_id: id,
            list,
            index,
        } = message;
        Ok(CodeRef {
            slot: Slot {
                kind: kind("kind", number)?,
                guardian: optional_holder_id("guardian", guardian.as_ref())?,
            },
            code_id: code_id("code_id", &id)?,
            status: StatusRef {
                list: ListId(list),
                index,
            },
        })
    };
    read().map_err(|bad: BadField| bad.inside(name))
}

pub(super) fn id_bytes(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

pub(super) fn sealed_bytes(sealed: &Sealed) -> Bytes {
    Bytes::copy_from_slice(&sealed.0)
}
