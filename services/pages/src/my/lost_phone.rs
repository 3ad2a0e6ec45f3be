//! `/my/lost-phone`, 手机丢了: ends all sessions of the person, and reports the codes bound to the phone lost, after naming
//! them.

use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::response::Response;
use citycode_access_records::{Entry, Table};
use citycode_domain::policy::ChannelAct;
use citycode_service_kit::problem::Problem;
use citycode_wire::proto::issuer::v1::{CodeLife, CodeState};
use citycode_wire::proto::revocation::v1::ReportLossRequest;
use http::StatusCode;
use serde::Deserialize;

use super::subject::{Subject, channel_for, codes_of};
use crate::access::sign_in::masked;
use crate::acts::Died;
use crate::caller::PageCaller;
use crate::frame::{Frame, page};
use crate::lang::Choice;
use crate::problem_page::PageError;
use crate::session::{Area, Resident, Session, SignedIn};
use crate::site::{SharedSite, Site};

#[derive(Template)]
#[template(path = "my/lost_phone.html")]
struct LostPhone<'a> {
    f: Frame<'a>,
    bound: Vec<Bound>,
    /// After the act: the codes that ended.
    died: Option<Vec<Died>>,
    /// After the act: the codes that could not be ended.
    failed: Vec<String>,
}

/// A code that is bound to a phone.
struct Bound {
    relative: Option<usize>,
    name: String,
    code: CodeState,
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
    };
    Ok(page(StatusCode::OK, &shown))
}

pub(super) async fn report(
    State(site): SharedSite,
    choice: Choice,
    signed_in: SignedIn<Resident>,
    Form(form): Form<LostForm>,
) -> Result<Response, PageError> {
    let command_id = signed_in.session.command(&site, &form.form_token, &form.command_id)?;
    let resident = &signed_in.who;
    let found = bound(&site, resident).await?;
    // The sessions end first: whoever has the phone can do nothing more, whatever happens to the rest.
    end_all_sessions(&site, resident).await?;
    let f = Frame::of(
        &site,
        choice,
        "/my/lost-phone",
        &signed_in.session,
        masked(&resident.name),
    );
    let (mut died, mut failed) = (Vec::new(), Vec::new());
    for (number, bound) in found.iter().enumerate() {
        let named = f.code_of(&bound.code.kind, &bound.name);
        // Each report has a command id of its own that is the same when the form is sent again.
        let id = site.seal.name(
            "lost-phone",
            &[command_id.as_bytes(), &number.to_le_bytes()[..]].concat(),
        );
        match report_one(&site, resident, bound, id.to_vec()).await {
            Ok(code_id) => died.push(Died {
                code_id,
                sentence: named,
            }),
            Err(_) => failed.push(named),
        }
    }
    let shown = LostPhone {
        f,
        bound: Vec::new(),
        died: Some(died),
        failed,
    };
    let mut response = page(StatusCode::OK, &shown);
    if let Ok(cleared) = Session::clear_cookie(Area::My).parse() {
        response.headers_mut().append(http::header::SET_COOKIE, cleared);
    }
    Ok(response)
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
