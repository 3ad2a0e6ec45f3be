//! The pages of operations: counts, devices, codes, officers' acts, import, keys, policy, audit.
//!
//! | module | content |
//! |---|---|
//! | `access` | which role may see which page, and the operator of a request |
//! | `fields`, `confirm`, `result` | forms with errors beside their fields, the step before an act, what it did |
//! | `streamed` | pages whose answer takes long: they are sent in parts |
//! | `asking`, `knowledge` | questions that several pages ask the services |
//! | the others | one for each page |

mod access;
mod asking;
mod audit;
mod code;
mod components;
mod confirm;
mod counts;
mod devices;
mod fields;
mod import;
mod keys;
mod knowledge;
mod numbers;
mod officer;
mod policy;
mod policy_words;
mod result;
mod streamed;
#[cfg(test)]
mod tests;
mod timeline;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::get;
use axum::{Extension, Router};

use crate::problem_page::PageError;
use crate::session::{Operator, SignedIn};
use crate::site::Site;
use access::Tab;

/// What the pages of one process remember between requests.
#[derive(Default)]
struct Memory {
    counts: counts::Counts,
    pairing: devices::Attempts,
}

type SharedMemory = Extension<Arc<Memory>>;

pub(crate) fn routes() -> Router<Arc<Site>> {
    let upload = DefaultBodyLimit::max(import::MAX_UPLOAD_BYTES);
    Router::new()
        .route("/ops", get(start))
        .route("/ops/counts", get(counts::show))
        .route("/ops/counts/live", get(counts::live))
        .route("/ops/counts/table", get(counts::table))
        .route("/ops/counts/scans", get(counts::to_counts).post(counts::scans))
        .route("/ops/devices", get(devices::show).post(devices::pair))
        .route("/ops/devices/end", get(devices::ask).post(devices::end))
        .route("/ops/code", get(code::show).post(code::find))
        .route("/ops/officer", get(officer::show))
        .route("/ops/officer/{act}", get(officer::form))
        .route("/ops/officer/{act}/confirm", get(officer::again).post(officer::confirm))
        .route("/ops/officer/{act}/done", get(officer::again).post(officer::perform))
        .route("/ops/import", get(import::show).post(import::run).layer(upload))
        .route(
            "/ops/import/rejects",
            get(import::again).post(import::rejects).layer(upload),
        )
        .route("/ops/keys", get(keys::show))
        .route("/ops/keys/rotate", get(keys::ask_rotate).post(keys::rotate))
        .route("/ops/keys/compromise", get(keys::ask_compromise).post(keys::compromise))
        .route("/ops/policy", get(policy::show).post(policy::compare))
        .route("/ops/audit", get(audit::show))
        .route("/ops/audit/explain", get(audit::again).post(audit::explain))
        .route("/ops/audit/what-if", get(audit::again).post(audit::what_if))
        .route("/ops/components", get(components::show))
        .layer(Extension(Arc::new(Memory::default())))
}

/// `/ops` leads to the first page that the operator may see.
async fn start(signed_in: SignedIn<Operator>) -> Result<Response, PageError> {
    let first = Tab::ALL.into_iter().find(|tab| tab.is_open_to(&signed_in.who.roles));
    let first = first.ok_or(PageError::Forbidden)?;
    Ok(Redirect::to(&first.path()).into_response())
}
