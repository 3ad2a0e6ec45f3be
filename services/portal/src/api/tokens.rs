//! Access tokens of the machine's own authority, for trials. Only a system in one process has such an authority, and
//! only its local admin, whose calls come from the same machine, may use these operations.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use citycode_auth::{Caller, IssuedError, IssuedToken, IssuedTokens, TokenId, TokenRequest};
use citycode_service_kit::clock::{Clock, UnixSeconds};
use citycode_service_kit::entropy::Entropy;
use citycode_service_kit::problem::{Code, JsonBody, Problem};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::answer::{Instant, invalid, json};
use crate::portal::{Shared, SharedState};

/// The dependencies for issuing tokens.
pub struct LocalTokens {
    /// The tokens.
    pub issued: Arc<IssuedTokens>,
    /// The clock for their times.
    pub clock: Arc<dyn Clock>,
    /// The randomness for their ids.
    pub entropy: Arc<dyn Entropy>,
}

/// A request for a token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenBody {
    /// `channel:NAME`, `officer`, `health_authority`, `verifier:PLACE[,PLACE]:DEVICE`, `auditor`, `privacy`; never `admin`.
    #[schema(min_items = 1, max_items = 16, example = json!(["verifier:sentinel:gate-7"]))]
    roles: Vec<String>,
    /// Lifetime in seconds, at most a day.
    #[schema(minimum = 1, maximum = 86_400, example = 28_800)]
    lifetime_seconds: i64,
    /// The subject, visible ASCII without spaces; one is created if it is absent.
    #[schema(min_length = 1, max_length = 128, example = "gate-7")]
    subject: Option<String>,
    /// Whether the bearer reads ID cards.
    #[serde(default)]
    card_reader: bool,
}

/// An empty body.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NothingBody {}

/// An issued token.
#[derive(Serialize, ToSchema)]
pub(crate) struct TokenAnswer<'a> {
    /// Its id, 16 hex digits.
    #[schema(example = "0123456789abcdef")]
    id: &'a str,
    /// The subject.
    #[schema(example = "gate-7")]
    subject: &'a str,
    /// Its roles.
    roles: &'a [String],
    /// Whether the bearer reads ID cards.
    card_reader: bool,
    /// Issued at.
    #[schema(value_type = String, format = DateTime)]
    issued_at: Instant,
    /// Expires at.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Instant,
    /// Revoked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    revoked_at: Option<Instant>,
    /// The token itself, only in the answer to issuing it.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
}

/// The tokens that have not expired.
#[derive(Serialize, ToSchema)]
pub(crate) struct TokensAnswer<'a> {
    /// The oldest first.
    tokens: Vec<TokenAnswer<'a>>,
}

impl<'a> TokenAnswer<'a> {
    fn of(issued: &'a IssuedToken, token: Option<&'a str>) -> Self {
        Self {
            id: &issued.id,
            subject: &issued.subject,
            roles: &issued.roles,
            card_reader: issued.card_reader,
            issued_at: Instant(issued.issued_at),
            expires_at: Instant(issued.expires_at),
            revoked_at: issued.revoked_at.map(Instant),
            token,
        }
    }
}

/// Issues an access token for a trial; only for the local admin of a system in one process. The token's record is
/// durable before the answer.
#[utoipa::path(post, path = "/api/v1/tokens", tag = "tokens", request_body = TokenBody,
    responses((status = 200, description = "The token", body = TokenAnswer)))]
pub(crate) async fn issue_token(
    State(shared): SharedState,
    caller: Caller,
    JsonBody(body): JsonBody<TokenBody>,
) -> Result<Response, Problem> {
    let request = TokenRequest {
        subject: body.subject,
        roles: body.roles,
        card_reader: body.card_reader,
        lifetime_seconds: body.lifetime_seconds,
    };
    let (tokens, now) = tokens_of(&shared, &caller)?;
    let issuing = move || tokens.issued.issue(&request, &*tokens.entropy, now);
    let (issued, token) = blocking(issuing).await?;
    tracing::info!(id = issued.id, "an access token was issued");
    json(&TokenAnswer::of(&issued, Some(&token)))
}

/// Returns the issued tokens that have not expired, without the tokens themselves, which are not stored.
#[utoipa::path(get, path = "/api/v1/tokens", tag = "tokens",
    responses((status = 200, description = "The tokens", body = TokensAnswer)))]
pub(crate) async fn list_tokens(State(shared): SharedState, caller: Caller) -> Result<Response, Problem> {
    let (tokens, now) = tokens_of(&shared, &caller)?;
    let known = tokens.issued.list(now);
    json(&TokensAnswer {
        tokens: known.iter().map(|token| TokenAnswer::of(token, None)).collect(),
    })
}

/// Revokes a token, durably before the answer: it is refused from then on, and its open streams end.
#[utoipa::path(post, path = "/api/v1/tokens/{id}/revoke", tag = "tokens", request_body = NothingBody,
    params(("id" = String, Path, description = "The token's id, 16 hex digits")),
    responses((status = 200, description = "What was revoked", body = TokenAnswer)))]
pub(crate) async fn revoke_token(
    State(shared): SharedState,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
    JsonBody(_nothing): JsonBody<NothingBody>,
) -> Result<Response, Problem> {
    let unknown = || Problem::new(Code::NotFound, "there is no unexpired token with this id");
    let (tokens, now) = tokens_of(&shared, &caller)?;
    let id = id.ok().and_then(|Path(id)| TokenId::parse(&id)).ok_or_else(unknown)?;
    let revoked = blocking(move || tokens.issued.revoke(id, now))
        .await?
        .ok_or_else(unknown)?;
    tracing::info!(id = revoked.id, "an access token was revoked");
    json(&TokenAnswer::of(&revoked, None))
}

/// The tokens, only for the local admin. The verification of its token has checked that the call came from this
/// machine.
fn tokens_of(shared: &Shared, caller: &Caller) -> Result<(Arc<LocalTokens>, UnixSeconds), Problem> {
    if !caller.local_admin {
        return Err(Problem::new(
            Code::NotAllowed,
            "only the local admin of the machine may issue and revoke its tokens",
        ));
    }
    let tokens = shared.local_tokens.as_ref();
    let tokens = tokens.ok_or_else(|| Problem::new(Code::NotFound, "this system has no authority of its own"))?;
    Ok((Arc::clone(tokens), tokens.clock.now()))
}

async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, IssuedError> + Send + 'static,
) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(act)
        .await
        .map_err(|_| Problem::internal())?;
    done.map_err(|error| match error {
        IssuedError::Role(_)
        | IssuedError::RoleCount
        | IssuedError::Admin
        | IssuedError::Lifetime
        | IssuedError::Subject => invalid(error.to_string()),
        IssuedError::TooMany => Problem::new(Code::RateLimited, error.to_string()),
        IssuedError::File(_) | IssuedError::Authority(_) | IssuedError::Damaged(_) => {
            tracing::error!(%error, "the list of issued tokens cannot be written");
            Problem::new(Code::Unavailable, "the list of issued tokens cannot be written")
        }
    })
}
