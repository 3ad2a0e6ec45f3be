//! The pages of a resident: the own codes, and those of relatives.

mod act;
mod codes_kept;
mod confirm;
pub(crate) mod family;
mod home;
mod kind;
mod lost_phone;
mod queries;
mod subject;

pub(crate) use kind::reissue_name;
pub(crate) use subject::{state_icon, state_word};

pub(crate) use crate::access::sign_in::masked;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use crate::site::Site;

pub(crate) fn routes() -> Router<Arc<Site>> {
    Router::new()
        .route("/my", get(home::show))
        .route("/my/family", get(family::show))
        .route("/my/family/add", post(family::add))
        .route("/my/family/consent", post(family::consent))
        .route("/my/family/end", post(family::end))
        .route("/my/queries", get(queries::show))
        .route("/my/lost-phone", get(lost_phone::show).post(lost_phone::report))
        .route("/my/{kind}", get(kind::show))
        .route("/my/{kind}/confirm", get(confirm::show))
        .route("/my/{kind}/issue", post(act::issue))
        .route("/my/{kind}/loss", post(act::report_loss))
        .route("/my/{kind}/show", post(act::show_code))
        .route("/my/{kind}/print", post(act::print))
        .route("/my/{kind}/download", post(act::download))
}
