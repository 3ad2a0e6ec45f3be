//! The age of the verifier's state, which the page shows and asks for each second.

use std::time::Duration;

use askama::Template;
use axum::response::{IntoResponse as _, Response};
use citycode_domain::policy::PlacePolicy;
use citycode_wire::proto::verifier::v1::{GetKnowledgeRequest, GetKnowledgeResponse};
use http::StatusCode;

use super::checkpoint::AtCheckpoint;
use crate::frame::{Frame, page};
use crate::site::Site;

/// How long the answer may take: the page notices a cut within two seconds.
const ANSWER_WITHIN: Duration = Duration::from_millis(800);

/// How old the state of the verifier that answered is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Knowledge {
    /// `None` if the state was never complete.
    pub(crate) age_ms: Option<u64>,
    /// Whether codes can be checked at the place.
    pub(crate) fresh: bool,
}

/// The part of the page that shows it.
#[derive(Template)]
#[template(path = "checks/sync.html")]
struct SyncPart<'a> {
    f: &'a Frame<'a>,
    known: Option<Knowledge>,
}

impl Knowledge {
    /// Asks a verifier; `None` if it does not answer.
    pub(crate) async fn ask(site: &Site, at: &AtCheckpoint, place: &PlacePolicy) -> Option<Self> {
        let request = GetKnowledgeRequest {
            place: place.name.clone(),
        };
        let request = site.request(&at.caller(site, place), request).ok()?;
        let mut verifier = site.clients.verifier.clone();
        let answered = tokio::time::timeout(ANSWER_WITHIN, verifier.get_knowledge(request)).await;
        let GetKnowledgeResponse { age_ms, fresh } = answered.ok()?.ok()?.into_inner();
        Some(Self { age_ms, fresh })
    }

    /// The value of `data-age-ms`; empty if it is unknown.
    pub(crate) fn age_attribute(&self) -> String {
        self.age_ms.map(|age| age.to_string()).unwrap_or_default()
    }

    /// The age as a sentence.
    pub(crate) fn sentence(&self, f: &Frame<'_>) -> String {
        let Some(age_ms) = self.age_ms else {
            return f.t("knowledge-none");
        };
        let seconds = age_ms.div_ceil(1_000).max(1);
        let id = match (self.fresh, seconds) {
            (true, 1) => return f.t("knowledge-now"),
            (true, _) => "knowledge-age",
            (false, _) => "knowledge-old",
        };
        f.t1(id, "seconds", &seconds.to_string())
    }
}

/// The part of the page that is asked for each second. Without an answer of a verifier its status is 503, which the page
/// shows as offline.
pub(crate) fn part(f: &Frame<'_>, known: Option<Knowledge>) -> Response {
    let status = if known.is_some() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    page(status, &SyncPart { f, known }).into_response()
}
