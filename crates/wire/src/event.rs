//! An event of the domain ↔ (type name, version, bytes) of the log.
//!
//! A type is written in one version where its event has all that the newest version records. `IndexBlockLeased` is at
//! version 2, and at version 1 for lists whose name says what they hold; reading version 1 adds what the name says.
//!
//! Decoding is strict: an id of another length, an enum value that is not there, a number out of range, a field
//! that this version does not know or that stands twice, all refuse: [`decode`] takes exactly the bytes that
//! [`encode`] gives. Protobuf would let the last two pass; the log must not, since a fold that overlooks part of
//! an event answers differently from one that does not. New fields therefore come with a new version, and the
//! log's manifest says which reader may open it.
//!
//! What this module does not judge is whether an event makes sense where it stands; that is the fold's to say.

mod field;
mod from_domain;
mod to_domain;

use bytes::Bytes;
use citycode_domain::event::Event;
use prost::Message;

use crate::proto::events::{v1, v2};
use to_domain::{FromPayload, Sealing};

/// The version of every type but those below.
const VERSION: u16 = 1;
/// The version of what came with reader version 2: written only to logs that demand it.
const VERSION_2: u16 = 2;

/// Why bytes of the log are no event. Any of them stops a reader: it must not go on past what it cannot read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeEventError {
    /// No event type of this name; perhaps written by a newer release.
    #[error("unknown event type {type_name:?}")]
    UnknownType {
        /// The name as it stands in the log.
        type_name: String,
    },
    /// The type is known, the version is not; perhaps written by a newer release.
    #[error("unknown version {version} of event {type_name}")]
    UnknownVersion {
        /// The type.
        type_name: &'static str,
        /// The version as it stands in the log.
        version: u16,
    },
    /// The bytes are no protobuf message of this type.
    #[error("event {type_name} is not readable")]
    Unreadable {
        /// The type.
        type_name: &'static str,
        /// What the protobuf reader found.
        source: prost::DecodeError,
    },
    /// Not the very bytes that this version is written as: a field that it does not know, one that stands twice,
    /// one out of order or in a longer form than needed.
    #[error("event {type_name} holds parts that version {version} does not have")]
    UnknownParts {
        /// The type.
        type_name: &'static str,
        /// The version.
        version: u16,
    },
    /// A field is missing, of a wrong length, or out of its range.
    #[error("event {type_name}: field {field} is missing or out of range")]
    Malformed {
        /// The type.
        type_name: &'static str,
        /// The field, with the message around it where there is one, e.g. `supersedes.kind`.
        field: String,
    },
}

/// What the log records of an event: type name, version, payload.
#[must_use]
pub fn encode(event: &Event) -> (&'static str, u16, Vec<u8>) {
    let version = match event {
        Event::IndexBlockLeased(event) if event.counter.is_some() => VERSION_2,
        Event::HolderRenamed(_)
        | Event::IndexRangeRevoked(_)
        | Event::ListNamesAdvanced(_)
        | Event::ForeignMessageDeclared(_) => VERSION_2,
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
        Event::SigningKeyAdded(event) => v1::SigningKeyAdded::from(event).encode_to_vec(),
        Event::SigningKeyRetired(event) => v1::SigningKeyRetired::from(event).encode_to_vec(),
        Event::SigningKeyCompromised(event) => v1::SigningKeyCompromised::from(event).encode_to_vec(),
    };
    (event.type_name(), version, payload)
}

/// The event that the log recorded.
///
/// # Errors
/// [`DecodeEventError`]; never panics, whatever the bytes.
pub fn decode(type_name: &str, version: u16, payload: &Bytes) -> Result<Event, DecodeEventError> {
    decode_sealing(type_name, version, payload, Sealing::Keep)
}

/// The event that the log recorded, with every sealed field left empty: what a projection folds, which has no
/// key to unseal anything. Refuses exactly what [`decode`] refuses.
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
        "SigningKeyAdded" => raw.read::<v1::SigningKeyAdded>("SigningKeyAdded"),
        "SigningKeyRetired" => raw.read::<v1::SigningKeyRetired>("SigningKeyRetired"),
        "SigningKeyCompromised" => raw.read::<v1::SigningKeyCompromised>("SigningKeyCompromised"),
        unknown => Err(DecodeEventError::UnknownType {
            type_name: unknown.to_owned(),
        }),
    }
}

/// One event as the log holds it, its type already found.
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
        // What the message says, written anew, is what was read only if nothing was dropped: a field unknown here,
        // repeated or overwritten, a number cut to its width. It costs a tenth of a microsecond.
        let mut anew = Vec::with_capacity(self.payload.len());
        let fits = message.encoded_len() == self.payload.len();
        if !fits || message.encode(&mut anew).is_err() || anew != *self.payload {
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
