//! The business rules, each proved on the pure core and the policy that ships. Given events, when a command, then events.

mod admission;
mod holds;
mod kinds;
mod life;
mod live_and_family;
mod model;
mod offline;
mod sampling;
mod standing_and_erasure;
mod ten_questions;
