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
use axum::extract::{Path, Query};
use axum::response::Redirect;
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
        .route("/my/{kind}/issue", get(back_to_kind).post(act::issue))
        .route("/my/{kind}/loss", get(back_to_kind).post(act::report_loss))
        .route("/my/{kind}/show", get(back_to_kind).post(act::show_code))
        .route("/my/{kind}/print", post(act::print))
        .route("/my/{kind}/download", post(act::download))
}

/// Somebody who opens the address of an act, for example by Back or from the history, sees the code as it is.
async fn back_to_kind(Path(kind): Path<String>, Query(query): Query<kind::For>) -> Redirect {
    let plain = kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let kind = if plain { kind } else { String::new() };
    match query.relative {
        Some(number) => Redirect::to(&format!("/my/{kind}?for={number}")),
        None => Redirect::to(&format!("/my/{kind}")),
    }
}
