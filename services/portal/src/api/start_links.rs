//! Start links of the web pages: only a system in one process makes them, and only for its local admin.

use axum::extract::State;
use axum::response::Response;
use citycode_auth::Caller;
use citycode_pages::{START_LINK_SECONDS, StartFor};
use citycode_service_kit::problem::{Code, JsonBody, Problem};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::answer::{Instant, invalid, json};
use crate::portal::SharedState;

/// A request for a start link.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"identity": "staff"}))]
pub(crate) struct StartLinkBody {
    /// `resident`, `kiosk`, `staff`, `gate`, or a role of `/ops`: `officer`, `health_authority`, `auditor`, `privacy`,
    /// `admin`.
    #[schema(example = "staff")]
    identity: String,
    /// The resident's ID number; only with `resident`.
    id_number: Option<String>,
}

/// A start link.
#[derive(Serialize, ToSchema)]
pub(crate) struct StartLinkAnswer<'a> {
    /// The secret, for the address `/start#SECRET`. It works once, on this machine.
    #[schema(example = "ABCD-EFGH-IJKL-MNOP")]
    secret: &'a str,
    /// When it expires.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Instant,
}

/// Makes a start link of the web pages; only for the local admin of a system in one process.
#[utoipa::path(post, path = "/api/v1/start-links", tag = "pages", request_body = StartLinkBody,
    responses((status = 200, description = "The start link", body = StartLinkAnswer)))]
pub(crate) async fn make_start_link(
    State(shared): SharedState,
    caller: Caller,
    JsonBody(body): JsonBody<StartLinkBody>,
) -> Result<Response, Problem> {
    if !caller.local_admin {
        return Err(Problem::new(
            Code::NotAllowed,
            "only the local admin of a system in one process makes start links",
        ));
    }
    let links = shared
        .start_links
        .as_ref()
        .ok_or_else(|| Problem::new(Code::NotImplemented, "this deployment has no start links"))?;
    let wanted = match (body.identity.as_str(), body.id_number) {
        ("resident", Some(id_number)) => StartFor::Resident {
            id_number,
            name: String::new(),
        },
        ("resident", None) => return Err(invalid("id_number is missing")),
        (_, Some(_)) => return Err(invalid("id_number stands only with the identity resident")),
        (identity, None) => StartFor::Identity(identity.to_owned()),
    };
    let secret = links.make(&wanted).await?;
    json(&StartLinkAnswer {
        secret: &secret,
        expires_at: Instant(shared.clock.now().0 + START_LINK_SECONDS),
    })
}
