//! `/my/queries`, 谁查过我: who looked at the reader, when and why; without names of those who asked.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use citycode_wire::proto::issuer::v1::{ListQueriesAboutRequest, QueryAbout};
use http::StatusCode;

use super::subject::asking_channel;
use crate::access::sign_in::masked;
use crate::caller::PageCaller;
use crate::frame::{Frame, page};
use crate::lang::Choice;
use crate::problem_page::PageError;
use crate::session::{Resident, SignedIn};
use crate::site::SharedSite;

#[derive(Template)]
#[template(path = "my/queries.html")]
struct Queries<'a> {
    f: Frame<'a>,
    queries: Vec<QueryAbout>,
}

impl Queries<'_> {
    /// A kind of question in words; its name if there is no text for it.
    fn kind(&self, kind: &str) -> String {
        let id = format!("query-{}", kind.replace(['_', ' '], "-"));
        let found = self.f.site.words.find(self.f.language(), &id, &[]);
        found.unwrap_or_else(|| kind.to_owned())
    }
}

pub(super) async fn show(
    State(site): SharedSite,
    choice: Choice,
    signed_in: SignedIn<Resident>,
) -> Result<Response, PageError> {
    let channel = asking_channel(&site)?.name.clone();
    let resident = &signed_in.who;
    let caller = PageCaller::resident(&site, &resident.id_number, &channel);
    let request = ListQueriesAboutRequest {
        purpose: String::new(),
        channel: channel.clone(),
        authentication: site.authentication(&channel, &resident.id_number)?,
        id_number: resident.id_number.clone(),
        question_id: Vec::new(),
    };
    let answer = site
        .clients
        .issuer
        .clone()
        .list_queries_about(site.request(&caller, request)?)
        .await?;
    let mut queries = answer.into_inner().queries;
    // The newest first, as people expect of a list of events.
    queries.reverse();
    let f = Frame::of(&site, choice, "/my/queries", &signed_in.session, masked(&resident.name));
    Ok(page(StatusCode::OK, &Queries { f, queries }))
}
