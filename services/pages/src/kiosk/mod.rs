//! The pages of a kiosk, for a person who stands in front of it.
//!
//! | step | path | module |
//! |---|---|---|
//! | 请刷身份证 | `/kiosk` | `idle`, `identify`, `reading`, `number` |
//! | for whom, and what | `/kiosk/who`, `/kiosk/relative`, `/kiosk/codes` | `choose` |
//! | what stops working | `/kiosk/confirm` | `confirm` |
//! | the act | `/kiosk/act/ACT`, `/kiosk/print-again` | `act` |
//! | the print, 打印出来了吗？, or why not | `/kiosk/done`, `/kiosk/act/refused`, `/kiosk/act/pending` | `outcome`, `print_folder` |
//! | 结束办理 | `/kiosk/finish` | `idle` |
//!
//! Between the steps the kiosk knows the person from a sealed cookie (`visit`); no address contains anything personal.
//! Every step works without JavaScript, except that only JavaScript can start the browser's printer and end a visit
//! that somebody left.

mod act;
mod at;
mod choose;
mod confirm;
mod identify;
mod idle;
mod number;
mod outcome;
mod print_folder;
mod reading;
pub(crate) mod settings;
#[cfg(test)]
mod tests;
mod visit;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use citycode_service_kit::limits::{REMEMBERED_CALLERS, Rate, RateLimiter};

use crate::site::Site;

/// Typed ID numbers of one kiosk. It serves about one person a minute; each may mistype a few times.
const NUMBERS: Rate = Rate {
    burst: 30,
    per_minute: 10,
};
/// PINs of one kiosk: an attendant types one for each person.
const PINS: Rate = Rate {
    burst: 10,
    per_minute: 3,
};

/// Limits of what is typed at a kiosk, by the device's id; each portal counts for itself.
pub(crate) struct Tries {
    numbers: RateLimiter<String>,
    pins: RateLimiter<String>,
}

impl Default for Tries {
    fn default() -> Self {
        Self {
            numbers: RateLimiter::new(NUMBERS, REMEMBERED_CALLERS),
            pins: RateLimiter::new(PINS, REMEMBERED_CALLERS),
        }
    }
}

pub(crate) fn routes() -> Router<Arc<Site>> {
    Router::new()
        .route("/kiosk", get(idle::show))
        .route("/kiosk/person", post(identify::present))
        .route("/kiosk/number", get(identify::show_number))
        .route("/kiosk/identify", get(identify::show_identify).post(identify::confirm))
        .route("/kiosk/who", get(choose::who))
        .route("/kiosk/relative", get(choose::show_relative).post(choose::relative))
        .route("/kiosk/codes", get(choose::codes))
        .route("/kiosk/confirm", get(confirm::show))
        .route("/kiosk/act/{act}", post(act::act))
        .route("/kiosk/act/refused", get(outcome::refused))
        .route("/kiosk/act/pending", get(outcome::pending))
        .route("/kiosk/act/ask-again", get(act::ask_again))
        .route("/kiosk/done", get(outcome::done))
        .route("/kiosk/print-again", post(act::print_again))
        .route("/kiosk/finish", post(idle::finish))
}
