//! The caller that a token identifies, and its roles, which determine what it may do.

use std::fmt;

use super::issued::TokenId;
use citycode_service_kit::clock::UnixSeconds;

/// Longest subject, channel, place and device name, in bytes: they are used in log lines and keys.
const MAX_NAME_BYTES: usize = 128;

/// One role of one caller. The text forms are those of the claim `roles`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Role {
    /// `channel:NAME`: registers, issues, reprints, reports lost, as that channel only.
    Channel(String),
    /// `officer`: relates, revokes, suspends, reinstates, erases, reads histories.
    Officer,
    /// `health_authority`: sets standing.
    HealthAuthority,
    /// `verifier:PLACES:DEVICE`, places separated by commas: verifies at those places, as that device.
    Verifier {
        /// The places.
        places: Vec<String>,
        /// The device.
        device: String,
    },
    /// `auditor`: reads histories, verifies at another time, audits.
    Auditor,
    /// `privacy`: reads the stream of queries, answers people's requests for access, erases.
    Privacy,
    /// `admin`: keys, import, gates and everything above.
    Admin,
}

/// A malformed role. Unknown words are not errors: an identity provider's token contains other programs' roles as well,
/// and an unknown word grants no right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a role is malformed; see channel:NAME and verifier:PLACE[,PLACE]:DEVICE")]
pub struct RoleError;

impl Role {
    /// Parses one word of the claim `roles`; `None` for an unknown word.
    ///
    /// # Errors
    /// [`RoleError`] for a known role with a missing or malformed part.
    pub fn parse(text: &str) -> Result<Option<Self>, RoleError> {
        Ok(Some(match text {
            "officer" => Self::Officer,
            "health_authority" => Self::HealthAuthority,
            "auditor" => Self::Auditor,
            "privacy" => Self::Privacy,
            "admin" => Self::Admin,
            _ => match text.split_once(':') {
                Some(("channel", name)) => Self::Channel(name_of(name)?),
                Some(("verifier", rest)) => {
                    let (places, device) = rest.split_once(':').ok_or(RoleError)?;
                    Self::Verifier {
                        places: places.split(',').map(name_of).collect::<Result<_, _>>()?,
                        device: name_of(device)?,
                    }
                }
                _ if text == "channel" || text == "verifier" => return Err(RoleError),
                _ => return Ok(None),
            },
        }))
    }
}

fn name_of(text: &str) -> Result<String, RoleError> {
    let fits = (1..=MAX_NAME_BYTES).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    if fits { Ok(text.to_owned()) } else { Err(RoleError) }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Channel(name) => write!(f, "channel:{name}"),
            Self::Officer => f.write_str("officer"),
            Self::HealthAuthority => f.write_str("health_authority"),
            Self::Verifier { places, device } => {
                write!(f, "verifier:{}:{device}", places.join(","))
            }
            Self::Auditor => f.write_str("auditor"),
            Self::Privacy => f.write_str("privacy"),
            Self::Admin => f.write_str("admin"),
        }
    }
}

/// A caller's identity: the issuer and the subject, so that equal subjects of two issuers are two callers. Command ids
/// and limits are per caller id.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallerId(String);

impl CallerId {
    /// `None` if the subject is empty, longer than 128 bytes or contains anything but visible ASCII.
    #[must_use]
    pub fn new(issuer: &str, subject: &str) -> Option<Self> {
        let fits = (1..=MAX_NAME_BYTES).contains(&subject.len()) && subject.bytes().all(|b| b.is_ascii_graphic());
        // A subject cannot contain a space, so the pair is unambiguous.
        fits.then(|| Self(format!("{issuer} {subject}")))
    }

    /// `ISSUER SUBJECT`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CallerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An authenticated caller and its rights. Only a verified token yields one (and tests, through [`Caller::new`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Its identity.
    pub id: CallerId,
    /// Its roles.
    pub roles: Vec<Role>,
    /// Whether it may ask whether an ID card itself admits.
    pub card_reader: bool,
    /// Whether it is the admin of this machine, identified by the token in the data folder.
    pub local_admin: bool,
    /// The id of its token, if this machine's persistent authority issued it and can revoke it.
    pub issued_token: Option<TokenId>,
    /// The time at which its token becomes invalid, including the leeway; streams end then. `None` only in tests.
    pub valid_until: Option<UnixSeconds>,
}

impl Caller {
    /// A caller with these roles and nothing else.
    #[must_use]
    pub fn new(id: CallerId, roles: Vec<Role>) -> Self {
        Self {
            id,
            roles,
            card_reader: false,
            local_admin: false,
            issued_token: None,
            valid_until: None,
        }
    }

    fn has(&self, wanted: impl Fn(&Role) -> bool) -> bool {
        self.roles.iter().any(|role| *role == Role::Admin || wanted(role))
    }

    /// Whether it may do everything, including keys, import and gates.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.has(|_| false)
    }

    /// Whether it may act as this channel.
    #[must_use]
    pub fn may_channel(&self, name: &str) -> bool {
        self.has(|role| matches!(role, Role::Channel(own) if own == name))
    }

    /// Whether it may act as any channel.
    #[must_use]
    pub fn is_channel(&self) -> bool {
        self.has(|role| matches!(role, Role::Channel(_)))
    }

    /// The caller's channel, if it has exactly one: the default of a request without a channel.
    #[must_use]
    pub fn only_channel(&self) -> Option<&str> {
        let mut names = self.roles.iter().filter_map(|role| match role {
            Role::Channel(name) => Some(name.as_str()),
            _ => None,
        });
        match (names.next(), names.next()) {
            (Some(name), None) => Some(name),
            _ => None,
        }
    }

    /// Whether it may verify at this place as this device.
    #[must_use]
    pub fn may_verify(&self, place: &str, device: &str) -> bool {
        self.has(|role| {
            matches!(role, Role::Verifier { places, device: own }
                if own == device && places.iter().any(|p| p == place))
        })
    }

    /// The device as which this caller verifies at `place`: the default of a request without a device. `None` for a
    /// caller that is not a verifier there, including admins.
    #[must_use]
    pub fn device_at(&self, place: &str) -> Option<&str> {
        self.roles.iter().find_map(|role| match role {
            Role::Verifier { places, device } if places.iter().any(|p| p == place) => Some(device.as_str()),
            _ => None,
        })
    }

    /// Whether it may ask whether an ID card itself admits.
    #[must_use]
    pub fn may_read_cards(&self) -> bool {
        self.card_reader || self.is_admin()
    }

    /// Whether it may relate, unrelate, revoke, suspend and reinstate.
    #[must_use]
    pub fn is_officer(&self) -> bool {
        self.has(|role| *role == Role::Officer)
    }

    /// Whether it may set standings.
    #[must_use]
    pub fn is_health_authority(&self) -> bool {
        self.has(|role| *role == Role::HealthAuthority)
    }

    /// Whether it may verify at another time and audit.
    #[must_use]
    pub fn is_auditor(&self) -> bool {
        self.has(|role| *role == Role::Auditor)
    }

    /// Whether it may read the stream of queries, and answer people's requests for access.
    #[must_use]
    pub fn is_privacy_officer(&self) -> bool {
        self.has(|role| *role == Role::Privacy)
    }

    /// Whether it may erase a person.
    #[must_use]
    pub fn may_erase(&self) -> bool {
        self.has(|role| matches!(role, Role::Officer | Role::Privacy))
    }

    /// Whether it may read the history of a code.
    #[must_use]
    pub fn may_read_history(&self) -> bool {
        self.has(|role| matches!(role, Role::Officer | Role::Auditor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(roles: &[&str]) -> Caller {
        let roles = roles.iter().map(|r| Role::parse(r).unwrap().unwrap()).collect();
        Caller::new(CallerId::new("iss", "sub").unwrap(), roles)
    }

    #[test]
    fn roles_survive_the_round_trip_through_text() {
        for text in [
            "channel:bank_kiosk",
            "officer",
            "health_authority",
            "verifier:sentinel,staffed:gate-7",
            "auditor",
            "privacy",
            "admin",
        ] {
            assert_eq!(Role::parse(text).unwrap().unwrap().to_string(), text);
        }
    }

    #[test]
    fn malformed_roles_are_refused_and_foreign_ones_grant_nothing() {
        for text in [
            "channel",
            "channel:",
            "channel:a b",
            "channel:a:b",
            "channel:核",
            "verifier",
            "verifier:",
            "verifier:sentinel",
            "verifier::gate",
            "verifier:a,,b:gate",
            "verifier:a:",
            "verifier:a:b:c",
        ] {
            assert_eq!(Role::parse(text), Err(RoleError), "{text}");
        }
        for text in [
            "",
            "Admin",
            "ADMIN",
            "admin ",
            "offline_access",
            "uma:admin",
            "superadmin",
        ] {
            assert_eq!(Role::parse(text), Ok(None), "{text}");
        }
    }

    #[test]
    fn a_channel_acts_only_as_itself() {
        let kiosk = caller(&["channel:kiosk"]);
        assert!(kiosk.may_channel("kiosk") && kiosk.is_channel());
        assert!(!kiosk.may_channel("bank_kiosk") && !kiosk.may_channel("app"));
        assert!(!kiosk.is_officer() && !kiosk.is_auditor() && !kiosk.is_admin() && !kiosk.is_health_authority());
        assert!(!kiosk.may_verify("sentinel", "kiosk") && !kiosk.may_read_cards());
        assert_eq!(kiosk.only_channel(), Some("kiosk"));
        assert_eq!(caller(&["channel:a", "channel:b"]).only_channel(), None);
    }

    #[test]
    fn a_verifier_scans_only_at_its_places_as_its_device() {
        let gate = caller(&["verifier:sentinel,staffed:gate-7", "verifier:sampling_desk:desk-1"]);
        assert!(gate.may_verify("staffed", "gate-7"));
        assert!(!gate.may_verify("staffed", "gate-8"));
        assert!(!gate.may_verify("sampling_desk", "gate-7"), "roles do not mix");
        assert_eq!(gate.device_at("sampling_desk"), Some("desk-1"));
        assert_eq!(gate.device_at("elsewhere"), None);
        assert!(!gate.may_read_cards());
    }

    #[test]
    fn admin_may_everything_and_others_only_their_own() {
        let admin = caller(&["admin"]);
        assert!(admin.may_channel("any") && admin.may_verify("any", "any") && admin.is_officer());
        assert!(admin.is_health_authority() && admin.is_auditor() && admin.may_read_cards());
        assert!(caller(&["officer"]).may_read_history() && caller(&["auditor"]).may_read_history());
        assert!(!caller(&["health_authority"]).may_read_history());
        assert!(admin.is_privacy_officer() && admin.may_erase() && caller(&["officer"]).may_erase());
        let privacy = caller(&["privacy"]);
        assert!(privacy.is_privacy_officer() && privacy.may_erase());
        assert!(!privacy.is_officer() && !privacy.is_auditor() && !privacy.may_read_history());
        assert!(!caller(&["auditor", "officer"]).is_privacy_officer() && !caller(&["auditor"]).may_erase());
        assert!(!caller(&["auditor"]).is_officer() && !caller(&["officer"]).is_auditor());
    }

    #[test]
    fn equal_subjects_of_two_issuers_are_two_callers() {
        assert_ne!(CallerId::new("a", "x"), CallerId::new("b", "x"));
        for subject in ["", "a b", "a\n", "张三", &"x".repeat(129)] {
            assert_eq!(CallerId::new("a", subject), None);
        }
    }
}
