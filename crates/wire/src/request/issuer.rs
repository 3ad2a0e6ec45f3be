//! Commands to the issuer: residents, relationships, names, codes, keys.

use citycode_domain::claims::DeviceKey;
use citycode_domain::ids::{CommandId, KeyId};
use citycode_domain::name::PersonName;
use citycode_domain::reason::ActReason;

use super::person::{Attestation, Authentication, authentication, given, name};
use super::{FieldFault, InvalidRequest, command_id, reason};
use crate::proto::issuer::v1;

/// Registers a resident (R3, R8).
#[derive(Clone, PartialEq, Eq)]
pub struct RegisterCommand {
    /// The caller's id of the command; `None` if the server draws one.
    pub command_id: Option<CommandId>,
    /// The channel; `None` if the request names none.
    pub channel: Option<String>,
    /// How the person was authenticated.
    pub authentication: Authentication,
    /// The person's ID number, unchecked. Personal.
    pub id_number: String,
    /// The person's name. Personal.
    pub name: PersonName,
    /// What the channel attests.
    pub attestation: Attestation,
}

impl TryFrom<v1::RegisterRequest> for RegisterCommand {
    type Error = InvalidRequest;

    fn try_from(request: v1::RegisterRequest) -> Result<Self, InvalidRequest> {
        Ok(Self {
            command_id: command_id(&request.command_id)?,
            channel: given(request.channel),
            authentication: authentication("authentication.method", request.authentication)?,
            id_number: request.id_number,
            name: name(&request.name)?,
            attestation: request.attestation.into(),
        })
    }
}

/// Records a relationship (R17).
#[derive(Clone, PartialEq, Eq)]
pub struct RelateCommand {
    /// The caller's id of the command; `None` if the server draws one.
    pub command_id: Option<CommandId>,
    /// The channel; `None` if the request names none.
    pub channel: Option<String>,
    /// How the guardian was authenticated.
    pub guardian_authentication: Authentication,
    /// How the dependent was authenticated.
    pub dependent_authentication: Authentication,
    /// The guardian's ID number, unchecked. Personal.
    pub guardian_id_number: String,
    /// The dependent's ID number, unchecked. Personal.
    pub dependent_id_number: String,
}

impl TryFrom<v1::RelateRequest> for RelateCommand {
    type Error = InvalidRequest;

    fn try_from(request: v1::RelateRequest) -> Result<Self, InvalidRequest> {
        let (guardian, dependent) = (request.guardian_authentication, request.dependent_authentication);
        Ok(Self {
            command_id: command_id(&request.command_id)?,
            channel: given(request.channel),
            guardian_authentication: authentication("guardian_authentication.method", guardian)?,
            dependent_authentication: authentication("dependent_authentication.method", dependent)?,
            guardian_id_number: request.guardian_id_number,
            dependent_id_number: request.dependent_id_number,
        })
    }
}

/// Ends a relationship (R17).
#[derive(Clone, PartialEq, Eq)]
pub struct UnrelateCommand {
    /// The caller's id of the command; `None` if the server draws one.
    pub command_id: Option<CommandId>,
    /// The channel; `None` if the request names none.
    pub channel: Option<String>,
    /// How the dependent was authenticated.
    pub authentication: Authentication,
    /// The guardian's ID number, unchecked. Personal.
    pub guardian_id_number: String,
    /// The dependent's ID number, unchecked. Personal.
    pub dependent_id_number: String,
}

impl TryFrom<v1::UnrelateRequest> for UnrelateCommand {
    type Error = InvalidRequest;

    fn try_from(request: v1::UnrelateRequest) -> Result<Self, InvalidRequest> {
        Ok(Self {
            command_id: command_id(&request.command_id)?,
            channel: given(request.channel),
            authentication: authentication("authentication.method", request.authentication)?,
            guardian_id_number: request.guardian_id_number,
            dependent_id_number: request.dependent_id_number,
        })
    }
}

/// Corrects a name.
#[derive(Clone, PartialEq, Eq)]
pub struct RenameCommand {
    /// The caller's id of the command; `None` if the server draws one.
    pub command_id: Option<CommandId>,
    /// The channel; `None` if the request names none.
    pub channel: Option<String>,
    /// How the person was authenticated.
    pub authentication: Authentication,
    /// The person's ID number, unchecked. Personal.
    pub id_number: String,
    /// The corrected name. Personal.
    pub name: PersonName,
    /// The reason. Personal.
    pub reason: ActReason,
}

impl TryFrom<v1::RenameRequest> for RenameCommand {
    type Error = InvalidRequest;

    fn try_from(request: v1::RenameRequest) -> Result<Self, InvalidRequest> {
        Ok(Self {
            command_id: command_id(&request.command_id)?,
            channel: given(request.channel),
            authentication: authentication("authentication.method", request.authentication)?,
            id_number: request.id_number,
            name: name(&request.name)?,
            reason: reason(&request.reason)?,
        })
    }
}

/// Issues a code, or replaces a valid one (R4).
#[derive(Clone, PartialEq, Eq)]
pub struct IssueCommand {
    /// The caller's id of the command; `None` if the server draws one.
    pub command_id: Option<CommandId>,
    /// The channel; `None` if the request names none.
    pub channel: Option<String>,
    /// How the acting person was authenticated.
    pub authentication: Authentication,
    /// Name of the kind, which the policy resolves.
    pub kind: String,
    /// The holder's ID number, unchecked. Personal.
    pub id_number: String,
    /// The ID number of a guardian who acts for the holder, unchecked. Personal.
    pub guardian_id_number: Option<String>,
    /// The phone's public key; its bytes may be no point of the curve.
    pub device_key: Option<DeviceKey>,
    /// What the channel attests.
    pub attestation: Attestation,
    /// Whether the answer includes the masked name.
    pub print: bool,
}

impl TryFrom<v1::IssueRequest> for IssueCommand {
    type Error = InvalidRequest;

    fn try_from(request: v1::IssueRequest) -> Result<Self, InvalidRequest> {
        Ok(Self {
            command_id: command_id(&request.command_id)?,
            channel: given(request.channel),
            authentication: authentication("authentication.method", request.authentication)?,
            kind: request.kind,
            id_number: request.id_number,
            guardian_id_number: given(request.guardian_id_number),
            device_key: device_key(&request.device_key)?,
            attestation: request.attestation.into(),
            print: request.print,
        })
    }
}

/// A phone's key: 32 bytes are Ed25519, 33 a compressed point of P-256.
fn device_key(bytes: &[u8]) -> Result<Option<DeviceKey>, InvalidRequest> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let ed25519 = bytes.try_into().map(DeviceKey::Ed25519);
    let key = ed25519.or_else(|_| bytes.try_into().map(DeviceKey::P256));
    key.map(Some)
        .map_err(|_| InvalidRequest::new("device_key", FieldFault::DeviceKey))
}

/// Returns a valid code again (R6).
#[derive(Clone, PartialEq, Eq)]
pub struct ReprintCommand {
    /// The channel; `None` if the request names none.
    pub channel: Option<String>,
    /// How the acting person was authenticated.
    pub authentication: Authentication,
    /// Name of the kind, which the policy resolves.
    pub kind: String,
    /// The holder's ID number, unchecked. Personal.
    pub id_number: String,
    /// The ID number of a guardian who acts for the holder, unchecked. Personal.
    pub guardian_id_number: Option<String>,
    /// Whether the answer includes the masked name.
    pub print: bool,
}

impl TryFrom<v1::ReprintRequest> for ReprintCommand {
    type Error = InvalidRequest;

    fn try_from(request: v1::ReprintRequest) -> Result<Self, InvalidRequest> {
        Ok(Self {
            channel: given(request.channel),
            authentication: authentication("authentication.method", request.authentication)?,
            kind: request.kind,
            id_number: request.id_number,
            guardian_id_number: given(request.guardian_id_number),
            print: request.print,
        })
    }
}

/// Asks for a holder's codes.
#[derive(Clone, PartialEq, Eq)]
pub struct ListCodesQuery {
    /// The channel; `None` if the request names none.
    pub channel: Option<String>,
    /// How the acting person was authenticated.
    pub authentication: Authentication,
    /// The holder's ID number, unchecked. Personal.
    pub id_number: String,
    /// The ID number of a guardian, for this guardian's codes only, unchecked. Personal.
    pub guardian_id_number: Option<String>,
    /// Whether the holder's own codes on which this guardian may act are listed too.
    pub actionable: bool,
    /// Without a guardian: whether the standing, the time of holds and the guardians are told too.
    pub details: bool,
}

impl TryFrom<v1::ListCodesRequest> for ListCodesQuery {
    type Error = InvalidRequest;

    fn try_from(request: v1::ListCodesRequest) -> Result<Self, InvalidRequest> {
        Ok(Self {
            channel: given(request.channel),
            authentication: authentication("authentication.method", request.authentication)?,
            id_number: request.id_number,
            guardian_id_number: given(request.guardian_id_number),
            actionable: request.actionable,
            details: request.details,
        })
    }
}

/// Erases a person (R28). Only an officer may, so channel and authentication of the request are not used.
#[derive(Clone, PartialEq, Eq)]
pub struct EraseCommand {
    /// The caller's id of the command; `None` if the server draws one.
    pub command_id: Option<CommandId>,
    /// The person's ID number, unchecked. Personal.
    pub id_number: String,
}

impl TryFrom<v1::EraseRequest> for EraseCommand {
    type Error = InvalidRequest;

    fn try_from(request: v1::EraseRequest) -> Result<Self, InvalidRequest> {
        Ok(Self {
            command_id: command_id(&request.command_id)?,
            id_number: request.id_number,
        })
    }
}

/// Adds a signing key and retires the others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RotateKeysCommand {
    /// The caller's id of the command; `None` if the server draws one.
    pub command_id: Option<CommandId>,
}

impl TryFrom<v1::RotateKeysRequest> for RotateKeysCommand {
    type Error = InvalidRequest;

    fn try_from(request: v1::RotateKeysRequest) -> Result<Self, InvalidRequest> {
        Ok(Self {
            command_id: command_id(&request.command_id)?,
        })
    }
}

/// Marks a signing key as compromised (R25).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CompromiseKeyCommand {
    /// The caller's id of the command; `None` if the server draws one.
    pub command_id: Option<CommandId>,
    /// The key; `None` for a text that is no id of a key, and that therefore names an unknown one.
    pub key_id: Option<KeyId>,
}

impl TryFrom<v1::CompromiseKeyRequest> for CompromiseKeyCommand {
    type Error = InvalidRequest;

    fn try_from(request: v1::CompromiseKeyRequest) -> Result<Self, InvalidRequest> {
        Ok(Self {
            command_id: command_id(&request.command_id)?,
            key_id: KeyId::from_hex(&request.key_id),
        })
    }
}

/// The options for all rows of an import.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImportOptions {
    /// Name of the kind, which the policy resolves.
    pub kind: String,
    /// The channel; `None` if the request names none.
    pub channel: Option<String>,
    /// Whether people with a valid code get a new one.
    pub reissue: bool,
    /// Whether answers include the masked name.
    pub print: bool,
}

impl From<v1::ImportOptions> for ImportOptions {
    fn from(options: v1::ImportOptions) -> Self {
        Self {
            kind: options.kind,
            channel: given(options.channel),
            reissue: options.reissue,
            print: options.print,
        }
    }
}

/// A resident of an import.
#[derive(Clone, PartialEq, Eq)]
pub struct ImportedResident {
    /// The person's ID number, unchecked. Personal.
    pub id_number: String,
    /// The person's name. Personal.
    pub name: PersonName,
    /// What the channel attests.
    pub attestation: Attestation,
}

impl TryFrom<v1::ImportRow> for ImportedResident {
    type Error = InvalidRequest;

    fn try_from(row: v1::ImportRow) -> Result<Self, InvalidRequest> {
        Ok(Self {
            id_number: row.id_number,
            name: name(&row.name)?,
            attestation: row.attestation.into(),
        })
    }
}
