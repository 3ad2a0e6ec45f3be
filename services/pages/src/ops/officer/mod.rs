//! `/ops/officer`: the acts of officers and of the health authority. Each is a form, a step that shows what it will do to
//! the holder's codes, and its result. ID numbers are sent in bodies only, never in addresses.

mod ask;
mod effects;
mod perform;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use citycode_auth::Role;
use http::StatusCode;
use serde::Deserialize;

use super::access::{Operating, TabLink};
use crate::frame::{Frame, page};
use crate::problem_page::PageError;
use crate::site::SharedSite;
pub(super) use ask::{confirm, form};
pub(super) use perform::perform;

/// An act.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Act {
    Suspend,
    Reinstate,
    Revoke,
    Standing,
    Relate,
    Unrelate,
    Rename,
    Erase,
}

impl Act {
    const ALL: [Self; 8] = [
        Self::Suspend,
        Self::Reinstate,
        Self::Revoke,
        Self::Standing,
        Self::Relate,
        Self::Unrelate,
        Self::Rename,
        Self::Erase,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Suspend => "suspend",
            Self::Reinstate => "reinstate",
            Self::Revoke => "revoke",
            Self::Standing => "standing",
            Self::Relate => "relate",
            Self::Unrelate => "unrelate",
            Self::Rename => "rename",
            Self::Erase => "erase",
        }
    }

    fn icon(self) -> &'static str {
        match self {
            Self::Suspend => "pause",
            Self::Reinstate => "check",
            Self::Revoke => "ban",
            Self::Standing | Self::Rename => "person",
            Self::Relate | Self::Unrelate => "family",
            Self::Erase => "erase",
        }
    }

    /// The roles that may do it, the least one first.
    fn roles(self) -> &'static [Role] {
        match self {
            Self::Standing => &[Role::HealthAuthority, Role::Admin],
            Self::Erase => &[Role::Officer, Role::Privacy, Role::Admin],
            Self::Suspend | Self::Reinstate | Self::Revoke | Self::Relate | Self::Unrelate | Self::Rename => {
                &[Role::Officer, Role::Admin]
            }
        }
    }

    /// The act of this name, if the operator may do it.
    fn of(name: &str, op: &Operating) -> Result<Self, PageError> {
        let act = Self::ALL
            .into_iter()
            .find(|act| act.name() == name)
            .ok_or(PageError::NotFound)?;
        if op.is_among(act.roles()) {
            Ok(act)
        } else {
            Err(PageError::Forbidden)
        }
    }

    fn path(self) -> String {
        format!("/ops/officer/{}", self.name())
    }

    /// Whether it is about one kind of code.
    fn is_of_kind(self) -> bool {
        matches!(self, Self::Suspend | Self::Reinstate | Self::Revoke)
    }

    fn is_of_two(self) -> bool {
        matches!(self, Self::Relate | Self::Unrelate)
    }

    fn needs_reason(self) -> bool {
        !self.is_of_two() && self != Self::Erase
    }
}

/// The forms of all acts: each has some of the fields.
#[derive(Deserialize, Default, Clone)]
#[serde(default)]
pub(super) struct Typed {
    form_token: String,
    command_id: String,
    kind: String,
    id_number: String,
    guardian: String,
    name: String,
    standing: String,
    reason: String,
    /// The codes that were valid at the confirmation, sealed.
    valid_before: String,
}

struct Link {
    path: String,
    name: String,
    hint: String,
    icon: &'static str,
}

#[derive(Template)]
#[template(path = "ops/officer.html")]
struct Officer<'a> {
    f: Frame<'a>,
    tabs: Vec<TabLink>,
    links: Vec<Link>,
}

/// The acts that the operator may do.
pub(super) async fn show(State(site): SharedSite, op: Operating) -> Response {
    let f = op.frame(&site, "/ops/officer");
    let acts = Act::ALL.into_iter().filter(|act| op.is_among(act.roles()));
    let links = acts.map(|act| Link {
        path: act.path(),
        name: f.t(&format!("ops-act-{}", act.name())),
        hint: f.t(&format!("ops-act-{}-hint", act.name())),
        icon: act.icon(),
    });
    let officer = Officer {
        tabs: op.tabs(&f),
        links: links.collect(),
        f,
    };
    page(StatusCode::OK, &officer)
}

/// A reload of a later step leads to the form: nothing is sent twice.
pub(super) async fn again(op: Operating, Path(act): Path<String>) -> Result<Response, PageError> {
    let act = Act::of(&act, &op)?;
    Ok(Redirect::to(&act.path()).into_response())
}
