//! Puts the routes together.

use std::sync::Arc;

use axum::body::Bytes;
use axum::{Extension, Router};
use citycode_auth::{AccessTokens, Authenticate};
use citycode_domain::policy::Policy;
use citycode_service_kit::clock::Clock;
use citycode_service_kit::entropy::Entropy;

use crate::api::LocalTokens;
use crate::clients::Clients;
use crate::pictures::Pictures;
use crate::{api, middleware, openapi, page};

/// What a portal is made of.
pub struct PortalParts {
    /// The services behind.
    pub clients: Clients,
    /// The policy, for `/api/v1/policy` and for which scans need an id of their own: nothing is decided by it here.
    pub policy: Arc<Policy>,
    /// Verifies the callers' tokens.
    pub tokens: Arc<AccessTokens>,
    /// For the tokens' times and the length of calls.
    pub clock: Arc<dyn Clock>,
    /// For the ids of commands whose callers name none.
    pub entropy: Arc<dyn Entropy>,
    /// The access tokens that this machine issues itself, where it does.
    pub local_tokens: Option<LocalTokens>,
}

/// The portal. It holds no state beyond its connections.
pub struct Portal {
    router: Router,
}

/// What handlers share.
pub(crate) struct Shared {
    pub(crate) clients: Clients,
    pub(crate) policy: Arc<Policy>,
    pub(crate) local_tokens: Option<Arc<LocalTokens>>,
    /// The policy as it is answered.
    pub(crate) policy_json: Bytes,
    /// For streams that end with their caller's token.
    pub(crate) clock: Arc<dyn Clock>,
    /// Bounds what pictures cost.
    pub(crate) pictures: Pictures,
}

/// The state of every handler.
pub(crate) type SharedState = axum::extract::State<Arc<Shared>>;

impl Portal {
    /// Builds all routes once.
    #[must_use]
    pub fn new(parts: PortalParts) -> Self {
        let PortalParts {
            clients,
            policy,
            tokens,
            clock,
            entropy,
            local_tokens,
        } = parts;
        let shared = Arc::new(Shared {
            clients,
            policy_json: api::policy_json(&policy),
            policy,
            pictures: Pictures::new(Arc::clone(&clock)),
            local_tokens: local_tokens.map(Arc::new),
            clock: Arc::clone(&clock),
        });
        let (routes, description) = api::routes(openapi::start()).split_for_parts();
        let authenticated = routes
            .with_state(shared)
            .layer(Extension(entropy))
            .layer(Authenticate::optional(tokens, Arc::clone(&clock)));
        let described = openapi::routes(description).merge(page::routes());
        Self {
            router: middleware::finish(authenticated.merge(described), clock),
        }
    }

    /// The routes, complete with headers, spans and problems for unknown paths. Serve it with
    /// [`citycode_service_kit::serve::app`], or beside other routes on another server.
    pub fn into_router(self) -> Router {
        self.router
    }

    /// The description of the API as it stands at `/openapi.json`.
    #[must_use]
    pub fn openapi_json() -> Vec<u8> {
        let (_, description) = api::routes(openapi::start()).split_for_parts();
        openapi::finished(description)
    }
}
