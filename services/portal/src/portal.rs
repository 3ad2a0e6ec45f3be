//! Combines the routes.

use std::sync::Arc;

use axum::body::Bytes;
use axum::{Extension, Router};
use citycode_auth::{AccessTokens, Authenticate};
use citycode_domain::policy::Policy;
use citycode_pages::{Pages, StartLinks};
use citycode_service_kit::clock::Clock;
use citycode_service_kit::entropy::Entropy;

use crate::api::LocalTokens;
use crate::pictures::Pictures;
use crate::{api, middleware, openapi, page};
use citycode_service_clients::Clients;

/// The parts of a portal.
pub struct PortalParts {
    /// The clients of the services.
    pub clients: Clients,
    /// The policy, for `/api/v1/policy` and to determine which scans need an id; the portal decides nothing by it.
    pub policy: Arc<Policy>,
    /// Verifies the callers' tokens.
    pub tokens: Arc<AccessTokens>,
    /// The clock for tokens and durations.
    pub clock: Arc<dyn Clock>,
    /// The randomness for the ids of commands whose callers set none.
    pub entropy: Arc<dyn Entropy>,
    /// The access tokens that this machine issues itself, if it does.
    pub local_tokens: Option<LocalTokens>,
    /// The web pages; without them there is only a short page at `/`.
    pub pages: Option<Pages>,
}

/// The portal. It has no state except its connections.
pub struct Portal {
    router: Router,
}

/// The shared state of handlers.
pub(crate) struct Shared {
    pub(crate) clients: Clients,
    pub(crate) policy: Arc<Policy>,
    pub(crate) local_tokens: Option<Arc<LocalTokens>>,
    /// Makes start links of the web pages.
    pub(crate) start_links: Option<StartLinks>,
    /// The serialised policy.
    pub(crate) policy_json: Bytes,
    /// The clock for streams that end with their caller's token.
    pub(crate) clock: Arc<dyn Clock>,
    /// The limits on pictures.
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
            pages,
        } = parts;
        let shared = Arc::new(Shared {
            clients,
            policy_json: api::policy_json(&policy),
            policy,
            pictures: Pictures::new(Arc::clone(&clock)),
            start_links: pages.as_ref().map(Pages::start_links),
            local_tokens: local_tokens.map(Arc::new),
            clock: Arc::clone(&clock),
        });
        let (routes, description) = api::routes(openapi::start()).split_for_parts();
        let authenticated = routes
            .with_state(shared)
            .layer(Extension(entropy))
            .layer(Authenticate::optional(tokens, Arc::clone(&clock)));
        let unknown_addresses = pages.as_ref().map(Pages::unknown_addresses);
        let pages = pages.map_or_else(page::routes, Pages::into_router);
        let routes = authenticated.merge(openapi::routes(description).merge(pages));
        Self {
            router: middleware::finish(routes, unknown_addresses, clock),
        }
    }

    /// The routes, including headers, spans and problems for unknown paths. Serve them with
    /// [`citycode_service_kit::serve::app`], or with other routes on another server.
    pub fn into_router(self) -> Router {
        self.router
    }

    /// The description of the API as served at `/openapi.json`.
    #[must_use]
    pub fn openapi_json() -> Vec<u8> {
        let (_, description) = api::routes(openapi::start()).split_for_parts();
        openapi::finished(description)
    }
}
