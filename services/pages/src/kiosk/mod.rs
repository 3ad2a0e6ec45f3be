//! The pages of a kiosk.

use std::sync::Arc;

use axum::Router;

use crate::site::Site;

pub(crate) fn routes() -> Router<Arc<Site>> {
    Router::new()
}
