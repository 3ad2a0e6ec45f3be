//! Which role may see which page, and the operator of a request.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use axum::http::request::Parts;
use citycode_auth::Role;

use crate::caller::PageCaller;
use crate::frame::Frame;
use crate::lang::Choice;
use crate::problem_page::PageError;
use crate::session::{Operator, Session, SignedIn};
use crate::site::Site;
use data_encoding::BASE64URL_NOPAD;

/// One of the pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tab {
    Counts,
    Devices,
    Code,
    Officer,
    Import,
    Keys,
    Policy,
    Audit,
    Components,
}

impl Tab {
    /// Every page, in the order of the tabs.
    pub(super) const ALL: [Self; 9] = [
        Self::Counts,
        Self::Devices,
        Self::Code,
        Self::Officer,
        Self::Import,
        Self::Keys,
        Self::Policy,
        Self::Audit,
        Self::Components,
    ];

    /// The last part of its path.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Counts => "counts",
            Self::Devices => "devices",
            Self::Code => "code",
            Self::Officer => "officer",
            Self::Import => "import",
            Self::Keys => "keys",
            Self::Policy => "policy",
            Self::Audit => "audit",
            Self::Components => "components",
        }
    }

    pub(super) fn path(self) -> String {
        format!("/ops/{}", self.name())
    }

    /// The page of this path; pages below it, such as `/ops/keys/rotate`, belong to it.
    fn of(path: &str) -> Option<Self> {
        let name = path.strip_prefix("/ops/")?.split('/').next()?;
        Self::ALL.into_iter().find(|tab| tab.name() == name)
    }

    /// The roles that may see it. They are those that the services answer; the services check them again.
    fn roles(self) -> &'static [Role] {
        match self {
            Self::Counts | Self::Audit => &[Role::Auditor, Role::Admin],
            Self::Code => &[Role::Officer, Role::Auditor, Role::Admin],
            Self::Officer => &[Role::Officer, Role::HealthAuthority, Role::Privacy, Role::Admin],
            Self::Devices | Self::Import | Self::Keys | Self::Components => &[Role::Admin],
            Self::Policy => &[
                Role::Officer,
                Role::HealthAuthority,
                Role::Auditor,
                Role::Privacy,
                Role::Admin,
            ],
        }
    }

    /// Whether one of an operator's roles may see it.
    pub(super) fn is_open_to(self, roles: &[String]) -> bool {
        first_of(self.roles(), roles).is_some()
    }
}

/// The first of `allowed` that is among an operator's roles.
fn first_of<'a>(allowed: &'a [Role], roles: &[String]) -> Option<&'a Role> {
    allowed.iter().find(|role| {
        let name = role.to_string();
        roles.contains(&name)
    })
}

/// A link to a page.
pub(super) struct TabLink {
    pub(super) path: String,
    pub(super) title: String,
    pub(super) is_current: bool,
}

/// The operator of a request, who may see its page.
pub(super) struct Operating {
    pub(super) session: Session,
    pub(super) operator: Operator,
    pub(super) choice: Choice,
    tab: Tab,
}

impl<S> FromRequestParts<S> for Operating
where
    S: Send + Sync,
    Arc<Site>: FromRef<S>,
{
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, PageError> {
        let SignedIn { session, who } = SignedIn::<Operator>::from_request_parts(parts, state).await?;
        let tab = Tab::of(parts.uri.path()).ok_or(PageError::NotFound)?;
        if !tab.is_open_to(&who.roles) {
            return Err(PageError::Forbidden);
        }
        Ok(Self {
            session,
            operator: who,
            choice: Choice::of(parts),
            tab,
        })
    }
}

impl Operating {
    /// The frame of a page at `path`.
    pub(super) fn frame<'a>(&self, site: &'a Site, path: &str) -> Frame<'a> {
        let id = format!("identity-{}", self.operator.name.replace('_', "-"));
        let role = site.words.find(self.choice.language, &id, &[]);
        let reader = role.unwrap_or_else(|| self.operator.name.clone());
        Frame::of(site, self.choice, path, &self.session, reader)
    }

    /// The tabs that the operator may see.
    pub(super) fn tabs(&self, f: &Frame<'_>) -> Vec<TabLink> {
        let open = Tab::ALL.into_iter().filter(|tab| tab.is_open_to(&self.operator.roles));
        let links = open.map(|tab| TabLink {
            path: tab.path(),
            title: f.t(&format!("ops-tab-{}", tab.name())),
            is_current: tab == self.tab,
        });
        links.collect()
    }

    /// The caller with the least of the operator's roles that may see this page.
    ///
    /// # Errors
    /// [`PageError::Forbidden`].
    pub(super) fn caller(&self) -> Result<PageCaller, PageError> {
        self.caller_among(self.tab.roles())
    }

    /// The caller with the first of these roles that the operator has.
    ///
    /// # Errors
    /// [`PageError::Forbidden`]: the operator has none of them.
    pub(super) fn caller_among(&self, allowed: &[Role]) -> Result<PageCaller, PageError> {
        let role = first_of(allowed, &self.operator.roles).ok_or(PageError::Forbidden)?;
        Ok(PageCaller {
            subject: subject_of(&self.operator),
            role: role.clone(),
            card_reader: false,
        })
    }

    /// Whether the operator has one of these roles.
    pub(super) fn is_among(&self, allowed: &[Role]) -> bool {
        first_of(allowed, &self.operator.roles).is_some()
    }

    /// Checks that a form is of this session.
    ///
    /// # Errors
    /// [`PageError::StaleForm`].
    pub(super) fn check(&self, site: &Site, form_token: &str) -> Result<(), PageError> {
        self.session.check_form(site, form_token)
    }

    /// Checks that a form is of this session, and returns its command id: the form sent twice does nothing twice.
    ///
    /// # Errors
    /// [`PageError::StaleForm`].
    pub(super) fn command(&self, site: &Site, form_token: &str, command_id: &str) -> Result<Vec<u8>, PageError> {
        let id = self.session.command(site, form_token, command_id)?;
        Ok(id.as_bytes().to_vec())
    }
}

/// Longest provider's subject that becomes a caller's name as it is.
const MAX_SUBJECT_BYTES: usize = 100;

/// The operator as a caller: the same at every sign-in, so that the audit says who acted and a repeated command is
/// recognised.
fn subject_of(operator: &Operator) -> String {
    let subject = if operator.subject.is_empty() {
        &operator.name
    } else {
        &operator.subject
    };
    let plain = subject.len() <= MAX_SUBJECT_BYTES && subject.bytes().all(|byte| byte.is_ascii_graphic());
    if plain && !subject.is_empty() {
        format!("pages-ops-{subject}")
    } else {
        // RFC 4648 keeps what cannot stand in a name readable for the audit.
        let bytes = subject.as_bytes();
        format!(
            "pages-ops-b64-{}",
            BASE64URL_NOPAD.encode(&bytes[..bytes.len().min(MAX_SUBJECT_BYTES / 2)])
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pages of each role, as the contract gives them.
    const MATRIX: [(&str, &[&str]); 5] = [
        ("officer", &["code", "officer", "policy"]),
        ("health_authority", &["officer", "policy"]),
        ("auditor", &["counts", "code", "policy", "audit"]),
        ("privacy", &["officer", "policy"]),
        (
            "admin",
            &[
                "counts",
                "devices",
                "code",
                "officer",
                "import",
                "keys",
                "policy",
                "audit",
                "components",
            ],
        ),
    ];

    #[test]
    fn each_role_sees_the_pages_that_it_may_use_and_no_other() {
        for (role, pages) in MATRIX {
            let open = Tab::ALL.into_iter().filter(|tab| tab.is_open_to(&[role.to_owned()]));
            assert_eq!(open.map(Tab::name).collect::<Vec<_>>(), pages, "{role}");
        }
        assert!(
            !Tab::ALL
                .into_iter()
                .any(|tab| tab.is_open_to(&["channel:kiosk".to_owned()]))
        );
        assert!(!Tab::ALL.into_iter().any(|tab| tab.is_open_to(&[])));
    }

    #[test]
    fn a_page_below_a_tab_belongs_to_it() {
        assert_eq!(Tab::of("/ops/keys/rotate"), Some(Tab::Keys));
        assert_eq!(Tab::of("/ops/counts"), Some(Tab::Counts));
        for other in ["/ops", "/ops/", "/ops/other", "/my/counts", "/opscounts"] {
            assert_eq!(Tab::of(other), None, "{other}");
        }
    }
}
