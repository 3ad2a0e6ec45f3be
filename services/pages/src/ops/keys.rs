//! `/ops/keys`: the keys that sign codes, their rotation, and what to do about a stolen one.

use askama::Template;
use axum::Form;
use axum::extract::{Query, State};
use axum::response::Response;
use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::proto::issuer::v1::{CompromiseKeyRequest, ListKeysRequest, RotateKeysRequest, SigningKey};
use http::StatusCode;
use serde::Deserialize;

use super::access::{Operating, TabLink};
use super::asking::sentence;
use super::confirm::{Confirm, Fact};
use super::result::{self, Again};
use crate::frame::{Frame, page};
use crate::problem_page::PageError;
use crate::site::{SharedSite, Site};

/// A key in the table.
struct Row {
    key_id: String,
    signs_from: String,
    signs_until: String,
    verifies_until: String,
    state: &'static str,
    state_text: String,
    /// Where it is marked as compromised; empty if it is.
    compromise: String,
}

#[derive(Template)]
#[template(path = "ops/keys.html")]
struct Keys<'a> {
    f: Frame<'a>,
    tabs: Vec<TabLink>,
    rows: Vec<Row>,
    problem: Option<(String, String)>,
}

pub(super) async fn show(State(site): SharedSite, op: Operating) -> Result<Response, PageError> {
    let f = op.frame(&site, "/ops/keys");
    let (rows, problem) = match keys(&site, &op).await {
        Ok(keys) => (keys.iter().rev().map(|key| row(&f, key, site.now())).collect(), None),
        Err(PageError::Problem(problem)) => {
            let text = sentence(&f, &problem);
            (Vec::new(), Some((problem.code().as_str().to_owned(), text)))
        }
        Err(other) => return Err(other),
    };
    let shown = Keys {
        tabs: op.tabs(&f),
        rows,
        problem,
        f,
    };
    Ok(page(StatusCode::OK, &shown))
}

async fn keys(site: &Site, op: &Operating) -> Result<Vec<SigningKey>, PageError> {
    let mut issuer = site.clients.issuer.clone();
    let request = site.request(&op.caller()?, ListKeysRequest {})?;
    Ok(issuer.list_keys(request).await?.into_inner().keys)
}

/// What the key does now.
fn state(key: &SigningKey, now: i64) -> (&'static str, &'static str) {
    let is_over = |until: Option<i64>| until.is_some_and(|until| until <= now);
    match key {
        key if key.compromised => ("revoked", "ops-key-compromised"),
        key if is_over(key.verifies_until) => ("expired", "ops-key-over"),
        key if is_over(key.signs_until) => ("superseded", "ops-key-verifies"),
        _ => ("valid", "ops-key-signs"),
    }
}

fn row(f: &Frame<'_>, key: &SigningKey, now: i64) -> Row {
    let open = |until: Option<i64>| until.map_or_else(|| f.t("ops-open"), |until| f.minute(&until));
    let (state, state_text) = state(key, now);
    Row {
        signs_from: f.minute(&key.signs_from),
        signs_until: open(key.signs_until),
        verifies_until: open(key.verifies_until),
        state,
        state_text: f.t(state_text),
        compromise: if key.compromised {
            String::new()
        } else {
            format!("/ops/keys/compromise?key={}", key.key_id)
        },
        key_id: key.key_id.clone(),
    }
}

/// Asks whether to rotate.
pub(super) async fn ask_rotate(State(site): SharedSite, op: Operating) -> Response {
    let f = op.frame(&site, "/ops/keys/rotate");
    let confirm = Confirm {
        tabs: op.tabs(&f),
        title: f.t("ops-rotate"),
        will: vec![
            f.t("ops-will-rotate"),
            f.t("ops-will-rotate-codes"),
            f.t("ops-will-rotate-back"),
        ],
        facts: Vec::new(),
        effects: None,
        action: "/ops/keys/rotate".to_owned(),
        hidden: Vec::new(),
        act: "rotate",
        button: f.t1("confirm-act", "act", &f.t("ops-rotate")),
        back: "/ops/keys".to_owned(),
        f,
    };
    page(StatusCode::OK, &confirm)
}

/// Which key.
#[derive(Deserialize)]
pub(super) struct Which {
    key: String,
}

/// Asks whether to mark a key as compromised.
pub(super) async fn ask_compromise(
    State(site): SharedSite,
    op: Operating,
    Query(which): Query<Which>,
) -> Result<Response, PageError> {
    let keys = keys(&site, &op).await?;
    let key = keys
        .iter()
        .find(|key| key.key_id == which.key)
        .ok_or(PageError::NotFound)?;
    let mut f = op.frame(&site, "/ops/keys/compromise");
    f.query = format!("key={}", key.key_id);
    let signs = state(key, site.now()).0 == "valid";
    let mut will = vec![f.t("ops-will-compromise")];
    if signs {
        will.push(f.t("ops-will-compromise-signing"));
    }
    will.extend([f.t("ops-will-compromise-gates"), f.t("ops-will-compromise-back")]);
    let confirm = Confirm {
        tabs: op.tabs(&f),
        title: f.t1("ops-compromise-title", "key", &key.key_id),
        will,
        facts: vec![Fact {
            name: f.t("ops-key"),
            value: key.key_id.clone(),
        }],
        effects: None,
        action: "/ops/keys/compromise".to_owned(),
        hidden: vec![("key", key.key_id.clone())],
        act: "compromise",
        button: f.t1("confirm-act", "act", &f.t("ops-compromise")),
        back: "/ops/keys".to_owned(),
        f,
    };
    Ok(page(StatusCode::OK, &confirm))
}

/// The form of both acts.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Typed {
    form_token: String,
    command_id: String,
    key: String,
}

pub(super) async fn rotate(
    State(site): SharedSite,
    op: Operating,
    Form(typed): Form<Typed>,
) -> Result<Response, PageError> {
    let command_id = op.command(&site, &typed.form_token, &typed.command_id)?;
    let request = site.request(&op.caller()?, RotateKeysRequest { command_id })?;
    let answer = site.clients.issuer.clone().rotate_keys(request).await;
    let key = answer.map(|answer| answer.into_inner().key);
    Ok(told(&site, &op, typed, ("ops-rotate", "ops-rotated", "rotate"), key))
}

pub(super) async fn compromise(
    State(site): SharedSite,
    op: Operating,
    Form(typed): Form<Typed>,
) -> Result<Response, PageError> {
    let command_id = op.command(&site, &typed.form_token, &typed.command_id)?;
    let request = CompromiseKeyRequest {
        command_id,
        key_id: typed.key.clone(),
    };
    let request = site.request(&op.caller()?, request)?;
    let answer = site.clients.issuer.clone().compromise_key(request).await;
    let key = answer.map(|answer| answer.into_inner().key);
    Ok(told(
        &site,
        &op,
        typed,
        ("ops-compromise", "ops-compromised", "compromise"),
        key,
    ))
}

fn told(
    site: &Site,
    op: &Operating,
    typed: Typed,
    (title, done, act): (&str, &str, &str),
    key: Result<Option<SigningKey>, tonic::Status>,
) -> Response {
    let f = op.frame(site, "/ops/keys");
    let result = match key {
        Ok(Some(key)) => Ok(result::done(f.t1(done, "key", &key.key_id))),
        Ok(None) => Err(Problem::new(Code::Internal, "the issuer named no key")),
        Err(status) => Err(Problem::from(status)),
    };
    let again = Again {
        action: format!("/ops/keys/{act}"),
        fields: vec![("key", typed.key), ("command_id", typed.command_id)],
    };
    let title = f.t(title);
    result::show(op, f, title, result, again, "/ops/keys")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_of_a_key_follows_its_windows() {
        let key = |signs_until, verifies_until, compromised| SigningKey {
            signs_until,
            verifies_until,
            compromised,
            ..SigningKey::default()
        };
        for (key, expected) in [
            (key(None, None, false), "valid"),
            (key(Some(101), Some(200), false), "valid"),
            (key(Some(100), Some(200), false), "superseded"),
            (key(Some(50), Some(100), false), "expired"),
            (key(None, None, true), "revoked"),
        ] {
            assert_eq!(state(&key, 100).0, expected);
        }
    }
}
