//! `/my/lost-phone`, 手机丢了: ends all sessions of the person, and reports the codes bound to the phone lost, after naming
//! them. The sessions have ended when the result is shown, so a sealed cookie of its own keeps it. If they cannot be ended,
//! the codes are reported lost nevertheless, and the person is told.

use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Redirect, Response};
use citycode_access_records::{Entry, Table};
use citycode_domain::policy::ChannelAct;
use citycode_service_kit::problem::Problem;
use citycode_wire::proto::issuer::v1::{CodeLife, CodeState};
use citycode_wire::proto::revocation::v1::ReportLossRequest;
use http::StatusCode;
use http::header::SET_COOKIE;
use serde::{Deserialize, Serialize};

use super::subject::{Subject, channel_for, codes_of};
use crate::access::sign_in::masked;
use crate::acts::Died;
use crate::caller::PageCaller;
use crate::frame::{Frame, page};
use crate::lang::{Choice, cookie};
use crate::problem_page::PageError;
use crate::session::{Area, Resident, Session, SignedIn};
use crate::site::{SharedSite, Site};

const COOKIE_NAME: &str = "citycode-lost-phone";
/// How long the result can be looked at, in seconds.
const RESULT_SECONDS: i64 = 600;

#[derive(Template)]
#[template(path = "my/lost_phone.html")]
struct LostPhone<'a> {
    f: Frame<'a>,
    bound: Vec<Bound>,
    /// After the act: the codes that ended.
    died: Option<Vec<Died>>,
    /// After the act: the codes that could not be ended.
    failed: Vec<String>,
    /// After the act: the sessions could not be ended.
    sessions_remain: bool,
}

/// A code that is bound to a phone.
struct Bound {
    relative: Option<usize>,
    name: String,
    code: CodeState,
}

/// What the act did.
#[derive(Serialize, Deserialize)]
struct Reported {
    died: Vec<Named>,
    failed: Vec<Named>,
    /// Whether the sessions could not be ended.
    #[serde(default)]
    sessions_remain: bool,
    /// Unix seconds, exclusive.
    expires_at: i64,
}

/// A code, for its sentence.
#[derive(Clone, Serialize, Deserialize)]
struct Named {
    code_id: String,
    kind: String,
    /// Masked.
    name: String,
}

/// The form of the page.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct LostForm {
    form_token: String,
    command_id: String,
}

pub(super) async fn show(
    State(site): SharedSite,
    choice: Choice,
    signed_in: SignedIn<Resident>,
) -> Result<Response, PageError> {
    let shown = LostPhone {
        f: Frame::of(
            &site,
            choice,
            "/my/lost-phone",
            &signed_in.session,
            masked(&signed_in.who.name),
        ),
        bound: bound(&site, &signed_in.who).await?,
        died: None,
        failed: Vec::new(),
        sessions_remain: false,
    };
    Ok(page(StatusCode::OK, &shown))
}

pub(super) async fn report(
    State(site): SharedSite,
    signed_in: SignedIn<Resident>,
    Form(form): Form<LostForm>,
) -> Result<Response, PageError> {
    let command_id = signed_in.session.command(&site, &form.form_token, &form.command_id)?;
    let resident = &signed_in.who;
    // The sessions end first: whoever has the phone can do nothing more, whatever happens to the rest. The codes are
    // reported lost even if the sessions cannot be ended.
    let sessions_remain = end_all_sessions(&site, resident).await.is_err();
    let found = bound(&site, resident).await?;
    let mut reported = Reported {
        died: Vec::new(),
        failed: Vec::new(),
        sessions_remain,
        expires_at: site.now() + RESULT_SECONDS,
    };
    for (number, bound) in found.iter().enumerate() {
        // Each report has a command id of its own that is the same when the form is sent again.
        let id = site.seal.name(
            "lost-phone",
            &[command_id.as_bytes(), &number.to_le_bytes()[..]].concat(),
        );
        let named = Named {
            code_id: bound.code.code_id.clone(),
            kind: bound.code.kind.clone(),
            name: bound.name.clone(),
        };
        match report_one(&site, resident, bound, id.to_vec()).await {
            Ok(code_id) => reported.died.push(Named { code_id, ..named }),
            Err(_) => reported.failed.push(named),
        }
    }
    let text = serde_json::to_vec(&reported).map_err(|_| Problem::internal())?;
    let sealed = site.seal.seal(COOKIE_NAME, &text, &*site.entropy);
    let kept = format!(
        "{COOKIE_NAME}={sealed}; Path=/my/lost-phone; Max-Age={RESULT_SECONDS}; SameSite=Strict; HttpOnly{}",
        site.secure_attribute()
    );
    let mut response = ([(SET_COOKIE, kept)], Redirect::to("/my/lost-phone/done")).into_response();
    // With this session the person can try again to end them all.
    if let Ok(cleared) = Session::clear_cookie(Area::My).parse()
        && !sessions_remain
    {
        response.headers_mut().append(SET_COOKIE, cleared);
    }
    Ok(response)
}

/// The page after the act, for the browser that did it.
pub(super) async fn done(State(site): SharedSite, choice: Choice, parts: Parts) -> Response {
    let opened = cookie(&parts, COOKIE_NAME).and_then(|sealed| site.seal.open(COOKIE_NAME, sealed));
    let reported: Option<Reported> = opened.and_then(|text| serde_json::from_slice(&text).ok());
    let Some(reported) = reported.filter(|reported| site.now() < reported.expires_at) else {
        return Redirect::to("/my/lost-phone").into_response();
    };
    let f = Frame::public(&site, choice, "/my/lost-phone/done");
    let died = reported.died.into_iter().map(|code| Died {
        sentence: f.code_of(&code.kind, &code.name),
        code_id: code.code_id,
    });
    let failed = reported.failed.iter().map(|code| f.code_of(&code.kind, &code.name));
    let shown = LostPhone {
        died: Some(died.collect()),
        failed: failed.collect(),
        sessions_remain: reported.sessions_remain,
        bound: Vec::new(),
        f,
    };
    page(StatusCode::OK, &shown)
}

/// The valid codes of the person and of the session's relatives that are bound to a phone.
async fn bound(site: &Site, resident: &Resident) -> Result<Vec<Bound>, PageError> {
    let mut found = Vec::new();
    let people = std::iter::once(None).chain((1..=resident.relatives.len()).map(Some));
    for relative in people {
        let subject = Subject::new(resident, relative)?;
        for code in codes_of(site, &subject).await? {
            let bound = site
                .kind(&code.kind)
                .is_some_and(|kind| kind.device_bound && subject.may_have(kind));
            if bound && matches!(code.state(), CodeLife::Valid | CodeLife::Suspended) {
                found.push(Bound {
                    relative,
                    name: masked(subject.name()),
                    code,
                });
            }
        }
    }
    Ok(found)
}

async fn end_all_sessions(site: &Site, resident: &Resident) -> Result<(), PageError> {
    let key = Session::person_key(site, &resident.id_number);
    let now = site.now();
    let value = now.to_le_bytes();
    let entry = Entry {
        value: &value,
        // No session lasts longer.
        expires_at: now + 86_400,
    };
    if site.records.create(Table::EndedPerson, &key, entry, now).await? {
        return Ok(());
    }
    // An earlier end of all sessions is replaced by this one; of two at once either is enough.
    if let Some(record) = site.records.get(Table::EndedPerson, &key, now).await? {
        site.records
            .replace(Table::EndedPerson, &key, record.revision, entry)
            .await?;
    }
    Ok(())
}

async fn report_one(site: &Site, resident: &Resident, bound: &Bound, command_id: Vec<u8>) -> Result<String, Problem> {
    let subject = Subject::new(resident, bound.relative).map_err(|_| Problem::internal())?;
    let kind = site.kind(&bound.code.kind).ok_or_else(Problem::internal)?;
    let channel = channel_for(site, kind, ChannelAct::ReportLoss).ok_or_else(Problem::internal)?;
    let caller = PageCaller::resident(site, &resident.id_number, &channel.name);
    let request = ReportLossRequest {
        command_id,
        channel: channel.name.clone(),
        authentication: site.authentication(&channel.name, &resident.id_number)?,
        kind: kind.name.clone(),
        id_number: subject.holder().to_owned(),
        guardian_id_number: subject.guardian().to_owned(),
    };
    let answer = site
        .clients
        .revocation
        .clone()
        .report_loss(site.request(&caller, request)?)
        .await?;
    Ok(answer.into_inner().code_id)
}

#[cfg(test)]
mod tests;
