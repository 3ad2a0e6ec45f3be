//! Tests of the business rules on the pure domain with the shipped policy: given events, when a command, then events.

mod admission;
mod holder;
mod holds;
mod kinds;
mod live_and_family;
mod model;
mod names_and_texts;
mod offline;
mod policy;
mod sampling;
mod standing_and_erasure;
mod ten_questions;
