//! The tokens of live and family codes, which the browser keeps sealed: no channel gives such a code a second time, and
//! the page needs it for each proof. Only the session of the same person opens them.

use axum::http::request::Parts;
use serde::{Deserialize, Serialize};

use crate::lang::cookie;
use crate::session::Resident;
use crate::site::Site;

const COOKIE_NAME: &str = "citycode-codes";
/// Most kept codes: a cookie has at most 4,096 bytes.
pub(super) const MOST: usize = 6;
const LIFETIME_SECONDS: i64 = 365 * 86_400;

/// One kept code.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct KeptCode {
    pub(super) code_id: String,
    pub(super) token: String,
}

/// The kept codes of a person.
pub(super) struct KeptCodes(Vec<KeptCode>);

impl KeptCodes {
    /// Those of the request; none if they are another person's.
    pub(super) fn of(site: &Site, parts: &Parts, resident: &Resident) -> Self {
        let opened = cookie(parts, COOKIE_NAME).and_then(|sealed| site.seal.open(&purpose(site, resident), sealed));
        Self(
            opened
                .and_then(|text| serde_json::from_slice(&text).ok())
                .unwrap_or_default(),
        )
    }

    /// The token of a code.
    pub(super) fn token(&self, code_id: &str) -> Option<&str> {
        let kept = self.0.iter().find(|kept| kept.code_id == code_id);
        kept.map(|kept| kept.token.as_str())
    }

    /// Keeps a new code instead of the one that it superseded. The newest codes are kept.
    pub(super) fn keep(&mut self, code: KeptCode, supersedes: Option<&str>) {
        self.0
            .retain(|kept| Some(kept.code_id.as_str()) != supersedes && kept.code_id != code.code_id);
        self.0.push(code);
        let surplus = self.0.len().saturating_sub(MOST);
        self.0.drain(..surplus);
    }

    /// Forgets a code that ended.
    pub(super) fn forget(&mut self, code_id: &str) {
        self.0.retain(|kept| kept.code_id != code_id);
    }

    /// The `Set-Cookie` header that keeps them.
    pub(super) fn set_cookie(&self, site: &Site, resident: &Resident) -> String {
        let text = serde_json::to_vec(&self.0).unwrap_or_default();
        let sealed = site.seal.seal(&purpose(site, resident), &text, &*site.entropy);
        format!(
            "{COOKIE_NAME}={sealed}; Path=/my; Max-Age={LIFETIME_SECONDS}; SameSite=Strict; HttpOnly{}",
            site.secure_attribute()
        )
    }
}

fn purpose(site: &Site, resident: &Resident) -> String {
    let person = crate::session::Session::person_key(site, &resident.id_number);
    format!("{COOKIE_NAME} {}", data_encoding::HEXLOWER.encode(&person))
}
