//! Codes and standings in responses.

use citycode_domain::event::CodeIssued;
use citycode_domain::ids::StatusRef;
use citycode_domain::standing::Standing;
use citycode_domain::status::{Death, Life};

use crate::proto::issuer::v1;
use crate::proto::model::v1 as model;

/// A code as returned to its holder, from the event that issued it.
///
/// `token` is the text inside the QR code, unsealed or just signed. The status list is named by its URI, which
/// starts with `status_base_uri`. `masked_name` is set only if a print was requested.
#[must_use]
pub fn issued_code(
    event: &CodeIssued,
    kind: &str,
    token: String,
    status_base_uri: &str,
    masked_name: Option<String>,
) -> v1::IssuedCode {
    v1::IssuedCode {
        code_id: event.code.code_id.to_string(),
        kind: kind.to_owned(),
        token,
        issued_at: event.issued_at.0,
        expires_at: event.expires_at.0,
        supersedes: event.supersedes.map(|dead| dead.code_id.to_string()),
        status: Some(status_place(event.code.status, status_base_uri)),
        masked_name,
    }
}

/// An index of a status list as responses refer to it.
fn status_place(StatusRef { list, index }: StatusRef, base_uri: &str) -> v1::StatusPlace {
    v1::StatusPlace {
        list: format!("{base_uri}{list}"),
        index,
    }
}

/// The state of a code as reported to its holder. The reason why a code ended before its expiry takes
/// precedence over the expiry.
#[must_use]
pub const fn code_life(life: Life, expired: bool) -> v1::CodeLife {
    match life {
        Life::Dead(Death::Superseded) => v1::CodeLife::Superseded,
        Life::Dead(Death::ReportedLost) => v1::CodeLife::ReportedLost,
        Life::Dead(Death::Revoked) => v1::CodeLife::Revoked,
        Life::Valid | Life::Suspended if expired => v1::CodeLife::Expired,
        Life::Suspended => v1::CodeLife::Suspended,
        Life::Valid => v1::CodeLife::Valid,
    }
}

/// The name in JSON; `None` for a value that is never sent.
#[must_use]
pub const fn code_life_name(life: v1::CodeLife) -> Option<&'static str> {
    match life {
        v1::CodeLife::Unspecified => None,
        v1::CodeLife::Valid => Some("valid"),
        v1::CodeLife::Suspended => Some("suspended"),
        v1::CodeLife::Expired => Some("expired"),
        v1::CodeLife::Superseded => Some("superseded"),
        v1::CodeLife::ReportedLost => Some("reported_lost"),
        v1::CodeLife::Revoked => Some("revoked"),
    }
}

/// The name in JSON of the result for an imported row; `None` for a value that is never sent.
#[must_use]
pub const fn import_outcome_name(outcome: v1::ImportOutcome) -> Option<&'static str> {
    match outcome {
        v1::ImportOutcome::Unspecified => None,
        v1::ImportOutcome::Issued => Some("issued"),
        v1::ImportOutcome::Kept => Some("kept"),
        v1::ImportOutcome::Rejected => Some("rejected"),
    }
}

/// A standing in the form that is sent.
#[must_use]
pub const fn standing_value(standing: Standing) -> model::Standing {
    match standing {
        Standing::Green => model::Standing::Green,
        Standing::Yellow => model::Standing::Yellow,
        Standing::Red => model::Standing::Red,
    }
}

/// A standing as received; `None` if it is unspecified or unknown.
#[must_use]
pub fn standing(value: i32) -> Option<Standing> {
    match model::Standing::try_from(value).ok()? {
        model::Standing::Unspecified => None,
        model::Standing::Green => Some(Standing::Green),
        model::Standing::Yellow => Some(Standing::Yellow),
        model::Standing::Red => Some(Standing::Red),
    }
}
