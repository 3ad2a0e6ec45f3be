//! The pages of a resident: the own codes, and those of relatives.

mod act;
mod codes_kept;
mod confirm;
mod home;
mod kind;
mod subject;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use crate::site::Site;

pub(crate) fn routes() -> Router<Arc<Site>> {
    Router::new()
        .route("/my", get(home::show))
        .route("/my/{kind}", get(kind::show))
        .route("/my/{kind}/confirm", get(confirm::show))
        .route("/my/{kind}/issue", post(act::issue))
        .route("/my/{kind}/loss", post(act::report_loss))
        .route("/my/{kind}/show", post(act::show_code))
        .route("/my/{kind}/print", post(act::print))
        .route("/my/{kind}/download", post(act::download))
}
