//! The age of the verifiers' state, place by place.

use std::time::Duration;

use citycode_domain::policy::PlacePolicy;
use citycode_wire::proto::verifier::v1::{GetKnowledgeRequest, GetKnowledgeResponse};
use futures::future::join_all;

use super::numbers;
use crate::caller::PageCaller;
use crate::frame::Frame;
use crate::site::Site;

/// How long the verifier may take.
const WITHIN: Duration = Duration::from_secs(1);

/// The state at one place.
pub(super) struct AtPlace {
    pub(super) name: String,
    pub(super) label: String,
    /// The age in words.
    pub(super) age: String,
    pub(super) limit: String,
    /// Whether codes can be checked there; `None` if the verifier did not answer.
    pub(super) is_fresh: Option<bool>,
}

/// The state at each place of the policy, as the verifier that answers has it.
pub(super) async fn of_places(site: &Site, caller: &PageCaller, f: &Frame<'_>) -> Vec<AtPlace> {
    let asked = site.policy.places.iter().map(|place| async move {
        let answer = tokio::time::timeout(WITHIN, ask(site, caller, place)).await;
        at_place(f, place, answer.ok().flatten().as_ref())
    });
    join_all(asked).await
}

/// The verifier's answer; `None` if there is none.
async fn ask(site: &Site, caller: &PageCaller, place: &PlacePolicy) -> Option<GetKnowledgeResponse> {
    let request = GetKnowledgeRequest {
        place: place.name.clone(),
    };
    let request = site.request(caller, request).ok()?;
    let answer = site.clients.verifier.clone().get_knowledge(request).await;
    answer.ok().map(tonic::Response::into_inner)
}

fn at_place(f: &Frame<'_>, place: &PlacePolicy, answer: Option<&GetKnowledgeResponse>) -> AtPlace {
    let milliseconds = |number: u64| f.t1("ops-milliseconds", "number", &numbers::grouped(number));
    AtPlace {
        name: place.name.clone(),
        label: f.label(&place.label),
        age: match answer.map(|answer| answer.age_ms) {
            Some(Some(age)) => milliseconds(age),
            Some(None) => f.t("ops-knowledge-none"),
            None => f.t("ops-knowledge-away"),
        },
        limit: milliseconds(place.max_knowledge_age_ms),
        is_fresh: answer.map(|answer| answer.fresh),
    }
}
