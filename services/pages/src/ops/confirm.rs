//! The step before an act: what it will do, in words, and the button that does it.

use askama::Template;

use super::access::TabLink;
use crate::frame::Frame;

/// A code of the holder, and what the act does with it.
pub(super) struct Effect {
    pub(super) kind: String,
    pub(super) serial: String,
    pub(super) state: &'static str,
    pub(super) state_text: String,
    pub(super) expires_at: i64,
    pub(super) effect: String,
    pub(super) is_hit: bool,
}

/// A fact about the act.
pub(super) struct Fact {
    pub(super) name: String,
    pub(super) value: String,
}

/// The page.
#[derive(Template)]
#[template(path = "ops/confirm.html")]
pub(super) struct Confirm<'a> {
    pub(super) f: Frame<'a>,
    pub(super) tabs: Vec<TabLink>,
    pub(super) title: String,
    /// What the act will do, a sentence each; the first is the most important.
    pub(super) will: Vec<String>,
    pub(super) facts: Vec<Fact>,
    /// The holder's codes; `None` where they are not known.
    pub(super) effects: Option<Vec<Effect>>,
    pub(super) action: String,
    /// Fields that the form sends again.
    pub(super) hidden: Vec<(&'static str, String)>,
    pub(super) act: &'static str,
    pub(super) button: String,
    pub(super) back: String,
}
