//! The stable problem codes with their exit codes, HTTP statuses and gRPC statuses.

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, exit $exit:literal, http $http:literal, grpc $grpc:ident, $title:literal, $advice:expr;)+) => {
        /// A stable problem code. Its text, exit code and statuses are part of the public API.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Code {
            $($(#[$doc])* #[serde(rename = $text)] $variant,)+
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The code as written in JSON and on standard error.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// The exit code of a client command that fails with it.
            #[must_use]
            pub const fn exit_code(self) -> u8 {
                match self { $(Self::$variant => $exit,)+ }
            }

            /// Its HTTP status.
            #[must_use]
            pub const fn http_status(self) -> u16 {
                match self { $(Self::$variant => $http,)+ }
            }

            /// Its gRPC status.
            #[must_use]
            pub const fn grpc_code(self) -> tonic::Code {
                match self { $(Self::$variant => tonic::Code::$grpc,)+ }
            }

            /// The kind of problem in a few words.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)+ }
            }

            /// The remedy, if it does not depend on the call.
            #[must_use]
            pub const fn advice(self) -> Option<&'static str> {
                match self { $(Self::$variant => $advice,)+ }
            }
        }
    };
}

codes! {
    /// The policy does not allow this kind of code for this person.
    NotEligible = "not_eligible", exit 3, http 409, grpc FailedPrecondition, "Not eligible",
        Some("Attest what makes the person eligible, at a channel that may, or choose another kind.");
    /// The policy does not allow this act for this kind through this channel.
    ChannelNotAllowed = "channel_not_allowed", exit 3, http 403, grpc PermissionDenied, "This channel may not do that",
        Some("Use a channel that the policy names for this act.");
    /// No relationship between guardian and dependent is recorded.
    RelationshipUnknown = "relationship_unknown", exit 3, http 409, grpc FailedPrecondition, "The relationship is not recorded",
        Some("Record it first: citycode relate --guardian N --dependent N.");
    /// The guardian holds no valid family code for the relative.
    FamilyCodeRequired = "family_code_required", exit 3, http 409, grpc FailedPrecondition, "A valid family code is needed",
        Some("Issue a family code for this relative first.");
    /// An officer put a hold on the code.
    OnHold = "on_hold", exit 3, http 409, grpc FailedPrecondition, "The code is on hold",
        Some("An officer has to reinstate it.");
    /// The ID number does not conform to GB 11643.
    InvalidIdNumber = "invalid_id_number", exit 3, http 422, grpc InvalidArgument, "Not a valid ID number",
        Some("Check the 18 characters against the card.");
    /// The name has characters that are not allowed, or too many.
    InvalidName = "invalid_name", exit 3, http 422, grpc InvalidArgument, "Not a valid name",
        Some("Use letters, marks, spaces, hyphens, apostrophes and middle dots, at most 64.");
    /// The policy has no such kind.
    UnknownKind = "unknown_kind", exit 3, http 422, grpc InvalidArgument, "Unknown kind of code",
        None;
    /// The policy has no such place.
    UnknownPlace = "unknown_place", exit 3, http 422, grpc InvalidArgument, "Unknown place",
        None;
    /// The command id was used before for another request.
    IdempotencyKeyReused = "idempotency_key_reused", exit 3, http 422, grpc FailedPrecondition, "The command id was used for another request",
        Some("Send a fresh command id with each new request; repeat one only with the very same request.");
    /// The person is not registered.
    NotRegistered = "not_registered", exit 4, http 404, grpc NotFound, "Not registered",
        Some("Register the person first.");
    /// The person has no valid code of this kind.
    NoValidCode = "no_valid_code", exit 4, http 404, grpc NotFound, "No valid code",
        Some("Issue one first.");
    /// A dependency cannot be reached or is not ready; nothing is known to have been done.
    Unavailable = "unavailable", exit 5, http 503, grpc Unavailable, "Unavailable",
        Some("Try again with the same command id.");
    /// The caller is not authenticated or lacks the right.
    NotAllowed = "not_allowed", exit 6, http 403, grpc PermissionDenied, "Not allowed",
        None;
    /// A rate limit was exceeded.
    RateLimited = "rate_limited", exit 6, http 429, grpc ResourceExhausted, "Too many calls",
        Some("Wait, then try again.");
    /// The request cannot be understood.
    InvalidRequest = "invalid_request", exit 2, http 400, grpc InvalidArgument, "Invalid request",
        None;
    /// A verification for a time in the past that cannot be answered: before the log, or of an ID card.
    PastNotSupported = "past_not_supported", exit 2, http 422, grpc InvalidArgument, "The past cannot be asked about",
        Some("Ask about a code alone, for a time since the log began.");
    /// There is nothing for this time (draft-ietf-oauth-status-list §8.4).
    TimeNotAvailable = "time_not_available", exit 2, http 406, grpc OutOfRange, "Not available for this time",
        None;
    /// This deployment does not answer such questions.
    NotImplemented = "not_implemented", exit 1, http 501, grpc Unimplemented, "Not available here",
        None;
    /// The request is larger than allowed.
    TooLarge = "too_large", exit 1, http 413, grpc OutOfRange, "Too large",
        None;
    /// The image cannot be read, or contains no code or several.
    UnreadableImage = "unreadable_image", exit 1, http 422, grpc InvalidArgument, "The image cannot be read",
        Some("Send a PNG or JPEG that shows one QR code.");
    /// The requested item does not exist.
    NotFound = "not_found", exit 4, http 404, grpc NotFound, "Not found",
        None;
    /// No scan is recorded under this id.
    NoRecord = "no_record", exit 4, http 404, grpc NotFound, "No such scan is recorded",
        Some("Check the device and the scan id, and try again a second after the scan; a scan that was dropped, or asked \
              about another time, has no record.");
    /// The records of that time were destroyed when their retention ended.
    Retention = "retention", exit 4, http 404, grpc NotFound, "The records of that day are destroyed",
        None;
    /// An internal error.
    Internal = "internal", exit 1, http 500, grpc Internal, "Internal error",
        None;
}

impl Code {
    /// The code of this text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == text)
    }
}
