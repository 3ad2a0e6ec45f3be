//! The pages of a staffed checkpoint or sampling desk.

mod compare;
mod image;
mod page;
mod pictures;
mod recent;
mod scan;

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use axum::{Extension, Router};

use crate::site::Site;

pub(crate) fn routes() -> Router<Arc<Site>> {
    let pictures = Arc::new(pictures::Pictures::default());
    let image = post(image::scan)
        .layer::<_, Infallible>(DefaultBodyLimit::max(image::MAX_BODY_BYTES))
        .layer(Extension(pictures));
    Router::new()
        .route("/staff", get(page::show))
        .route("/staff/state", get(page::state))
        .route("/staff/recent", get(recent::show))
        .route("/staff/scan", post(scan::scan))
        .route("/staff/image", image)
        .route("/staff/compare", post(compare::compare))
}
