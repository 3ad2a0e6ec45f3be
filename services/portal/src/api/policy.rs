//! The policy for clients: kinds, places and channels with their labels.

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use citycode_domain::policy::{Label, Policy};
use http::header::CACHE_CONTROL;
use serde::Serialize;
use utoipa::ToSchema;

use crate::answer::json_bytes;
use crate::portal::SharedState;

/// The policy changes only with a restart.
const POLICY_CACHE: &str = "public, max-age=60";

/// The policy as clients need it.
#[derive(Serialize, ToSchema)]
pub(crate) struct PolicyAnswer<'a> {
    /// Short name.
    #[schema(example = "shanghai")]
    name: &'a str,
    /// The label for people.
    label: LabelAnswer<'a>,
    /// IANA time zone whose local date determines ages.
    #[schema(example = "Asia/Shanghai")]
    time_zone: &'a str,
    /// The kinds of code.
    kinds: Vec<KindAnswer<'a>>,
    /// The places that check codes.
    places: Vec<NamedAnswer<'a>>,
    /// The channels through which holders get codes.
    channels: Vec<NamedAnswer<'a>>,
    /// The time limits of a phone's proof.
    proof: ProofAnswer,
}

/// A label for people.
#[derive(Serialize, ToSchema)]
struct LabelAnswer<'a> {
    /// 中文.
    zh: &'a str,
    /// English.
    en: &'a str,
}

/// A kind of code.
#[derive(Serialize, ToSchema)]
struct KindAnswer<'a> {
    /// Its name in requests.
    #[schema(example = "offline")]
    name: &'a str,
    /// The label for people.
    label: LabelAnswer<'a>,
    /// Validity period from issue.
    validity_seconds: i64,
    /// Whether it is presented by a phone, with a fresh proof by its key.
    device_bound: bool,
    /// Whether it is intended for paper.
    on_paper: bool,
}

/// A place or channel.
#[derive(Serialize, ToSchema)]
struct NamedAnswer<'a> {
    /// Its name in requests.
    #[schema(example = "sentinel")]
    name: &'a str,
    /// The label for people.
    label: LabelAnswer<'a>,
}

/// The time limits of a phone's proof.
#[derive(Serialize, ToSchema)]
struct ProofAnswer {
    /// How old it may be.
    max_age_seconds: i64,
    /// How far ahead of the verifier's clock it may be.
    max_ahead_seconds: i64,
}

/// The answer's bytes, serialised once.
pub(crate) fn policy_json(policy: &Policy) -> Bytes {
    let answer = PolicyAnswer {
        name: &policy.name,
        label: label_answer(&policy.label),
        time_zone: &policy.time_zone,
        kinds: policy
            .kinds
            .iter()
            .map(|kind| KindAnswer {
                name: &kind.name,
                label: label_answer(&kind.label),
                validity_seconds: kind.validity_seconds,
                device_bound: kind.device_bound,
                on_paper: kind.on_paper,
            })
            .collect(),
        places: policy
            .places
            .iter()
            .map(|place| NamedAnswer {
                name: &place.name,
                label: label_answer(&place.label),
            })
            .collect(),
        channels: policy
            .channels
            .iter()
            .map(|channel| NamedAnswer {
                name: &channel.name,
                label: label_answer(&channel.label),
            })
            .collect(),
        proof: ProofAnswer {
            max_age_seconds: policy.proof.max_age_seconds,
            max_ahead_seconds: policy.proof.max_ahead_seconds,
        },
    };
    serde_json::to_vec(&answer)
        .expect("strings and numbers are JSON")
        .into()
}

fn label_answer(label: &Label) -> LabelAnswer<'_> {
    LabelAnswer {
        zh: &label.zh,
        en: &label.en,
    }
}

/// Returns kinds, places and channels with their labels.
#[utoipa::path(get, path = "/api/v1/policy", tag = "policy",
    responses((status = 200, description = "The policy as clients need it", body = PolicyAnswer)))]
pub(crate) async fn policy(State(shared): SharedState) -> Response {
    let answer = json_bytes(shared.policy_json.clone());
    ([(CACHE_CONTROL, POLICY_CACHE)], answer).into_response()
}
