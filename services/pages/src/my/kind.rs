//! `/my/KIND`: one code, and what can be done with it.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::request::Parts;
use axum::response::Response;
use citycode_domain::policy::{ChannelAct, ChannelPolicy, KindPolicy};
use citycode_wire::proto::issuer::v1::{CodeLife, CodeState};
use http::StatusCode;
use serde::Deserialize;
use uuid::Uuid;

use super::codes_kept::KeptCodes;
use super::subject::{Subject, channel_for, codes_of, last_of, listed, state_icon, state_word};
use crate::access::sign_in::masked;
use crate::acts::ActResult;
use crate::frame::{Frame, page};
use crate::lang::Choice;
use crate::problem_page::PageError;
use crate::session::{Resident, Session, SignedIn};
use crate::site::{SharedSite, Site};

/// The query `?for=N`.
#[derive(Deserialize, Default)]
pub(super) struct For {
    /// The number of a relative of the session, from 1.
    #[serde(rename = "for")]
    pub(super) relative: Option<usize>,
}

/// A code that is shown now.
pub(super) enum Shown {
    /// Nothing.
    Nothing,
    /// A code without a phone's key, as an SVG image.
    Image(String),
    /// A live code: the page makes its proofs.
    Live(String),
}

#[derive(Template)]
#[template(path = "my/kind.html")]
pub(super) struct KindPage<'a> {
    pub(super) f: Frame<'a>,
    pub(super) kind: String,
    pub(super) label: String,
    pub(super) name: String,
    pub(super) query: String,
    pub(super) code: Option<CodeState>,
    pub(super) state: &'static str,
    pub(super) state_text: String,
    pub(super) result: Option<ActResult>,
    pub(super) shown: Shown,
    pub(super) offers: Offers,
    /// The act whose outcome is not known: it is asked for again with the same command id.
    pub(super) again: Option<Again>,
    pub(super) device_bound: bool,
    pub(super) max_age_seconds: i64,
    pub(super) now: i64,
}

/// A form that was sent, and is sent again.
pub(super) struct Again {
    pub(super) action: String,
    pub(super) command_id: Uuid,
    pub(super) needs_key: bool,
}

/// The acts that the page offers now.
#[expect(clippy::struct_excessive_bools, reason = "each act is offered or not, independently")]
#[derive(Default)]
pub(super) struct Offers {
    pub(super) get: bool,
    pub(super) reissue: bool,
    pub(super) reissue_name: String,
    pub(super) loss: bool,
    pub(super) show: bool,
    pub(super) print: bool,
    /// Why a live code cannot be got here: the id of a text.
    pub(super) hint: Option<&'static str>,
}

impl<'a> KindPage<'a> {
    /// The page of a kind, with the state of the code as it is in `codes`.
    pub(super) fn new(
        site: &'a Site,
        mut f: Frame<'a>,
        kind: &KindPolicy,
        subject: &Subject<'_>,
        codes: &[CodeState],
    ) -> Self {
        f.query = subject.query();
        let code = last_of(codes, kind, subject).cloned();
        let state = state_word(code.as_ref());
        let offers = Offers::of(site, &f, kind, subject, code.as_ref());
        Self {
            kind: kind.name.clone(),
            label: f.label(&kind.label),
            name: masked(subject.name()),
            query: subject.query(),
            state_text: f.t(&format!("state-{}", state.replace('_', "-"))),
            state,
            code,
            result: None,
            shown: Shown::Nothing,
            offers,
            again: None,
            device_bound: kind.device_bound,
            max_age_seconds: site.policy.proof.max_age_seconds,
            now: site.now(),
            f,
        }
    }

    /// Shows the live code if this browser keeps it, and else says where it is.
    pub(super) fn show_live(&mut self, site: &Site, parts: &Parts, resident: &Resident, kind: &KindPolicy) {
        if !kind.device_bound || self.state != "valid" || resident.shared_computer {
            return;
        }
        match KeptCodes::of(site, parts, resident).token(self.code_id()) {
            Some(token) => self.shown = Shown::Live(token.to_owned()),
            None => self.offers.hint = Some("live-elsewhere"),
        }
    }

    /// The address of an act of this page.
    fn action(&self, act: &str) -> String {
        with_query(&format!("/my/{}/{act}", self.kind), &self.query)
    }

    /// The address of the page that asks for confirmation.
    fn confirm(&self, act: &str) -> String {
        let query = if self.query.is_empty() {
            String::new()
        } else {
            format!("&{}", self.query)
        };
        format!("/my/{}/confirm?act={act}{query}", self.kind)
    }

    /// The address of the overview.
    fn home(&self) -> String {
        with_query("/my", &self.query)
    }

    fn shows_nothing(&self) -> bool {
        matches!(self.shown, Shown::Nothing)
    }

    fn state_icon(&self) -> &'static str {
        state_icon(self.state)
    }

    fn code_id(&self) -> &str {
        self.code.as_ref().map_or("", |code| code.code_id.as_str())
    }
}

impl Offers {
    fn of(site: &Site, f: &Frame<'_>, kind: &KindPolicy, subject: &Subject<'_>, code: Option<&CodeState>) -> Self {
        let may = |act| channel_for(site, kind, act).is_some();
        let life = code.map(CodeState::state);
        let valid = life == Some(CodeLife::Valid);
        let held = life == Some(CodeLife::Suspended);
        // A live code needs a phone of the person's own.
        let shared = kind.device_bound && subject.resident.shared_computer;
        let reissue = channel_for(site, kind, ChannelAct::Reissue);
        Self {
            get: !valid && !held && !shared && may(ChannelAct::Issue),
            reissue: valid && !shared && reissue.is_some(),
            reissue_name: reissue
                .map(|channel| reissue_name(f, kind, channel))
                .unwrap_or_default(),
            loss: (valid || held) && may(ChannelAct::ReportLoss),
            show: valid && !kind.device_bound && may(ChannelAct::Reprint),
            print: valid && kind.on_paper && may(ChannelAct::Reprint),
            hint: if shared {
                Some("shared-no-live")
            } else if !valid && !held && !may(ChannelAct::Issue) {
                Some("get-elsewhere")
            } else {
                None
            },
        }
    }
}

/// What a reissue is called for this kind at this channel.
pub(crate) fn reissue_name(f: &Frame<'_>, kind: &KindPolicy, channel: &ChannelPolicy) -> String {
    let label = kind.reissue_label.as_ref().or(channel.reissue_label.as_ref());
    label.map_or_else(|| f.t("reissue"), |label| f.label(label))
}

pub(super) async fn show(
    State(site): SharedSite,
    choice: Choice,
    signed_in: SignedIn<Resident>,
    Path(kind): Path<String>,
    Query(query): Query<For>,
    parts: Parts,
) -> Result<Response, PageError> {
    let kind = site.kind(&kind).ok_or(PageError::NotFound)?;
    let subject = Subject::new(&signed_in.who, query.relative)?;
    if !subject.may_have(kind) {
        return Err(PageError::NotFound);
    }
    let f = frame(&site, choice, kind, &signed_in.session, &signed_in.who);
    let mut codes = codes_of(&site, &subject).await?;
    let is_held = |code: &CodeState| code.state() == CodeLife::Suspended;
    if last_of(&codes, kind, &subject).is_some_and(is_held) {
        // The page says since when the code is on hold, which is one of the details.
        codes = listed(&site, &subject).await?.codes;
    }
    let mut shown = KindPage::new(&site, f, kind, &subject, &codes);
    shown.show_live(&site, &parts, &signed_in.who, kind);
    Ok(page(StatusCode::OK, &shown))
}

/// The address with this query, which may be empty.
pub(super) fn with_query(path: &str, query: &str) -> String {
    if query.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{query}")
    }
}

/// The frame of a page about a kind.
pub(super) fn frame<'a>(
    site: &'a Site,
    choice: Choice,
    kind: &KindPolicy,
    session: &Session,
    resident: &Resident,
) -> Frame<'a> {
    let path = format!("/my/{}", kind.name);
    Frame::of(site, choice, &path, session, masked(&resident.name))
}
