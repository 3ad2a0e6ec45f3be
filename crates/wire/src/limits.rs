//! How long the fields of requests may be.
//!
//! This is the only table of these limits: services compare with its constants, and a test compares the comments of the
//! protobuf files and docs/operations.md with it.

use core::fmt;

use citycode_domain::{name, reason};

/// What a limit counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Bytes in UTF-8.
    Bytes,
    /// Unicode scalar values.
    Characters,
}

/// The longest value of a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    /// The greatest number of units.
    pub max: usize,
    /// The unit.
    pub unit: Unit,
}

impl Limit {
    const fn bytes(max: usize) -> Self {
        Self { max, unit: Unit::Bytes }
    }

    const fn characters(max: usize) -> Self {
        Self {
            max,
            unit: Unit::Characters,
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.unit {
            Unit::Bytes => "bytes",
            Unit::Characters => "characters",
        };
        write!(f, "at most {} {unit}", self.max)
    }
}

/// A person's name.
pub const PERSON_NAME: Limit = Limit::characters(name::MAX_CHARS);
/// The reason of an officer's act.
pub const REASON: Limit = Limit::characters(reason::MAX_CHARS);
/// The name of an authentication method.
pub const METHOD: Limit = Limit::bytes(32);
/// The name of a scanning device.
pub const DEVICE: Limit = Limit::bytes(128);
/// A device's id of a scan: room for two UUIDs and the device.
pub const SCAN_ID: Limit = Limit::bytes(128);

/// Why somebody looks at a person, a code or a scan.
pub const PURPOSE: Limit = Limit::characters(200);

/// Every field of a request that has a limit of its own, as `Message.field` of the protobuf files. Names of kinds,
/// places, channels and groups have none: a policy knows them or does not.
pub const FIELDS: [(&str, Limit); 21] = [
    ("Authentication.method", METHOD),
    ("RegisterRequest.name", PERSON_NAME),
    ("RenameRequest.name", PERSON_NAME),
    ("RenameRequest.reason", REASON),
    ("RevokeCodeRequest.reason", REASON),
    ("RevokeRequest.reason", REASON),
    ("SuspendRequest.reason", REASON),
    ("ReinstateRequest.reason", REASON),
    ("SetStandingRequest.reason", REASON),
    ("VerifyRequest.device", DEVICE),
    ("VerifyRequest.scan_id", SCAN_ID),
    ("ExplainRequest.purpose", PURPOSE),
    ("RunRequest.purpose", PURPOSE),
    ("WhatIfRequest.purpose", PURPOSE),
    ("ListQueriesRequest.purpose", PURPOSE),
    ("ListQueriesAboutRequest.purpose", PURPOSE),
    ("ExportRequest.purpose", PURPOSE),
    ("ProveEventRequest.purpose", PURPOSE),
    ("HistoryRequest.purpose", PURPOSE),
    ("CodesRequest.purpose", PURPOSE),
    ("StateRequest.purpose", PURPOSE),
];
