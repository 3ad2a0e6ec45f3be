//! `/ops/policy`: the policy in plain words, and what another policy file would change.

use askama::Template;
use axum::extract::{Multipart, State};
use axum::response::Response;
use citycode_policy_file::PolicyChange;
use http::StatusCode;

use super::access::{Operating, TabLink};
use super::fields::{Faults, Field, Input};
use super::policy_words::{Section, sections};
use crate::frame::{Frame, page};
use crate::lang::Language;
use crate::problem_page::PageError;
use crate::site::{SharedSite, Site};

/// Characters of a part's name or of a token: more is no field of ours.
const MOST_FIELD_BYTES: usize = 256;

/// A difference in the reader's language.
struct Change {
    path: String,
    text: String,
}

#[derive(Template)]
#[template(path = "ops/policy.html")]
struct PolicyPage<'a> {
    f: Frame<'a>,
    tabs: Vec<TabLink>,
    name: String,
    sections: Vec<Section>,
    other: Field,
    /// The differences of the other policy; `None` before the comparison.
    changes: Option<Vec<Change>>,
    other_name: String,
}

pub(super) async fn show(State(site): SharedSite, op: Operating) -> Response {
    let f = op.frame(&site, "/ops/policy");
    page(StatusCode::OK, &policy_page(&site, &op, f, ""))
}

fn policy_page<'a>(site: &Site, op: &Operating, f: Frame<'a>, other: &str) -> PolicyPage<'a> {
    PolicyPage {
        tabs: op.tabs(&f),
        name: f.city(),
        sections: sections(&f, &site.policy),
        other: Field::new(&f, "policy", Input::Long, other),
        changes: None,
        other_name: String::new(),
        f,
    }
}

/// A form with a policy: pasted, or as a file, which counts if both are there.
#[derive(Default)]
pub(super) struct Sent {
    pub(super) form_token: String,
    pub(super) command_id: String,
    /// The other fields.
    pub(super) fields: Vec<(String, String)>,
    pub(super) policy: String,
    /// Whether the policy is longer than any policy file, or is not text.
    pub(super) is_unreadable: bool,
}

impl Sent {
    /// Reads the form.
    ///
    /// # Errors
    /// [`PageError::StaleForm`] if it is not one of ours, or was interrupted.
    pub(super) async fn read(mut form: Multipart) -> Result<Self, PageError> {
        let mut sent = Self::default();
        while let Some(field) = form.next_field().await.map_err(|_| PageError::StaleForm)? {
            let name = field.name().unwrap_or_default().to_owned();
            let bytes = field.bytes().await.map_err(|_| PageError::StaleForm)?;
            let is_policy = matches!(name.as_str(), "policy" | "file");
            let most = if is_policy {
                citycode_policy_file::MAX_FILE_BYTES
            } else {
                MOST_FIELD_BYTES * 4
            };
            let text = std::str::from_utf8(&bytes).ok().filter(|text| text.len() <= most);
            match (name.as_str(), text) {
                ("form_token", Some(text)) => text.clone_into(&mut sent.form_token),
                ("command_id", Some(text)) => text.clone_into(&mut sent.command_id),
                ("policy" | "file", Some("")) => {}
                ("policy" | "file", Some(text)) => {
                    // Editors on Windows write a byte order mark at the start.
                    text.trim_start_matches('\u{feff}').clone_into(&mut sent.policy);
                }
                ("policy" | "file", None) => sent.is_unreadable = true,
                (_, Some(text)) => sent.fields.push((name, text.to_owned())),
                (_, None) => return Err(PageError::StaleForm),
            }
        }
        Ok(sent)
    }

    /// The value of a further field; empty if it was not sent.
    pub(super) fn field(&self, name: &str) -> &str {
        let found = self.fields.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value.as_str())
    }

    /// The differences between the policy of this city and the sent one, and its label.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    fn changes(&self, f: &Frame<'_>) -> Result<(Vec<PolicyChange>, String), String> {
        if self.is_unreadable {
            return Err(f.t("ops-policy-unreadable"));
        }
        if self.policy.trim().is_empty() {
            return Err(f.t("ops-policy-empty"));
        }
        let other = citycode_policy_file::parse(&self.policy);
        let other = other.map_err(|error| f.t1("ops-policy-invalid", "error", &error.to_string()))?;
        let changes = citycode_policy_file::changes(&f.site.policy, &other);
        Ok((changes, f.label(&other.label)))
    }
}

pub(super) async fn compare(State(site): SharedSite, op: Operating, form: Multipart) -> Result<Response, PageError> {
    let sent = Sent::read(form).await?;
    op.check(&site, &sent.form_token)?;
    let f = op.frame(&site, "/ops/policy");
    let compared = sent.changes(&f);
    let mut shown = policy_page(&site, &op, f, &sent.policy);
    match compared {
        Ok((changes, name)) => {
            let language = shown.f.language();
            shown.changes = Some(
                changes
                    .into_iter()
                    .map(|change| in_language(change, language))
                    .collect(),
            );
            shown.other_name = name;
            Ok(page(StatusCode::OK, &shown))
        }
        Err(text) => {
            let mut faults = Faults::default();
            faults.add("policy", text);
            faults.show_in(std::slice::from_mut(&mut shown.other));
            Ok(page(StatusCode::UNPROCESSABLE_ENTITY, &shown))
        }
    }
}

fn in_language(change: PolicyChange, language: Language) -> Change {
    Change {
        path: change.path,
        text: match language {
            Language::Chinese => change.zh,
            Language::English => change.en,
        },
    }
}
