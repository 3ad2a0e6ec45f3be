//! `Debug` of the messages that contain personal data, a token or an assertion: it shows only the name of the
//! type. The build script prevents the generator from deriving `Debug` for exactly these.

use core::fmt;

use crate::proto::{audit, issuer, model, revocation, verifier};

macro_rules! redacted {
    ($($message:path),+ $(,)?) => {
        $(impl fmt::Debug for $message {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let path = stringify!($message);
                let name = path.rsplit("::").next().unwrap_or(path).trim();
                f.debug_struct(name).finish_non_exhaustive()
            }
        })+
    };
}

redacted!(
    model::v1::Authentication,
    issuer::v1::RegisterRequest,
    issuer::v1::RelateRequest,
    issuer::v1::UnrelateRequest,
    issuer::v1::IssueRequest,
    issuer::v1::IssuedCode,
    issuer::v1::ReprintRequest,
    issuer::v1::ListCodesRequest,
    issuer::v1::ListCodesResponse,
    issuer::v1::ListQueriesAboutRequest,
    issuer::v1::EraseRequest,
    issuer::v1::RenameRequest,
    issuer::v1::ImportRow,
    revocation::v1::ReportLossRequest,
    revocation::v1::RevokeRequest,
    revocation::v1::RevokeCodeRequest,
    revocation::v1::SuspendRequest,
    revocation::v1::ReinstateRequest,
    revocation::v1::SetStandingRequest,
    verifier::v1::VerifyRequest,
    verifier::v1::verify_request::Scan,
    audit::v1::HolderKind,
    audit::v1::ShownCode,
);
