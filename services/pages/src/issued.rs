//! A code that the next page shows or prints. It is kept only in sealed cookies.

use citycode_wire::proto::issuer::v1::IssuedCode;
use serde::{Deserialize, Serialize};

/// A code, as far as a page that shows or prints it needs it.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct IssuedAgain {
    token: String,
    code_id: String,
    kind: String,
    issued_at: i64,
    expires_at: i64,
    masked_name: Option<String>,
}

impl From<IssuedCode> for IssuedAgain {
    fn from(code: IssuedCode) -> Self {
        Self {
            token: code.token,
            code_id: code.code_id,
            kind: code.kind,
            issued_at: code.issued_at,
            expires_at: code.expires_at,
            masked_name: code.masked_name,
        }
    }
}

impl From<IssuedAgain> for IssuedCode {
    fn from(code: IssuedAgain) -> Self {
        Self {
            token: code.token,
            code_id: code.code_id,
            kind: code.kind,
            issued_at: code.issued_at,
            expires_at: code.expires_at,
            masked_name: code.masked_name,
            supersedes: None,
            status: None,
        }
    }
}
