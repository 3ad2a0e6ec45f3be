//! `/my`: one card for each kind of code, with its state and the next step.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use citycode_domain::policy::ChannelAct;
use citycode_wire::proto::model::v1::Standing;
use http::StatusCode;

use super::kind::{For, with_query};
use super::subject::{Subject, channel_for, kind_icon, last_of, listed, state_icon, state_word};
use crate::access::sign_in::masked;
use crate::frame::{Frame, page};
use crate::lang::Choice;
use crate::problem_page::PageError;
use crate::session::{Resident, SignedIn};
use crate::site::SharedSite;

#[derive(Template)]
#[template(path = "my/home.html")]
struct Home<'a> {
    f: Frame<'a>,
    name: String,
    relative: bool,
    cards: Vec<Card>,
    relatives: Vec<RelativeLink>,
    /// `green`, `yellow` or `red`; `None` for a relative.
    standing: Option<&'static str>,
}

/// A relative of the session.
struct RelativeLink {
    number: usize,
    name: String,
}

/// One kind of code.
struct Card {
    name: String,
    label: String,
    icon: &'static str,
    state: &'static str,
    state_icon: &'static str,
    state_text: String,
    expires_at: Option<i64>,
    /// Since when it is on hold.
    suspended_since: Option<i64>,
    /// Whether these pages may issue it.
    can_get: bool,
    /// Whether only some people are eligible.
    only_some: bool,
    address: String,
}

pub(super) async fn show(
    State(site): SharedSite,
    choice: Choice,
    signed_in: SignedIn<Resident>,
    Query(query): Query<For>,
) -> Result<Response, PageError> {
    let subject = Subject::new(&signed_in.who, query.relative)?;
    let mut f = Frame::of(&site, choice, "/my", &signed_in.session, masked(&signed_in.who.name));
    f.query = subject.query();
    let listed = listed(&site, &subject).await?;
    let codes = &listed.codes;
    let kinds = site.policy.kinds.iter().filter(|kind| subject.may_have(kind));
    let cards = kinds.map(|kind| {
        let code = last_of(codes, kind, &subject);
        let state = state_word(code);
        let address = with_query(&format!("/my/{}", kind.name), &subject.query());
        Card {
            label: f.label(&kind.label),
            state_text: f.t(&format!("state-{}", state.replace('_', "-"))),
            expires_at: code.map(|code| code.expires_at).filter(|_| state == "valid"),
            suspended_since: code.and_then(|code| code.suspended_since),
            only_some: !kind.eligibility.is_empty(),
            can_get: channel_for(&site, kind, ChannelAct::Issue).is_some(),
            icon: kind_icon(kind),
            state_icon: state_icon(state),
            name: kind.name.clone(),
            state,
            address,
        }
    });
    let relatives = signed_in.who.relatives.iter().enumerate();
    let relatives = relatives.map(|(at, person)| RelativeLink {
        number: at + 1,
        name: masked(&person.name),
    });
    let name = masked(subject.name());
    let home = Home {
        // A start link names a person by number only.
        name: if name.is_empty() { f.t("my-codes") } else { name },
        relative: subject.relative.is_some(),
        cards: cards.collect(),
        relatives: relatives.collect(),
        standing: match listed.standing() {
            Standing::Green => Some("green"),
            Standing::Yellow => Some("yellow"),
            Standing::Red => Some("red"),
            Standing::Unspecified => None,
        },
        f,
    };
    Ok(page(StatusCode::OK, &home))
}
