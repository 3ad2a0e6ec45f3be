//! How readers get a session: start links, sign-in, and its end.

mod home;
pub(crate) mod oidc;
pub(crate) mod pair;
pub(crate) mod sign_in;
mod sign_out;
pub(crate) mod start;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use crate::site::Site;

pub(crate) fn routes() -> Router<Arc<Site>> {
    let router = Router::new()
        .route("/", get(home::show))
        .route("/ping", get(ping))
        .route("/pair", get(pair::show).post(pair::ask))
        .route("/pair/state", get(pair::state))
        .route("/start", get(start::show).post(start::take))
        .route("/sign-in/oidc", get(oidc::begin))
        .route("/sign-in/return", get(oidc::complete))
        .route("/sign-in", get(sign_in::show).post(sign_in::sign_in));
    sign_out::AREAS.into_iter().fold(router, |router, area| {
        router.route(&format!("{}/sign-out", area.path()), post(sign_out::sign_out))
    })
}

/// Tells a page that it is online.
async fn ping() -> http::StatusCode {
    http::StatusCode::NO_CONTENT
}
