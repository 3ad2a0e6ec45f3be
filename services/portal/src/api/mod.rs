//! The endpoints, one file per family. A handler reads its body, builds the gRPC message, and renders the answer.

mod acts;
mod as_of;
mod audit;
mod audit_export;
mod city_state;
mod codes;
mod history;
mod import;
mod keys;
mod log;
mod policy;
mod queries;
mod residents;
mod start_links;
mod status_keys;
mod status_lists;
mod tokens;
mod verify;
mod verify_image;
mod verify_stream;

use std::sync::Arc;

use axum::middleware::from_fn;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use audit::{RunAnswer, WhatIfAnswer};
pub(crate) use audit_export::{DailyRow, EventRow, ExportAnswer, VerdictRow};
pub(crate) use city_state::StateAnswer;
pub(crate) use import::{ImportAnswer, ImportOptions, ImportRow};
pub(crate) use log::CheckAnswer;
pub(crate) use policy::policy_json;
pub use tokens::LocalTokens;
pub(crate) use verify::{VerdictAnswer, VerifyBody};

use crate::middleware::within_time;
use crate::portal::Shared;

/// All endpoints; their descriptions are added to `description`.
pub(crate) fn routes(description: utoipa::openapi::OpenApi) -> OpenApiRouter<Arc<Shared>> {
    let answering_once = OpenApiRouter::with_openapi(description)
        .routes(routes!(residents::register))
        .routes(routes!(residents::relate))
        .routes(routes!(residents::unrelate))
        .routes(routes!(residents::rename))
        .routes(routes!(residents::erase))
        .routes(routes!(codes::issue))
        .routes(routes!(codes::reprint))
        .routes(routes!(codes::codes))
        .routes(routes!(acts::report_loss))
        .routes(routes!(acts::revoke))
        .routes(routes!(acts::revoke_code))
        .routes(routes!(acts::suspend))
        .routes(routes!(acts::reinstate))
        .routes(routes!(acts::standing))
        .routes(routes!(verify::verify))
        .routes(routes!(verify_image::verify_image))
        .routes(routes!(history::history))
        .routes(routes!(audit::explain))
        .routes(routes!(queries::queries))
        .routes(routes!(queries::queries_about))
        .routes(routes!(keys::list_keys))
        .routes(routes!(keys::rotate))
        .routes(routes!(keys::compromise))
        .routes(routes!(status_keys::status_keys))
        .routes(routes!(status_lists::list))
        .routes(routes!(status_lists::get))
        .routes(routes!(log::keys))
        .routes(routes!(log::checkpoint))
        .routes(routes!(log::witnessed))
        .routes(routes!(log::tile))
        .routes(routes!(log::prove))
        .routes(routes!(policy::policy))
        .routes(routes!(tokens::issue_token, tokens::list_tokens))
        .routes(routes!(tokens::revoke_token))
        .routes(routes!(start_links::make_start_link))
        .route_layer(from_fn(within_time));
    answering_once
        .routes(routes!(verify_stream::verify_stream))
        .routes(routes!(import::import))
        .routes(routes!(audit::run))
        .routes(routes!(city_state::state))
        .routes(routes!(audit::what_if))
        .routes(routes!(audit_export::export))
        .routes(routes!(log::check))
}
