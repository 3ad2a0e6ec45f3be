//! Access tokens that the portals of a city sign for the calls of their web pages.
//!
//! All portals have one key, so a repeated command is the same caller's at any of them. Services accept under this key
//! only what pages need: one role of the configured ones, a subject that the pages named, a few minutes.

use super::caller::Role;

/// The `iss` of these tokens, which stays the same when the key is replaced.
pub const PAGE_ISSUER: &str = "urn:citycode:pages";
/// Longest lifetime of these tokens in seconds.
pub const PAGE_TOKEN_SECONDS: i64 = 300;
/// How their subjects begin.
pub const PAGE_SUBJECT: &str = "pages-";

/// Every kind of role that pages may need, as in the claim `roles` without names.
const WORDS: [&str; 7] = [
    "channel",
    "verifier",
    "officer",
    "health_authority",
    "auditor",
    "privacy",
    "admin",
];

/// The kinds of roles that tokens of pages may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRoles([bool; WORDS.len()]);

impl PageRoles {
    /// All of them.
    #[must_use]
    pub fn all() -> Self {
        Self([true; WORDS.len()])
    }

    /// The kinds with these words.
    ///
    /// # Errors
    /// A word that is none of them.
    pub fn parse(words: &[String]) -> Result<Self, String> {
        let mut allowed = [false; WORDS.len()];
        for word in words {
            let at = WORDS.iter().position(|known| known == word);
            let at = at.ok_or_else(|| format!("{word:?} is none of {}", WORDS.join(", ")))?;
            allowed[at] = true;
        }
        Ok(Self(allowed))
    }

    fn allow(self, role: &Role) -> bool {
        let at = match role {
            Role::Channel(_) => 0,
            Role::Verifier { .. } => 1,
            Role::Officer => 2,
            Role::HealthAuthority => 3,
            Role::Auditor => 4,
            Role::Privacy => 5,
            Role::Admin => 6,
        };
        self.0[at]
    }

    /// Whether a token with these claims is one of pages.
    pub(crate) fn accept(self, subject: &str, roles: &[Role], card_reader: bool) -> bool {
        let [role] = roles else { return false };
        let reads_cards = matches!(role, Role::Verifier { .. });
        subject.starts_with(PAGE_SUBJECT) && self.allow(role) && (reads_cards || !card_reader)
    }
}

#[cfg(test)]
mod tests {
    use citycode_service_kit::clock::UnixSeconds;
    use citycode_service_kit::peer::PeerKind;

    use super::*;
    use crate::{AUDIENCE, AccessTokens, AuthError, Grant, LocalAuthority, TrustedKeys};

    const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

    fn roles(words: &[&str]) -> Result<PageRoles, String> {
        PageRoles::parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn only_the_configured_kinds_of_roles_are_accepted_one_at_a_time() {
        let gate = Role::parse("verifier:sentinel:gate-1").unwrap().unwrap();
        let all = [
            Role::Channel("app".into()),
            gate.clone(),
            Role::Officer,
            Role::HealthAuthority,
            Role::Auditor,
            Role::Privacy,
            Role::Admin,
        ];
        for (at, role) in all.iter().enumerate() {
            let own = std::slice::from_ref(role);
            assert!(PageRoles::all().accept("pages-1", own, false), "{role}");
            assert!(!PageRoles::all().accept("operator", own, false), "{role}");
            for (other, word) in WORDS.iter().enumerate() {
                let only = roles(&[word]).unwrap();
                assert_eq!(only.accept("pages-1", own, false), at == other, "{role} with {word}");
            }
            assert_eq!(PageRoles::all().accept("pages-1", own, true), *role == gate, "{role}");
        }
        assert!(!PageRoles::all().accept("pages-1", &all[..2], false));
        assert!(!PageRoles::all().accept("pages-1", &[], false));
        assert!(roles(&["officer", "superadmin"]).is_err());
    }

    #[test]
    fn services_accept_of_a_portals_key_only_what_pages_may_claim() {
        let portals = LocalAuthority::of_pages(&[5; 32]);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("page-tokens.jwks.json");
        std::fs::write(&path, portals.jwks()).unwrap();
        let trusted = TrustedKeys::new().with_page_tokens(&path, roles(&["channel", "verifier"]).unwrap());
        let tokens = AccessTokens::new(AUDIENCE, trusted.unwrap());
        let judged = |roles: &[Role], subject: &str, card_reader: bool, lifetime_seconds: i64| {
            let grant = Grant {
                subject,
                roles,
                card_reader,
                local_only: false,
                lifetime_seconds,
            };
            let token = portals.mint(&grant, AUDIENCE, NOW).unwrap();
            tokens.verify(&token, PeerKind::Remote, NOW)
        };
        let app = [Role::Channel("app".into())];
        let caller = judged(&app, "pages-1", false, PAGE_TOKEN_SECONDS).unwrap();
        assert_eq!(caller.id.as_str(), "urn:citycode:pages pages-1");
        assert!(caller.may_channel("app") && !caller.local_admin);
        let gate = [Role::parse("verifier:sentinel:gate-1").unwrap().unwrap()];
        assert!(judged(&gate, "pages-2", true, 60).unwrap().may_read_cards());
        let refused = Err(AuthError::NotForPages);
        assert_eq!(judged(&[Role::Admin], "pages-1", false, 60), refused);
        assert_eq!(
            judged(&[app[0].clone(), gate[0].clone()], "pages-1", false, 60),
            refused
        );
        assert_eq!(judged(&app, "pages-1", true, 60), refused);
        assert_eq!(judged(&app, "operator", false, 60), refused);
        let long = judged(&app, "pages-1", false, PAGE_TOKEN_SECONDS + 1);
        assert_eq!(long, Err(AuthError::LivesTooLong));
    }
}
