//! Sessions: sealed cookies that name a resident, a device or an operator.
//!
//! Each area of the pages has a cookie of its own with the area's path, so one browser can be a resident at `/my` and a
//! checkpoint at `/staff`, and no page receives the session of another area.

use axum::extract::{FromRef, FromRequestParts};
use citycode_access_records::{Entry, Table};
use citycode_service_kit::serve::CallHandle;
use data_encoding::HEXLOWER;
use http::request::Parts;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use uuid::Uuid;

use crate::lang::cookie;
use crate::problem_page::PageError;
use crate::site::Site;

/// An area of the pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Area {
    /// `/my`: residents.
    My,
    /// `/kiosk`.
    Kiosk,
    /// `/staff`.
    Staff,
    /// `/gate`.
    Gate,
    /// `/ops`.
    Ops,
}

impl Area {
    /// Its path.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::My => "/my",
            Self::Kiosk => "/kiosk",
            Self::Staff => "/staff",
            Self::Gate => "/gate",
            Self::Ops => "/ops",
        }
    }

    /// Its word in queries.
    pub(crate) fn word(self) -> &'static str {
        self.path().trim_start_matches('/')
    }

    /// The name of its cookie, which is also the purpose for which the cookie is sealed.
    fn cookie_name(self) -> &'static str {
        match self {
            Self::My => "citycode-my",
            Self::Kiosk => "citycode-kiosk",
            Self::Staff => "citycode-staff",
            Self::Gate => "citycode-gate",
            Self::Ops => "citycode-ops",
        }
    }

    /// How long a session lasts, in seconds: a device's as long as a shift year, a person's half a day.
    fn lifetime_seconds(self) -> i64 {
        match self {
            Self::My | Self::Ops => 12 * 3_600,
            Self::Staff => 16 * 3_600,
            Self::Kiosk | Self::Gate => 365 * 86_400,
        }
    }
}

/// A resident who signed in.
#[derive(Clone, Serialize, Deserialize)]
pub struct Resident {
    /// ID number. Personal.
    pub id_number: String,
    /// Name. Personal.
    pub name: String,
    /// Whether the browser is shared: then no live code can be got, and nothing is kept at sign-out.
    pub shared_computer: bool,
    /// The relatives for whom this session acts, in the order of `?for=N`, counted from 1.
    pub relatives: Vec<Relative>,
}

/// A relative of a resident.
#[derive(Clone, Serialize, Deserialize)]
pub struct Relative {
    /// ID number. Personal.
    pub id_number: String,
    /// Name as the resident calls the relative. Personal.
    pub name: String,
}

/// A paired device, or a person who works at one.
#[derive(Clone, Serialize, Deserialize)]
pub struct Device {
    /// The device's id, as in the claim `roles` of an access token.
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// The channel of a kiosk; empty for a checkpoint.
    pub channel: String,
    /// The places of a checkpoint or gate; empty for a kiosk.
    pub places: Vec<String>,
    /// Identifies this pairing, 32 hex digits: a device that is paired again under the same id is another one, so that
    /// the session of an ended device stays ended.
    #[serde(default)]
    pub pairing: String,
}

/// An operator.
#[derive(Clone, Serialize, Deserialize)]
pub struct Operator {
    /// Who it is, for the audit: the provider's subject, or how a local session began. Visible ASCII.
    #[serde(default)]
    pub subject: String,
    /// The name for people.
    pub name: String,
    /// The roles as in the claim `roles`, such as `officer`.
    pub roles: Vec<String>,
}

/// Whose session it is.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// A resident.
    Resident(Resident),
    /// A kiosk, checkpoint or gate.
    Device(Device),
    /// An operator.
    Operator(Operator),
}

/// The content of a session's cookie.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Session {
    /// 16 random bytes as hex; every sign-in draws a new one.
    pub(crate) id: String,
    pub(crate) area: Area,
    /// Unix seconds.
    pub(crate) started_at: i64,
    /// Unix seconds, exclusive.
    pub(crate) expires_at: i64,
    pub(crate) who: Who,
}

impl Session {
    /// A new session.
    pub(crate) fn begin(site: &Site, area: Area, who: Who) -> Self {
        let now = site.now();
        Self {
            id: HEXLOWER.encode(&site.draw()),
            area,
            started_at: now,
            expires_at: now + area.lifetime_seconds(),
            who,
        }
    }

    /// The `Set-Cookie` header that keeps it.
    pub(crate) fn set_cookie(&self, site: &Site) -> String {
        let name = self.area.cookie_name();
        let text = serde_json::to_vec(self).expect("a session is always JSON");
        let sealed = site.seal.seal(name, &text, &*site.entropy);
        let lasts = self.expires_at - site.now();
        // On a shared computer the session also ends with the browser.
        let lasts = match &self.who {
            Who::Resident(resident) if resident.shared_computer => String::new(),
            _ => format!("; Max-Age={lasts}"),
        };
        format!(
            "{name}={sealed}; Path={}{lasts}; SameSite=Strict; HttpOnly{}",
            self.area.path(),
            site.secure_attribute()
        )
    }

    /// The `Set-Cookie` header that removes the cookie of an area.
    pub(crate) fn clear_cookie(area: Area) -> String {
        format!(
            "{}=; Path={}; Max-Age=0; SameSite=Strict; HttpOnly",
            area.cookie_name(),
            area.path()
        )
    }

    /// Ends it for every portal, before it would expire.
    pub(crate) async fn end(&self, site: &Site) -> Result<(), PageError> {
        let entry = Entry {
            value: &[],
            expires_at: self.expires_at,
        };
        let records = &site.records;
        records
            .create(Table::EndedSession, self.id.as_bytes(), entry, site.now())
            .await?;
        Ok(())
    }

    /// The token that this session's forms carry, so that no other site can send one.
    pub(crate) fn form_token(&self, site: &Site) -> String {
        HEXLOWER.encode(&site.seal.name("form", self.id.as_bytes()))
    }

    /// Checks that a form carries the token of this session.
    ///
    /// # Errors
    /// [`PageError::StaleForm`].
    pub(crate) fn check_form(&self, site: &Site, form_token: &str) -> Result<(), PageError> {
        if form_token == self.form_token(site) {
            Ok(())
        } else {
            Err(PageError::StaleForm)
        }
    }

    /// Checks that a form is of this session, and returns its command id: the form sent twice does nothing twice.
    ///
    /// # Errors
    /// [`PageError::StaleForm`].
    pub(crate) fn command(&self, site: &Site, form_token: &str, command_id: &str) -> Result<Uuid, PageError> {
        self.check_form(site, form_token)?;
        Uuid::try_parse(command_id).map_err(|_| PageError::StaleForm)
    }

    /// The name under which people's records are kept: it does not lead to the ID number.
    pub(crate) fn person_key(site: &Site, id_number: &str) -> [u8; 16] {
        site.seal.name("person", id_number.as_bytes())
    }

    /// The session in the cookie of an area, if it has not expired. It may have been ended: see [`Session::open`].
    pub(crate) fn sealed(site: &Site, parts: &Parts, area: Area) -> Option<Self> {
        let sealed = cookie(parts, area.cookie_name())?;
        let text = site.seal.open(area.cookie_name(), sealed)?;
        let session: Self = serde_json::from_slice(&text).ok()?;
        (session.area == area && site.now() < session.expires_at).then_some(session)
    }

    /// Opens the session of an area, if the request has one that is still valid.
    ///
    /// # Errors
    /// [`PageError::Unavailable`]: it is not known whether the session was ended.
    pub(crate) async fn open(site: &Site, parts: &Parts, area: Area) -> Result<Option<Self>, PageError> {
        let Some(session) = Self::sealed(site, parts, area) else {
            return Ok(None);
        };
        let now = site.now();
        let records = &site.records;
        if records
            .get(Table::EndedSession, session.id.as_bytes(), now)
            .await?
            .is_some()
        {
            return Ok(None);
        }
        // The server lets a signed-in reader's calls go before those of strangers.
        if let Some(call) = parts.extensions.get::<CallHandle>() {
            call.authenticate();
        }
        if session.is_of_ended_person(site, now).await? || session.is_of_ended_device(site, now).await? {
            return Ok(None);
        }
        Ok(Some(session))
    }

    /// Whether all sessions of its person that began before some time were ended, and this is one of them.
    async fn is_of_ended_person(&self, site: &Site, now: i64) -> Result<bool, PageError> {
        let Who::Resident(resident) = &self.who else {
            return Ok(false);
        };
        let key = Self::person_key(site, &resident.id_number);
        let ended = site.records.get(Table::EndedPerson, &key, now).await?;
        let before = ended.and_then(|record| Some(i64::from_le_bytes(record.value.try_into().ok()?)));
        Ok(before.is_some_and(|before| self.started_at <= before))
    }

    /// Whether its device is no longer paired.
    async fn is_of_ended_device(&self, site: &Site, now: i64) -> Result<bool, PageError> {
        let Who::Device(device) = &self.who else {
            return Ok(false);
        };
        let recorded = site.records.get(Table::Device, device.id.as_bytes(), now).await?;
        let recorded = recorded.and_then(|record| serde_json::from_slice::<Device>(&record.value).ok());
        Ok(recorded.is_none_or(|recorded| recorded.pairing != device.pairing))
    }
}

/// The session of the page's area. Handlers of pages that need one take it; without a valid session the reader is sent
/// to sign in.
pub(crate) struct SignedIn<W> {
    pub(crate) session: Session,
    pub(crate) who: W,
}

/// What a page's session must be.
pub(crate) trait Identity: Sized {
    fn of(session: &Session) -> Option<Self>;
    /// The area of this page.
    fn area(path: &str) -> Option<Area>;
}

impl Identity for Resident {
    fn of(session: &Session) -> Option<Self> {
        match &session.who {
            Who::Resident(resident) => Some(resident.clone()),
            _ => None,
        }
    }

    fn area(_: &str) -> Option<Area> {
        Some(Area::My)
    }
}

impl Identity for Device {
    fn of(session: &Session) -> Option<Self> {
        match &session.who {
            Who::Device(device) => Some(device.clone()),
            _ => None,
        }
    }

    fn area(path: &str) -> Option<Area> {
        [Area::Kiosk, Area::Staff, Area::Gate].into_iter().find(|area| {
            let rest = path.strip_prefix(area.path());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }
}

impl Identity for Operator {
    fn of(session: &Session) -> Option<Self> {
        match &session.who {
            Who::Operator(operator) => Some(operator.clone()),
            _ => None,
        }
    }

    fn area(_: &str) -> Option<Area> {
        Some(Area::Ops)
    }
}

impl<S, W> FromRequestParts<S> for SignedIn<W>
where
    S: Send + Sync,
    W: Identity + Send,
    Arc<Site>: FromRef<S>,
{
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, PageError> {
        let site = Arc::<Site>::from_ref(state);
        let area = W::area(parts.uri.path()).ok_or(PageError::NotFound)?;
        let session = Session::open(&site, parts, area).await?;
        let session = session.ok_or_else(|| PageError::sign_in(area, parts.uri.path()))?;
        let who = W::of(&session).ok_or_else(|| PageError::sign_in(area, parts.uri.path()))?;
        Ok(Self { session, who })
    }
}
