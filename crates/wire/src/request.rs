//! Parses the parts of requests for which the domain has types; [`crate::limits`] bounds the others.
//!
//! ID numbers stay texts here, because the domain checks them and needs the local date for that. Names of kinds,
//! places, channels and groups stay texts as well, because only a policy defines them.

mod audit;
mod issuer;
mod loss;
mod officer;
mod person;
mod queries;
mod scan;

pub use audit::{HistoryQuery, MIN_PURPOSE_CHARS, Past, PastCodesQuery, Period, Question, Until, purpose};
pub use issuer::{
    CompromiseKeyCommand, EraseCommand, ImportOptions, ImportedResident, IssueCommand, ListCodesQuery, RegisterCommand,
    RelateCommand, RenameCommand, ReprintCommand, RotateKeysCommand, UnrelateCommand,
};
pub use loss::ReportLossCommand;
pub use officer::{OfficerAct, RevokeCodeAct, StandingAct};
pub use person::{Attestation, Authentication};
pub use queries::{ListQueriesAboutQuery, ListQueriesQuery, MAX_QUERIES};
pub use scan::{ScanRequest, Shown};

use citycode_domain::ids::{CodeId, CommandId, KeyId, ListId};
use citycode_domain::name::InvalidName;
use citycode_domain::reason::{ActReason, InvalidReason};

use crate::limits::{DEVICE, Limit, METHOD};
use crate::proto::audit::v1 as audit_proto;

/// Longest text of a code or presentation in bytes: the largest QR symbol holds 4,296 characters.
pub const MAX_CODE_BYTES: usize = 4_296;

/// Why a request is refused. It contains nothing of the field's value, except a character that no name may contain.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{field}: {fault}")]
pub struct InvalidRequest {
    /// The field, by its name in the protobuf file; a field of a nested message by its path.
    pub field: &'static str,
    /// What is wrong with it.
    pub fault: FieldFault,
}

/// What is wrong with a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FieldFault {
    /// Needed and empty or absent.
    #[error("is needed and was not given")]
    Missing,
    /// Not of the one length that it has.
    #[error("has exactly {bytes} bytes")]
    WrongLength {
        /// That length in bytes.
        bytes: usize,
    },
    /// Not hex digits, or not as many as there must be.
    #[error("has exactly {digits} hex digits")]
    NotHex {
        /// How many.
        digits: usize,
    },
    /// A value of an enum that is unspecified or unknown.
    #[error("is none of the values that it may have")]
    UnknownValue,
    /// No reason in the sense of the rules.
    #[error("{0}")]
    Reason(InvalidReason),
    /// Shorter or longer than allowed.
    #[error("has {min} to {max} characters")]
    Length {
        /// The fewest characters.
        min: usize,
        /// The most characters.
        max: usize,
    },
    /// A text that is recorded for auditors and seems to contain a number that belongs to a person.
    #[error("must not contain an ID number or a telephone number")]
    PersonalNumber,
    /// Only meaningful with a code, and there is none.
    #[error("is only for scans of a code")]
    WithoutCode,
    /// A period that does not end after its start.
    #[error("must be after the start of the period")]
    EmptyPeriod,
    /// No name of a person in the sense of the rules.
    #[error("{0}")]
    Name(InvalidName),
    /// No name of an authentication method.
    #[error("consists of at most {} characters a-z, 0-9, - and _", METHOD.max)]
    Method,
    /// No name of a scanning device.
    #[error("has at most {} visible ASCII characters", DEVICE.max)]
    Device,
    /// Longer than allowed.
    #[error("has {0}")]
    TooLong(Limit),
    /// No public key of a phone.
    #[error("has 32 bytes (Ed25519) or 33 (P-256, compressed)")]
    DeviceKey,
}

impl InvalidRequest {
    /// The fault of a field.
    #[must_use]
    pub const fn new(field: &'static str, fault: FieldFault) -> Self {
        Self { field, fault }
    }
}

/// Parses the command id of a change; `None` if the caller sent none, so that the server draws one.
///
/// # Errors
/// [`FieldFault::WrongLength`] if it has neither 0 nor 16 bytes.
pub fn command_id(bytes: &[u8]) -> Result<Option<CommandId>, InvalidRequest> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let wrong = FieldFault::WrongLength { bytes: CommandId::LEN };
    CommandId::from_slice(bytes)
        .map(Some)
        .ok_or(InvalidRequest::new("command_id", wrong))
}

/// Parses the reason of an officer's act.
///
/// # Errors
/// [`FieldFault::Reason`] if it is empty, too long, or contains control or invisible characters.
pub fn reason(text: &str) -> Result<ActReason, InvalidRequest> {
    ActReason::parse(text).map_err(|invalid| InvalidRequest::new("reason", FieldFault::Reason(invalid)))
}

/// Parses a code id from its 16 hex digits.
///
/// # Errors
/// [`FieldFault::NotHex`] for any other text.
pub fn code_id(field: &'static str, text: &str) -> Result<CodeId, InvalidRequest> {
    let digits = CodeId::LEN * 2;
    CodeId::from_hex(text).ok_or(InvalidRequest::new(field, FieldFault::NotHex { digits }))
}

/// Parses a key id from its 8 hex digits.
///
/// # Errors
/// [`FieldFault::NotHex`] for any other text.
pub fn key_id(field: &'static str, text: &str) -> Result<KeyId, InvalidRequest> {
    let digits = KeyId::LEN * 2;
    KeyId::from_hex(text).ok_or(InvalidRequest::new(field, FieldFault::NotHex { digits }))
}

/// A status list from its 8 hex digits.
///
/// # Errors
/// Anything else.
pub fn list_id(field: &'static str, text: &str) -> Result<ListId, InvalidRequest> {
    // As many digits as a key id, so the same reading serves; the number is big-endian.
    let digits = KeyId::LEN * 2;
    KeyId::from_hex(text)
        .map(|bytes| ListId(u32::from_be_bytes(bytes.0)))
        .ok_or(InvalidRequest::new(field, FieldFault::NotHex { digits }))
}

/// Whose history is asked for.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum HistorySubject<'a> {
    /// One code's.
    Code(CodeId),
    /// That of a holder's codes of one kind; its fields are unchecked.
    HolderKind(&'a audit_proto::HolderKind),
}

impl<'a> TryFrom<&'a audit_proto::HistoryRequest> for HistorySubject<'a> {
    type Error = InvalidRequest;

    fn try_from(request: &'a audit_proto::HistoryRequest) -> Result<Self, InvalidRequest> {
        match &request.subject {
            Some(audit_proto::history_request::Subject::CodeId(text)) => code_id("code_id", text).map(Self::Code),
            Some(audit_proto::history_request::Subject::HolderKind(holder_kind)) => Ok(Self::HolderKind(holder_kind)),
            None => Err(InvalidRequest::new("subject", FieldFault::Missing)),
        }
    }
}
