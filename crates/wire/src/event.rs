//! Converts between domain events and the (type name, version, bytes) of the log.
//!
//! Each type is written in one version, except `IndexBlockLeased`: version 2, or version 1 for lists whose name
//! encodes what they contain. Reading version 1 decodes the name.
//!
//! Decoding is strict. An id of another length, an unknown enum value, a number out of range, a field that this
//! version does not have and a repeated field are all refused: [`decode`] accepts exactly the bytes that
//! [`encode`] produces. Protobuf would accept the last two; the log must not, because a fold that ignores part
//! of an event yields another result than one that does not. New fields therefore need a new version, and the
//! log's manifest says which reader versions may open it.
//!
//! This module does not check whether an event is allowed at its position; the fold does.

mod field;
mod from_domain;
mod to_domain;

use bytes::Bytes;
use citycode_domain::event::Event;
use prost::Message;

use crate::proto::events::{v1, v2, v3};
use to_domain::{FromPayload, Sealing};

/// The version of every type except those below.
const VERSION: u16 = 1;
/// The version of types and fields that need reader version 2; written only to logs that require it.
const VERSION_2: u16 = 2;
/// The version of types that need reader version 3; written only to logs that require it.
const VERSION_3: u16 = 3;

/// Why bytes of the log are not an event. Each of these stops a reader: it must not skip what it cannot read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeEventError {
    /// There is no event type of this name; a newer release may have written it.
    #[error("unknown event type {type_name:?}")]
    UnknownType {
        /// The type name in the log.
        type_name: String,
    },
    /// The type is known but the version is not; a newer release may have written it.
    #[error("unknown version {version} of event {type_name}")]
    UnknownVersion {
        /// The type.
        type_name: &'static str,
        /// The version in the log.
        version: u16,
    },
    /// The bytes are not a protobuf message of this type.
    #[error("event {type_name} is not readable")]
    Unreadable {
        /// The type.
        type_name: &'static str,
        /// The error of the protobuf decoder.
        source: prost::DecodeError,
    },
    /// The bytes are not the encoding of this version: they contain an unknown field, a repeated field, a field
    /// out of order, or a longer form than needed.
    #[error("event {type_name} contains parts that version {version} does not have")]
    UnknownParts {
        /// The type.
        type_name: &'static str,
        /// The version.
        version: u16,
    },
    /// A field is missing, has a wrong length, or is out of range.
    #[error("event {type_name}: field {field} is missing or out of range")]
    Malformed {
        /// The type.
        type_name: &'static str,
        /// The field, with its enclosing message if there is one, e.g. `supersedes.kind`.
        field: String,
    },
}

/// Encodes an event for the log: type name, version, payload.
#[must_use]
pub fn encode(event: &Event) -> (&'static str, u16, Vec<u8>) {
    let version = match event {
        Event::IndexBlockLeased(event) if event.counter.is_some() => VERSION_2,
        Event::HolderRenamed(_)
        | Event::IndexRangeRevoked(_)
        | Event::ListNamesAdvanced(_)
        | Event::ForeignMessageDeclared(_) => VERSION_2,
        Event::PolicyAdopted(_) | Event::ScanBatchesSealed(_) | Event::QueriesSealed(_) => VERSION_3,
        _ => VERSION,
    };
    let payload = match event {
        Event::HolderRegistered(event) => v1::HolderRegistered::from(event).encode_to_vec(),
        Event::RelationshipRecorded(event) => v1::RelationshipRecorded::from(event).encode_to_vec(),
        Event::RelationshipEnded(event) => v1::RelationshipEnded::from(event).encode_to_vec(),
        Event::CodeIssued(event) => v1::CodeIssued::from(event).encode_to_vec(),
        Event::CodeReportedLost(event) => v1::CodeReportedLost::from(event).encode_to_vec(),
        Event::CodeRevoked(event) => v1::CodeRevoked::from(event).encode_to_vec(),
        Event::CodeSuspended(event) => v1::CodeSuspended::from(event).encode_to_vec(),
        Event::CodeReinstated(event) => v1::CodeReinstated::from(event).encode_to_vec(),
        Event::StandingChanged(event) => v1::StandingChanged::from(event).encode_to_vec(),
        Event::HolderRenamed(event) => v2::HolderRenamed::from(event).encode_to_vec(),
        Event::HolderErased(event) => v1::HolderErased::from(event).encode_to_vec(),
        Event::IndexBlockLeased(event) => match event.counter {
            Some(counter) => from_domain::lease_of_version_2(event, counter).encode_to_vec(),
            None => v1::IndexBlockLeased::from(event).encode_to_vec(),
        },
        Event::IndexRangeRevoked(event) => v2::IndexRangeRevoked::from(event).encode_to_vec(),
        Event::ListNamesAdvanced(event) => v2::ListNamesAdvanced::from(event).encode_to_vec(),
        Event::ForeignMessageDeclared(event) => v2::ForeignMessageDeclared::from(event).encode_to_vec(),
        Event::PolicyAdopted(event) => v3::PolicyAdopted::from(event).encode_to_vec(),
        Event::ScanBatchesSealed(event) => v3::ScanBatchesSealed::from(event).encode_to_vec(),
        Event::QueriesSealed(event) => v3::QueriesSealed::from(event).encode_to_vec(),
        Event::SigningKeyAdded(event) => v1::SigningKeyAdded::from(event).encode_to_vec(),
        Event::SigningKeyRetired(event) => v1::SigningKeyRetired::from(event).encode_to_vec(),
        Event::SigningKeyCompromised(event) => v1::SigningKeyCompromised::from(event).encode_to_vec(),
    };
    (event.type_name(), version, payload)
}

/// Decodes an event of the log.
///
/// # Errors
/// [`DecodeEventError`]; never panics, whatever the bytes.
pub fn decode(type_name: &str, version: u16, payload: &Bytes) -> Result<Event, DecodeEventError> {
    decode_sealing(type_name, version, payload, Sealing::Keep)
}

/// Decodes an event of the log, leaving every sealed field empty. Projections use this, because they have no
/// key to unseal anything. It refuses exactly what [`decode`] refuses.
///
/// # Errors
/// [`DecodeEventError`]; never panics, whatever the bytes.
pub fn decode_for_projection(type_name: &str, version: u16, payload: &Bytes) -> Result<Event, DecodeEventError> {
    decode_sealing(type_name, version, payload, Sealing::Skip)
}

fn decode_sealing(type_name: &str, version: u16, payload: &Bytes, sealing: Sealing) -> Result<Event, DecodeEventError> {
    let raw = Raw {
        version,
        payload,
        sealing,
    };
    match type_name {
        "CodeIssued" => raw.read::<v1::CodeIssued>("CodeIssued"),
        "HolderRegistered" => raw.read::<v1::HolderRegistered>("HolderRegistered"),
        "RelationshipRecorded" => raw.read::<v1::RelationshipRecorded>("RelationshipRecorded"),
        "RelationshipEnded" => raw.read::<v1::RelationshipEnded>("RelationshipEnded"),
        "CodeReportedLost" => raw.read::<v1::CodeReportedLost>("CodeReportedLost"),
        "CodeRevoked" => raw.read::<v1::CodeRevoked>("CodeRevoked"),
        "CodeSuspended" => raw.read::<v1::CodeSuspended>("CodeSuspended"),
        "CodeReinstated" => raw.read::<v1::CodeReinstated>("CodeReinstated"),
        "StandingChanged" => raw.read::<v1::StandingChanged>("StandingChanged"),
        "HolderRenamed" => raw.read_at::<v2::HolderRenamed>("HolderRenamed", VERSION_2),
        "HolderErased" => raw.read::<v1::HolderErased>("HolderErased"),
        "IndexBlockLeased" if version == VERSION_2 => {
            raw.read_at::<v2::IndexBlockLeased>("IndexBlockLeased", VERSION_2)
        }
        "IndexBlockLeased" => raw.read::<v1::IndexBlockLeased>("IndexBlockLeased"),
        "IndexRangeRevoked" => raw.read_at::<v2::IndexRangeRevoked>("IndexRangeRevoked", VERSION_2),
        "ListNamesAdvanced" => raw.read_at::<v2::ListNamesAdvanced>("ListNamesAdvanced", VERSION_2),
        "ForeignMessageDeclared" => raw.read_at::<v2::ForeignMessageDeclared>("ForeignMessageDeclared", VERSION_2),
        "PolicyAdopted" => raw.read_at::<v3::PolicyAdopted>("PolicyAdopted", VERSION_3),
        "ScanBatchesSealed" => raw.read_at::<v3::ScanBatchesSealed>("ScanBatchesSealed", VERSION_3),
        "QueriesSealed" => raw.read_at::<v3::QueriesSealed>("QueriesSealed", VERSION_3),
        "SigningKeyAdded" => raw.read::<v1::SigningKeyAdded>("SigningKeyAdded"),
        "SigningKeyRetired" => raw.read::<v1::SigningKeyRetired>("SigningKeyRetired"),
        "SigningKeyCompromised" => raw.read::<v1::SigningKeyCompromised>("SigningKeyCompromised"),
        unknown => Err(DecodeEventError::UnknownType {
            type_name: unknown.to_owned(),
        }),
    }
}

/// One encoded event of the log whose type is known.
struct Raw<'a> {
    version: u16,
    payload: &'a Bytes,
    sealing: Sealing,
}

impl Raw<'_> {
    fn read<M: FromPayload>(&self, type_name: &'static str) -> Result<Event, DecodeEventError> {
        self.read_at::<M>(type_name, VERSION)
    }

    fn read_at<M: FromPayload>(&self, type_name: &'static str, version: u16) -> Result<Event, DecodeEventError> {
        if self.version != version {
            return Err(DecodeEventError::UnknownVersion {
                type_name,
                version: self.version,
            });
        }
        // The ids are slices of the payload, instead of one allocation each.
        let message =
            M::decode(self.payload.clone()).map_err(|source| DecodeEventError::Unreadable { type_name, source })?;
        // Encoding the message again yields the same bytes only if the decoder dropped nothing: an unknown,
        // repeated or overwritten field, or a truncated number. This costs a tenth of a microsecond.
        let mut reencoded = Vec::with_capacity(self.payload.len());
        let fits = message.encoded_len() == self.payload.len();
        if !fits || message.encode(&mut reencoded).is_err() || reencoded != *self.payload {
            return Err(DecodeEventError::UnknownParts {
                type_name,
                version: self.version,
            });
        }
        message
            .into_event(self.sealing)
            .map_err(|bad| DecodeEventError::Malformed {
                type_name,
                field: bad.path(),
            })
    }
}
