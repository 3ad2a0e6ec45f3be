//! The page of an unattended gate.

mod page;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use crate::site::Site;

pub(crate) fn routes() -> Router<Arc<Site>> {
    Router::new()
        .route("/gate", get(page::show))
        .route("/gate/state", get(page::state))
        .route("/gate/scan", post(page::scan))
}
