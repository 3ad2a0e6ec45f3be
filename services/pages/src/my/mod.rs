//! The pages of a resident: the own codes, and those of relatives.

mod act;
mod codes_kept;
mod confirm;
pub(crate) mod family;
mod files;
mod home;
mod kind;
mod lost_phone;
mod queries;
mod result;
mod results;
mod subject;

pub(crate) use kind::reissue_name;
pub(crate) use subject::{state_icon, state_word};

pub(crate) use crate::access::sign_in::masked;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query};
use axum::response::Redirect;
use axum::routing::get;

use crate::site::Site;

pub(crate) fn routes() -> Router<Arc<Site>> {
    Router::new()
        .route("/my", get(home::show))
        .route("/my/family", get(family::show))
        .route("/my/family/add", get(back_to_family).post(family::add))
        .route("/my/family/consent", get(back_to_family).post(family::consent))
        .route("/my/family/end", get(back_to_family).post(family::end))
        .route("/my/family/said/{id}", get(family::said))
        .route("/my/queries", get(queries::show))
        .route("/my/lost-phone", get(lost_phone::show).post(lost_phone::report))
        .route("/my/lost-phone/done", get(lost_phone::done))
        .route("/my/{kind}", get(kind::show))
        .route("/my/{kind}/confirm", get(confirm::show))
        .route("/my/{kind}/issue", get(back_to_kind).post(act::issue))
        .route("/my/{kind}/loss", get(back_to_kind).post(act::report_loss))
        .route("/my/{kind}/show", get(back_to_kind).post(act::show_code))
        .route("/my/{kind}/print", get(back_to_kind).post(act::print))
        .route("/my/{kind}/download", get(back_to_kind).post(act::download))
        .route("/my/{kind}/result/{id}", get(result::show))
        .route("/my/{kind}/sheet/{id}", get(result::sheet))
}

async fn back_to_family() -> Redirect {
    Redirect::to("/my/family")
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
