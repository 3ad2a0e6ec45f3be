//! The authentication layer (tower) for gRPC and HTTP: it reads `authorization: Bearer`, verifies the token, and
//! inserts the [`Caller`] into the request's extensions. An invalid token ends the call, with a gRPC status or
//! problem JSON.
//!
//! Authorisation is the task of each method, which obtains the caller with [`caller`] (gRPC), [`axum::Extension`] or
//! [`Caller`]'s own extractor (HTTP).

use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse as _, Response};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, Request};
use tower::{Layer, Service};

use super::access::{AccessTokens, AuthError};
use super::caller::Caller;
use super::stream_end::end_stream_when;
use citycode_service_kit::clock::Clock;
use citycode_service_kit::peer::PeerKind;
use citycode_service_kit::problem::Problem;
use citycode_service_kit::serve::CallHandle;

/// The layer. It wraps services whose methods need the caller, and must be outside of all layers that use the caller.
#[derive(Clone)]
pub struct Authenticate {
    tokens: Arc<AccessTokens>,
    clock: Arc<dyn Clock>,
    required: bool,
    /// Paths that need no token although others do.
    public: &'static [&'static str],
    in_process: bool,
}

impl std::fmt::Debug for Authenticate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authenticate")
            .field("required", &self.required)
            .finish_non_exhaustive()
    }
}

impl Authenticate {
    /// Refuses every call without a valid token by its headers; its body is not read.
    #[must_use]
    pub fn required(tokens: Arc<AccessTokens>, clock: Arc<dyn Clock>) -> Self {
        Self {
            tokens,
            clock,
            required: true,
            public: &[],
            in_process: false,
        }
    }

    /// Lets calls without a token pass, without a caller, for services with some public routes. A token, if present,
    /// must be valid nevertheless. Methods that need a caller must check for it.
    #[must_use]
    pub fn optional(tokens: Arc<AccessTokens>, clock: Arc<dyn Clock>) -> Self {
        Self {
            required: false,
            ..Self::required(tokens, clock)
        }
    }

    /// Lets calls of these paths pass without a token, as [`Authenticate::optional`] does for all.
    #[must_use]
    pub fn with_public_paths(self, public: &'static [&'static str]) -> Self {
        Self { public, ..self }
    }

    /// Counts calls without a socket as [`PeerKind::InProcess`]. Use it only for a service that is called through an
    /// in-memory channel by an API that has already authenticated the caller.
    #[must_use]
    pub fn in_process(mut self) -> Self {
        self.in_process = true;
        self
    }

    fn check<B>(&self, request: &Request<B>) -> Result<Option<Arc<Caller>>, AuthError> {
        let (headers, extensions) = (request.headers(), request.extensions());
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let Some(value) = values.next() else {
            return if self.required && !self.public.contains(&request.uri().path()) {
                Err(AuthError::Missing)
            } else {
                Ok(None)
            };
        };
        // With two headers, another hop may have checked the other one.
        if values.next().is_some() {
            return Err(AuthError::Malformed);
        }
        let text = value.to_str().map_err(|_| AuthError::Malformed)?;
        let no_socket = extensions.get::<tonic::transport::server::TcpConnectInfo>().is_none()
            && extensions
                .get::<axum::extract::ConnectInfo<std::net::SocketAddr>>()
                .is_none();
        let peer = if self.in_process && no_socket {
            PeerKind::InProcess
        } else {
            PeerKind::of_request(headers, extensions)
        };
        self.tokens.verify_bearer(text, peer, self.clock.now()).map(Some)
    }
}

impl<S> Layer<S> for Authenticate {
    type Service = AuthenticateService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        AuthenticateService {
            inner,
            rules: self.clone(),
        }
    }
}

/// A service wrapped by [`Authenticate`].
#[derive(Debug, Clone)]
pub struct AuthenticateService<S> {
    inner: S,
    rules: Authenticate,
}

/// The gRPC name of the inner service, so that the wrapped one can be added to routes.
impl<S: tonic::server::NamedService> tonic::server::NamedService for AuthenticateService<S> {
    const NAME: &'static str = S::NAME;
}

impl<S, B> Service<Request<B>> for AuthenticateService<S>
where
    S: Service<Request<B>>,
    S::Response: axum::response::IntoResponse,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // A client cannot set extensions, but an outer layer might have set one.
        request.extensions_mut().remove::<Arc<Caller>>();
        match self.rules.check(&request) {
            Ok(caller) => {
                let revocation = caller.as_ref().and_then(|caller| self.rules.tokens.revocation(caller));
                if let Some(caller) = caller {
                    if let Some(call) = request.extensions().get::<CallHandle>() {
                        call.authenticate();
                    }
                    request.extensions_mut().insert(caller);
                }
                let answer = self.inner.call(request);
                Box::pin(async move {
                    let response = answer.await?.into_response();
                    Ok(match revocation {
                        Some(revocation) => end_stream_when(revocation, AuthError::Revoked, response),
                        None => response,
                    })
                })
            }
            Err(error) => {
                tracing::info!(%error, "call refused");
                metrics::counter!("citycode_auth_refused_total").increment(1);
                let answer: Ready<_> = ready(Ok(refusal(request.headers(), error)));
                Box::pin(answer)
            }
        }
    }
}

fn refusal(headers: &HeaderMap, error: AuthError) -> Response {
    let problem = Problem::from(error);
    let grpc = headers
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if grpc {
        tonic::Status::from(problem).into_http::<Body>()
    } else {
        problem.into_response()
    }
}

/// The caller of a gRPC request.
///
/// # Errors
/// `UNAUTHENTICATED` if the call had no token.
pub fn caller<T>(request: &tonic::Request<T>) -> Result<Arc<Caller>, Problem> {
    request
        .extensions()
        .get::<Arc<Caller>>()
        .cloned()
        .ok_or_else(|| AuthError::Missing.into())
}

/// The caller of an HTTP request on routes with an optional token.
#[must_use]
pub fn optional_caller(parts: &Parts) -> Option<Arc<Caller>> {
    parts.extensions.get::<Arc<Caller>>().cloned()
}

/// Lets handlers take `caller: Caller`; without a token the call ends as `not_allowed` with status 401.
impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match optional_caller(parts) {
            Some(caller) => Ok((*caller).clone()),
            None => Err(AuthError::Missing.into()),
        }
    }
}
