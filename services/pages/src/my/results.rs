//! What the last forms of a session did. Each form ends in a redirection to a page of its own, so going back or reloading
//! sends nothing again. What that page says is sealed in a cookie that only the same session opens.

use axum::http::request::Parts;
use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

use crate::lang::cookie;
use crate::session::Session;
use crate::site::Site;

const COOKIE_NAME: &str = "citycode-results";
/// Results that are kept: those of the pages that somebody goes back to.
const MOST: usize = 4;
/// Longest content in bytes of more than one result. Beside the largest session and the most kept codes it leaves the
/// header `Cookie` below the 8 KiB that ingresses accept in one line.
const MAX_BYTES: usize = 1_200;

/// The results of a session, the newest at the end.
pub(super) struct Results(Vec<Kept>);

#[derive(Serialize, Deserialize)]
struct Kept {
    /// The command id of the form.
    id: Uuid,
    content: Value,
}

impl Results {
    /// Those of the request; none if they are another session's.
    pub(super) fn of(site: &Site, parts: &Parts, session: &Session) -> Self {
        let opened = cookie(parts, COOKIE_NAME).and_then(|sealed| site.seal.open(&purpose(session), sealed));
        let kept = opened.and_then(|text| serde_json::from_slice(&text).ok());
        Self(kept.unwrap_or_default())
    }

    /// The result of a form.
    pub(super) fn find<T: DeserializeOwned>(&self, id: Uuid) -> Option<T> {
        let kept = self.0.iter().find(|kept| kept.id == id)?;
        serde_json::from_value(kept.content.clone()).ok()
    }

    /// Keeps the result of a form; a form that is sent again replaces its result.
    pub(super) fn keep<T: Serialize>(&mut self, id: Uuid, content: &T) {
        self.0.retain(|kept| kept.id != id);
        let content = serde_json::to_value(content).unwrap_or_default();
        self.0.push(Kept { id, content });
        let surplus = self.0.len().saturating_sub(MOST);
        self.0.drain(..surplus);
        while self.0.len() > 1 && self.text().len() > MAX_BYTES {
            self.0.remove(0);
        }
    }

    /// The `Set-Cookie` header that keeps them until the browser is closed.
    pub(super) fn set_cookie(&self, site: &Site, session: &Session) -> String {
        let sealed = site.seal.seal(&purpose(session), &self.text(), &*site.entropy);
        format!(
            "{COOKIE_NAME}={sealed}; Path=/my; SameSite=Strict; HttpOnly{}",
            site.secure_attribute()
        )
    }

    fn text(&self) -> Vec<u8> {
        serde_json::to_vec(&self.0).unwrap_or_default()
    }
}

fn purpose(session: &Session) -> String {
    format!("{COOKIE_NAME} {}", session.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::my::codes_kept::{KeptCode, MOST as MOST_CODES};
    use crate::my::family::MOST_RELATIVES;
    use crate::session::{Area, Relative, Resident, Who};

    /// The token of a live or family code whose policy has a base URI of 28 characters, as paper needs it.
    const LONGEST_TOKEN: usize = 340;
    /// Names of the cookies, what separates them, and the cookie of language and view.
    const AROUND: usize = 200;

    #[test]
    fn the_cookies_of_a_resident_fit_into_a_header_of_eight_kibibytes() {
        let (id_number, name) = ("1".repeat(18), "张".repeat(64));
        let relative = Relative {
            id_number: id_number.clone(),
            name: name.clone(),
        };
        let session = Session {
            id: "0".repeat(32),
            area: Area::My,
            started_at: 4_000_000_000,
            expires_at: 4_000_000_000,
            who: Who::Resident(Resident {
                id_number,
                name,
                shared_computer: false,
                relatives: vec![relative; MOST_RELATIVES],
            }),
        };
        let code = KeptCode {
            code_id: "0".repeat(16),
            token: "T".repeat(LONGEST_TOKEN),
        };
        let session = serde_json::to_vec(&session).expect("JSON").len();
        let codes = serde_json::to_vec(&vec![code; MOST_CODES]).expect("JSON").len();
        // A sealed text has a nonce of 12 bytes and a tag of 16.
        let sealed = [session, codes, MAX_BYTES].map(|length| data_encoding::BASE64URL_NOPAD.encode_len(length + 28));
        assert!(sealed.iter().all(|length| *length <= 4_096), "{sealed:?}");
        assert!(sealed.iter().sum::<usize>() + AROUND <= 8_192, "{sealed:?}");
    }

    #[test]
    fn the_newest_results_are_kept_within_the_size_of_a_cookie() {
        let mut results = Results(Vec::new());
        let id = |number: u128| Uuid::from_u128(number);
        for number in 1..=6 {
            results.keep(id(number), &number.to_string());
        }
        let found: Vec<bool> = (1..=6)
            .map(|number| results.find::<String>(id(number)).is_some())
            .collect();
        assert_eq!(found, [false, false, true, true, true, true]);
        results.keep(id(4), &"again");
        assert_eq!(results.find::<String>(id(4)).as_deref(), Some("again"));
        results.keep(id(7), &"x".repeat(MAX_BYTES));
        assert_eq!(results.0.len(), 1, "the newest is kept whatever its size");
    }
}
